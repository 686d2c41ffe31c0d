/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * A device tree for a kernel that has none.
 *
 * x86 kernels are built without CONFIG_OF, so that the ina3221 driver would find neither labels nor
 * shunts. This header is included ahead of the driver's unchanged source, and lets its calls
 * for the device tree find the nodes of board.c.
 */
#include <linux/errno.h>
#include <linux/of.h>
#include <linux/string.h>

struct board_channel {
	struct device_node node; /* node.sibling is the next channel */
	u32 channel;
	u32 shunt_uohm;
	const char *label; /* "NC": nothing is connected */
};

#define board_channel_of(np) container_of(np, struct board_channel, node)

static inline int board_u32(struct device_node *np, const char *name, u32 *value)
{
	*value = strcmp(name, "reg") ? board_channel_of(np)->shunt_uohm
				     : board_channel_of(np)->channel;
	return 0;
}

static inline int board_string(struct device_node *np, const char *name, const char **value)
{
	*value = board_channel_of(np)->label;
	return 0;
}

#undef for_each_child_of_node
#define for_each_child_of_node(parent, one) for (one = (parent)->child; one; one = one->sibling)
#define of_property_read_u32 board_u32
#define of_property_read_string board_string
#define of_property_read_bool(np, name) false
#define of_device_is_available(np) (strcmp(board_channel_of(np)->label, "NC") != 0)
