from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.zoo.plan_bench import Bench, script

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path)
    bench.bin.mkdir()
    script(bench.bin / "trtexec", "fake_trtexec.py")
    monkeypatch.setenv("PATH", f"{bench.bin}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_TRTEXEC_CALLS", str(bench.calls_file))
    return bench
