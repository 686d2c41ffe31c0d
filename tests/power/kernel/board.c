// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A Jetson's power monitors on the first I2C adapter whose name begins with "SMBus stub".
 *
 * insmod board.ko labels=VDD_IN,VDD_CPU_GPU_CV,VDD_SOC makes one ina3221 at 0x40; six labels make
 * two, at 0x40 and 0x41. "NC" is a channel that is not connected.
 */
#include <linux/i2c.h>
#include <linux/module.h>
#include "board.h"

#define CHIPS 2
#define CHANNELS 3

static char *labels[CHIPS * CHANNELS];
static int count;
module_param_array(labels, charp, &count, 0444);
static uint shunt_uohm = 5000;
module_param(shunt_uohm, uint, 0444);

static struct board_channel channels[CHIPS][CHANNELS];
static struct device_node chips[CHIPS];
static struct i2c_client *clients[CHIPS];

static struct i2c_adapter *find_adapter(void)
{
	struct i2c_adapter *adapter;
	int number;

	for (number = 0; number < 16; number++) {
		adapter = i2c_get_adapter(number);
		if (adapter && strstarts(adapter->name, "SMBus stub"))
			return adapter;
		if (adapter)
			i2c_put_adapter(adapter);
	}
	return NULL;
}

static int __init board_init(void)
{
	struct i2c_adapter *adapter = find_adapter();
	int chip, channel;

	if (!adapter)
		return -ENODEV;
	for (chip = 0; chip < count / CHANNELS; chip++) {
		struct i2c_board_info info = { I2C_BOARD_INFO("ina3221", 0x40 + chip) };

		for (channel = 0; channel < CHANNELS; channel++) {
			struct board_channel *one = &channels[chip][channel];

			one->channel = channel;
			one->label = labels[chip * CHANNELS + channel];
			one->shunt_uohm = shunt_uohm;
			one->node.sibling = channel + 1 < CHANNELS ? &(one + 1)->node : NULL;
		}
		chips[chip].child = &channels[chip][0].node;
		info.of_node = &chips[chip];
		clients[chip] = i2c_new_client_device(adapter, &info);
		if (IS_ERR(clients[chip]))
			clients[chip] = NULL;
	}
	i2c_put_adapter(adapter);
	return 0;
}

static void __exit board_exit(void)
{
	int chip;

	for (chip = 0; chip < CHIPS; chip++)
		i2c_unregister_device(clients[chip]);
}

module_init(board_init);
module_exit(board_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("A Jetson's power monitors, for tests");
