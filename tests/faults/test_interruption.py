from __future__ import annotations

import importlib
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pytest_gaitperf.engine.interruption import Interruption, Terminated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    before = [signal.signal(signal.SIGINT, signal.default_int_handler)]
    before += [signal.signal(one, signal.SIG_DFL) for one in (signal.SIGTERM, signal.SIGHUP)]
    made = Interruption()
    yield made
    made.restore()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    for one, handler in zip((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), before, strict=True):
        signal.signal(one, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_polite_kill_and_a_hang_up_interrupt_as_ctrl_c_does(
    interruption: Interruption, number: signal.Signals
) -> None:
    with pytest.raises(Terminated, match=f"ended by {number.name}"):
        signal.raise_signal(number)
    assert issubclass(Terminated, KeyboardInterrupt)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_waits_until_the_run_has_ended(
    interruption: Interruption, number: signal.Signals
) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(number)
    assert interruption.arrived == 2


def test_one_that_was_swallowed_is_followed_by_one_that_is_heard(
    interruption: Interruption, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    now_s = time.monotonic() + 2
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_end_of_a_run_is_not_interrupted(interruption: Interruption) -> None:
    interruption.postpone()
    signal.raise_signal(signal.SIGINT)
    assert interruption.arrived == 1


def test_who_insists_is_heard(interruption: Interruption) -> None:
    interruption.postpone()
    for _ in range(2):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_import_is_not_torn(
    interruption: Interruption, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torn_import.py").write_text(
        "import signal\nsignal.raise_signal(signal.SIGTERM)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Terminated):  # noqa: PT012 - it comes at any moment after the import
        module = importlib.import_module("torn_import")
        assert module.whole
        time.sleep(30)


def test_somebody_elses_handler_stays() -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        made = Interruption()
        signal.raise_signal(signal.SIGTERM)
        made.restore()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_outside_the_main_thread_nothing_is_changed() -> None:
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=Interruption)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
