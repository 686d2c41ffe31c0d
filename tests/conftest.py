from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["pytester"]

# How long an example takes is the machine's affair, which others use too.
settings.register_profile("gaitperf", settings.default, deadline=None)
settings.load_profile("gaitperf")


@pytest.fixture(scope="session", autouse=True)
def _as_on_a_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let pytest and the plugin write in tests as they do outside CI.

    There pytest cuts long summary lines, and the runs in tests would add to the job's summary.
    Their lock is this process's own: they need not wait for each other, nor for who measures here.
    Others' use of the CPUs disturbs nothing but the tests of that.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAITPERF_LOCK_DIR", str(tmp_path_factory.mktemp("lock")))
        patch.setenv("GAITPERF_DISTURBED", "1")
        for name in ("CI", "BUILD_NUMBER", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
            patch.delenv(name, raising=False)
        yield
