from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.host.headroom import headrooms
from pytest_gaitperf.host.state import read_state

if TYPE_CHECKING:
    from tests.host.conftest import Planter, Tree

ZONE = "sys/class/thermal/thermal_zone0"


def test_the_lowest_trip_point_that_slows_counts(orin_nano: Tree, plant: Planter) -> None:
    root = plant(
        {
            **orin_nano,
            f"{ZONE}/trip_point_0_type": "active\n",
            f"{ZONE}/trip_point_0_temp": "51000\n",
            f"{ZONE}/trip_point_1_type": "critical\n",
            f"{ZONE}/trip_point_1_temp": "104500\n",
            f"{ZONE}/trip_point_2_type": "passive\n",
            f"{ZONE}/trip_point_2_temp": "99000\n",
            f"{ZONE}/trip_point_3_type": "passive\n",
            f"{ZONE}/trip_point_3_temp": "-274000\n",
        }
    )
    (found,) = headrooms(read_state(root=root), root=root)
    assert found == ("cpu-thermal", 48.531, 99.0)
    assert round(found.left_c, 3) == 50.469
