"""--triton-timeout: how long a started server may take to get ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.plugin.baselines import UNMEASURED
from tests.triton.models import write_model

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def test_a_server_that_gets_not_ready_in_time_is_stopped(offline: Project) -> None:
    write_model(offline.path / "model_repository", "lazy", initialize_sleep_s=60.0)
    shown = offline.run("--triton-timeout=3", "--gaitperf-models=lazy", offline.grid("lazy"))
    shown.assert_outcomes(errors=4)
    assert shown.ret == UNMEASURED
    text = " ".join(shown.stdout.str().split())
    assert "Triton was not ready within 3 s and was stopped" in text
    assert "give more time with --triton-timeout" in text
    assert "Traceback" not in text


def test_a_bad_value_is_refused(offline: Project) -> None:
    offline.refuses("--triton-timeout", "soon", "'soon' is not a positive number of seconds")
