"""What those who write a meter or an exporter need in their own tests.

``FakeBoard`` is a Jetson's power monitor as files in the real sysfs layout, with a process that
plays the driver. ``check_meter`` and ``check_exporter`` raise AssertionError, with a sentence that
says what the plugin relies on and how it was not met. Nothing in the package imports this room.
"""

from pytest_gaitperf.testing.board import AGX_ORIN, ORIN_NANO, FakeBoard, Square
from pytest_gaitperf.testing.checks import check_exporter, check_meter, sample_runs

__all__ = [
    "AGX_ORIN",
    "ORIN_NANO",
    "FakeBoard",
    "Square",
    "check_exporter",
    "check_meter",
    "sample_runs",
]
