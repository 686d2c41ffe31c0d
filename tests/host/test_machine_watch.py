"""Which windows are disturbed, by whom, and what is kept of it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.host.counters import Counters, CpuTimes, Look, Seen, between
from pytest_gaitperf.host.watch import (
    MachineWatch,
    Watched,
    Window,
    cause_of,
    surroundings,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECOND = 10**9
QUIET = Seen(others=0.02, ours=1.0, unseen=0.01, waited=0.3, stolen=0.0)


def test_what_lies_between_two_looks() -> None:
    before = Look(0, {7: 100, 8: 5}, {1: 50}, {1: 10, 2: 10}, CpuTimes(1000, 0), 0)
    after = Look(
        SECOND,
        {7: 100 + SECOND // 2, 8: 3, 9: SECOND // 10},
        {1: 50 + SECOND // 4},
        {1: 10, 2: 10 + SECOND // 5},
        CpuTimes(1000 + SECOND, SECOND // 20),
        SECOND // 2,
    )
    seen = between(before, after)
    assert seen.by == {7: 0.5, 8: 3e-9, 9: 0.1}, "9 is new, and 8 a new process of an old number"
    assert seen.others == pytest.approx(0.6)
    assert (seen.ours, seen.waited, seen.stolen, seen.pressure) == (0.25, 0.2, 0.05, 0.5)
    assert seen.unseen == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({}, None),
        ({"others": 0.19}, None),
        ({"others": 0.21}, "others"),
        ({"unseen": 0.37}, None),
        ({"unseen": 0.39}, "unseen"),
        ({"others": 0.15, "unseen": 0.3}, "unseen"),
        ({"unseen": None}, None),
        ({"unseen": -0.5}, None),
        ({"others": None, "unseen": 0.9}, None),
        ({"stolen": 0.19}, None),
        ({"stolen": 0.21}, "steal"),
        ({"held_up_s": 0.09}, None),
        ({"held_up_s": 0.2}, "held up"),
        # Much waiting, of which a tenth is for others; then half of it.
        ({"others": 0.15, "ours": 1.35, "waited": 0.9}, None),
        ({"others": 0.15, "ours": 0.15, "waited": 0.3}, "others"),
        ({"others": 0.15, "ours": 0.15, "waited": None}, None),
    ],
)
def test_a_window_is_disturbed_beyond_the_share(
    change: dict[str, float | None], cause: str | None
) -> None:
    assert cause_of(replace(QUIET, **change), cpus=2, share=0.1) == cause  # type: ignore[arg-type]


def test_a_share_of_one_tolerates_everything() -> None:
    busy = Seen(others=2.0, ours=0.1, unseen=1.0, waited=3.0, stolen=1.0, held_up_s=2.0)
    assert cause_of(busy, cpus=2, share=0.99) is not None
    assert cause_of(busy, cpus=2, share=1.0) is None


def window(cause: str | None = None, **change: object) -> Window:
    return Window(replace(QUIET, **change), cause)  # type: ignore[arg-type]


def test_the_culprit_is_named_with_its_share_of_the_windows() -> None:
    spun = window("others", others=0.98, by={123: 0.98, 5: 0.001})
    watched = Watched((window(), spun, spun, window()), 2, {123: "stress", 5: "sshd"})
    assert watched.fault is not None
    assert watched.fault.startswith(
        "`stress` (pid 123) used 0.98 of 2 CPUs in 2 of 4 windows; stop"
    )
    assert Watched((window(), window()), 2).fault is None


def test_many_processes_of_one_name_are_one_culprit() -> None:
    spun = window("others", others=1.5, by={1: 0.5, 2: 0.5, 3: 0.5})
    fault = Watched((spun,), 2, {1: "cc1", 2: "cc1", 3: "make"}).fault
    assert "`cc1` (2 processes) used 1.00, `make` (pid 3) used 0.50 of 2 CPUs in 1 of 1" in str(
        fault
    )
    nameless = Watched((window("others", others=1.5),), 2).fault
    assert "other processes used 1.50 of 2 CPUs" in str(nameless)


@pytest.mark.parametrize(
    ("disturbed", "said"),
    [
        (window("unseen", unseen=0.7), "processes that cannot be seen from here"),
        (window("steal", stolen=0.5), "the hypervisor took 0.50 of 2 CPUs for other guests"),
        (window("held up", held_up_s=1.5), "the client was held up for 1.5 s in 1 of 2 windows"),
    ],
)
def test_every_cause_has_its_words(disturbed: Window, said: str) -> None:
    assert said in str(Watched((window(), disturbed), 2).fault)


def test_the_record_sums_up_all_windows_of_all_lives() -> None:
    spun = window("others", others=1.0, by={9: 1.0}, waited=1.0)
    first = Watched((window(), window()), 2, {9: "stress"}, ("one thing",))
    second = Watched((window(), spun), 2, {9: "stress"}, ("one thing",))
    found = surroundings([first, second])
    assert (found.cpus, found.windows, found.disturbed) == (2, 4, 1)
    assert (found.others, found.others_most) == (0.02, 1.0)
    assert found.waited == pytest.approx(0.475 / 1.475)
    assert found.stolen == 0
    assert found.culprits == ("`stress` (pid 9) used 1.00",)
    assert found.unread == ("one thing",)
    blind = surroundings([Watched((window(others=None, waited=None, stolen=None),), 2)])
    assert (blind.others, blind.others_most, blind.waited, blind.stolen) == (None, None, None, None)


# The thread


def test_a_window_is_known_once_its_end_was_looked_at() -> None:
    start_ns = time.monotonic_ns() + 10**7
    watch = MachineWatch(Counters(), share=1.0).over(start_ns, 5 * 10**7)
    with watch:
        assert watch.undisturbed(start_ns, start_ns + 5 * 10**7) is None
        deadline = time.monotonic() + 10
        while watch.undisturbed(start_ns, start_ns + 5 * 10**7) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        watched = watch.watched
    assert len(watched.windows) == 1
    assert watched.windows[0].seen.ours > 0
    assert "gaitperf-watch" not in {thread.name for thread in threading.enumerate()}


def test_a_client_that_stood_still_holds_up_the_windows_around_it() -> None:
    start_ns = time.monotonic_ns()
    # What others do here meanwhile is tolerated.
    watch = MachineWatch(Counters(), share=0.999).over(start_ns, 2 * 10**7)
    with watch:
        watch.tick(start_ns + 10**7)
        watch.tick(start_ns + 3 * 10**7)
        watch.tick(start_ns + SECOND)  # 0.97 s after the last, which took no CPU
        time.sleep(0.1)
        first = watch.undisturbed(start_ns, start_ns + 2 * 10**7)
        second = watch.undisturbed(start_ns + 4 * 10**7, start_ns + 6 * 10**7)
    assert (first, second) == (True, False)
    assert "the client was held up for 0.9 s in 1 of 2 windows" in str(watch.watched.fault)


class Scripted:
    """Counters of two CPUs that say what is scripted, one look after the other."""

    cpus = 2
    names: Mapping[int, str] = {}

    def __init__(self, looks: Sequence[Look], *, pinned: bool) -> None:
        self.looks, self.pinned = list(looks), pinned

    def look(self) -> Look:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


@pytest.mark.parametrize(
    ("busy", "pinned", "good"), [(1.02, True, True), (1.9, True, False), (1.02, False, False)]
)
def test_where_ours_are_pinned_only_their_cpus_count(busy: float, pinned: bool, good: bool) -> None:
    # Ours keep one of their two CPUs busy; another process uses 0.9, here or elsewhere.
    start_ns = time.monotonic_ns() - 4 * SECOND
    looks = [
        Look(
            start_ns + second * SECOND,
            {7: int(0.9 * second * SECOND)},
            {1: second * SECOND},
            {},
            CpuTimes(int(busy * second * SECOND), 0),
        )
        for second in range(4)
    ]
    counters: Any = Scripted(looks, pinned=pinned)
    watch = MachineWatch(counters, share=0.05).over(start_ns, SECOND // 100)
    with watch:
        while (found := watch.undisturbed(start_ns + 2 * SECOND, start_ns + 3 * SECOND)) is None:
            time.sleep(0.01)
    assert found is good


def test_who_cannot_tell_the_server_from_others_says_so_and_blames_nobody() -> None:
    start_ns = time.monotonic_ns()
    watch = MachineWatch(Counters(), share=1e-9, blind="it is hidden").over(start_ns, 2 * 10**7)
    with watch:
        time.sleep(0.1)
        assert watch.undisturbed(start_ns, start_ns + 2 * 10**7)
    assert watch.watched.unread[0] == "others' CPU cannot be told from the server's: it is hidden"
    assert watch.watched.windows[0].seen.others is None
