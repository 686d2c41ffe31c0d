"""The registry of all that is fuzzed: the tests, the nightly run and atheris go by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz import device_targets, file_targets, model_targets, server_targets

if TYPE_CHECKING:
    from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for room in (file_targets, server_targets, device_targets, model_targets)
    for target in room.TARGETS
}
