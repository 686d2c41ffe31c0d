"""Measure two models in blocks of fresh processes, until their difference is known."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_gaitperf.errors import ConfigurationError, MeasurementError, ServerError, first_line
from pytest_gaitperf.gate.pairing import (
    FEWEST_BLOCKS,
    FEWEST_FRESH,
    LIFE_SD,
    LOOKS_RATIO,
    BlockTest,
    priors,
    spent_at,
)
from pytest_gaitperf.host.state import StateWatch, read_state, throttled
from pytest_gaitperf.load.data import input_data
from pytest_gaitperf.measure.cell import measuring, model_of
from pytest_gaitperf.measure.turns import evaluate_pair
from pytest_gaitperf.measure.visits import LIGHT_S, SHORTEST_VISIT_S, Placement, paired_cell
from pytest_gaitperf.results import VerdictKind
from pytest_gaitperf.text import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_gaitperf.errors import GaitperfError
    from pytest_gaitperf.gate.moderation import VariancePrior
    from pytest_gaitperf.gate.pairing import Effect
    from pytest_gaitperf.measure.visits import PairedCell
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.power.metering import Metering
    from pytest_gaitperf.triton.server import TritonServer
    from pytest_gaitperf.workload import Workload

OVERRUN = 3.0
"""How many times their budget the cells may take to confirm a suspicion."""

_WARM_UP_SHARE = 0.1
_ONE_LIFE = (
    "the server does not let models be unloaded and loaded (start it with "
    "--model-control-mode=explicit), so one life of their processes is all there is"
)


@dataclass(frozen=True, slots=True)
class Pair:
    """What was measured of two models in turns.

    ``effects`` has one for each metric that was compared, worse being positive; ``uncompared`` says
    for the others why not, or why not in all blocks. ``undecided`` says, by metric, what would
    decide more, or why nothing could, ``notes`` what made the comparison less sharp.
    """

    candidate: Measurement
    reference: Measurement
    effects: dict[str, Effect]
    uncompared: dict[str, str]
    undecided: dict[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """How sure, and how long.

    ``alpha`` is the false-alarm probability of one comparison, ``tolerance`` the relative change of
    a cell's metric that does not matter. ``budget_s`` is what all cells of a model may take
    together, once more for the energy where there is a meter; to confirm a suspicion up to three
    times as much. Where that holds fewer blocks than a decision takes, those are measured all the
    same, but never for longer than ``most_s``.
    """

    alpha: float
    tolerance: Callable[[Workload, str], float]
    budget_s: float
    most_s: float = math.inf
    data: str = "random"


@dataclass(frozen=True, slots=True)
class Progress:
    """Who is told: ``say`` of lines that stay, ``live`` of what the blocks show so far."""

    say: Callable[[str], None] = lambda _text: None
    live: Callable[[str, Effect | None], None] = lambda _text, _effect: None


def measure_pairs(
    server: TritonServer,
    pairs: Sequence[tuple[Workload, Workload]],
    metering: Metering,
    terms: Terms,
    progress: Progress | None = None,
) -> list[Pair | GaitperfError]:
    """Compare two models under the same loads, each a (candidate, reference); at least one.

    A block gives both models fresh processes and visits each load, where the two take turns of a
    few requests. A fair coin says which is loaded first, which CPUs both run on, and which goes
    first in each couple of turns. It goes on until throughput, median latency, CPU time and energy
    are decided in all cells, or the budget is spent.

    What comes back is, for each load, what was found or why it could not be measured. Raises
    ServerError: the server died; nothing more can be measured on it.
    """
    blocks = _Blocks(server, pairs, metering, terms, progress or Progress())
    device_before = read_state()
    with measuring(server, metering), StateWatch() as watch:
        blocks.run()
    hindered = throttled(device_before, read_state()) or watch.hindered()
    return [blocks.result(cell, hindered) for cell in blocks.cells]


class _Blocks:
    """The blocks of one pair of models."""

    def __init__(
        self,
        server: TritonServer,
        pairs: Sequence[tuple[Workload, Workload]],
        metering: Metering,
        terms: Terms,
        progress: Progress,
    ) -> None:
        self._server, self._terms, self._progress = server, terms, progress
        # Fair and unpredictable: the gate's error rate rests on it.
        self._coin = np.random.default_rng()
        self._models = list(dict.fromkeys(workload.model for workload in pairs[0]))
        self._renews = server.api.controls_models()
        self._placement = Placement(server, self._coin)
        self.cells = [self._cell(pair, metering) for pair in pairs]
        self._total_s = terms.budget_s * (1 if metering.meter is None else 2)
        self._limit_s = min(OVERRUN * self._total_s, terms.most_s)
        self._began_s = time.monotonic()
        self._blocks = 0
        self._next_look = FEWEST_BLOCKS
        self._spent = 0.0
        self._notes: list[str] = []

    def _cell(self, pair: tuple[Workload, Workload], metering: Metering) -> PairedCell:
        terms = self._terms
        cell = paired_cell(
            self._server,
            pair,
            metering,
            self._coin,
            lambda metric: BlockTest(terms.alpha, terms.tolerance(pair[0], metric)),
            data=terms.data,
        )
        try:  # what no block can change is known before the first one
            models = [model_of(self._server, workload) for workload in pair]
            cell.description = input_data(models[0], pair[0], terms.data).description
        except (ConfigurationError, MeasurementError) as error:
            cell.error = error
        return cell

    def run(self) -> None:
        """Measure block after block, until all is decided or the time is over."""
        final = False
        try:
            while self._open or not self._blocks:
                if not any(cell.error is None for cell in self.cells):
                    return
                if not self._block():
                    return
                known = self._priors()
                for cell in self.cells:
                    cell.confirm(known)
                short = self._blocks < self._needed
                hard = not self._fits(self._terms.most_s if short else self._limit_s)
                if not final:
                    enough = self._blocks >= FEWEST_BLOCKS and not self._fits(self._total_s)
                    final = enough or hard
                    self._look(known, final=final)
                self._tell()
                if hard or (final and not self._suspecting):
                    return
        finally:
            self._placement.free()

    def _block(self) -> bool:
        """Measure the open cells on fresh processes; return whether these could be had."""
        began_s = time.monotonic()
        if self._renews:
            order = self._models if self._coin.integers(2) else self._models[::-1]
            try:
                self._server.reload(order)
            except ServerError as error:
                self._server.check_alive()
                for cell in self._open:
                    cell.error = MeasurementError(str(error))
                return False
        self._placement.find([side.workload for side in self.cells[0].sides])
        loading_s = time.monotonic() - began_s
        cells = self._open
        # Many short blocks tell more than few long ones, but loading is to take half of the time.
        work_s = max(SHORTEST_VISIT_S, (loading_s - LIGHT_S) / len(cells))
        warm_up_s = self._terms.budget_s / len(self.cells) * _WARM_UP_SHARE
        for cell in cells:
            try:
                cell.visit(self._placement, work_s, warm_up_s)
            except (ConfigurationError, MeasurementError) as error:
                self._server.check_alive()
                cell.error = error
                for side in cell.sides:  # what the server counted of this block is not known
                    side.visits = [visit for visit in side.visits if visit.sent is not None]
            finally:
                self._placement.free()
        self._blocks += 1
        if self._blocks == 1:
            self._say_plan(time.monotonic() - began_s, loading_s)
        return True

    def _say_plan(self, block_s: float, loading_s: float) -> None:
        if not self._renews:
            life = LIFE_SD[not self._placement.absent]
            self._notes.append(
                f"{_ONE_LIFE}: equal models may differ by {life:.0%} (SD) for as long as they "
                "live, and a change is told from that only where it is far beyond"
            )
            for cell in self.cells:
                for test in cell.tests.values():
                    test.life_sd = life
        elif self._placement.absent:
            self._notes.append(
                f"{self._placement.absent}: blocks differ more, and it takes more of them to find "
                "the same change"
            )
        most_s = min(max(self._total_s, FEWEST_BLOCKS * block_s), self._terms.most_s)
        self._progress.say(
            f"{self._models[0]}: {count(len(self.cells), 'cell')} in blocks of about "
            f"{block_s:.0f} s, {loading_s:.0f} s of it to load both models; up to "
            f"{most_s / 60:.1f} min, more where a change is to be confirmed"
        )

    def _look(self, known: dict[str, VariancePrior], *, final: bool) -> None:
        """Let all tests look, where it is time; what was spent of the levels by then is spent.

        By the clock: how many blocks there are does not depend on what they show (Lan and DeMets
        1989, Biometrika 76).
        """
        if not final and self._blocks < self._next_look:
            return
        self._next_look = math.ceil(LOOKS_RATIO * self._blocks)
        spent = 1.0 if final else spent_at(self._spent_s / self._total_s)
        share, self._spent = spent - self._spent, spent
        if share > 0:
            most = (self._limit_s - self._spent_s) / (self._spent_s / self._blocks)
            for cell in self.cells:
                cell.look(share, known, most)

    def _tell(self) -> None:
        test = self.cells[0].tests["throughput"]
        decided = len(self.cells) - len(self._open)
        text = count(self._blocks, "block")
        if len(self.cells) > 1:
            text += f", {decided} of {count(len(self.cells), 'cell')} decided"
        if self._suspecting:
            text += ", confirming a change"
        self._progress.live(text, test.effect() if test.ratios else None)

    def result(self, cell: PairedCell, hindered: str | None) -> Pair | GaitperfError:
        """Return what was found of one cell; what ended it takes no regression back."""
        ended = cell.error
        kinds = {test.decided.kind for test in cell.tests.values() if test.decided is not None}
        if ended is not None and VerdictKind.REGRESSED not in kinds:
            return ended
        effects = cell.effects(self._priors())
        try:
            measured = evaluate_pair(
                *cell.sides,
                effects,
                turn_s=cell.turn_s,
                power=cell.power,
                uncompared=cell.uncompared,
                throttled=hindered,
                data=cell.description,
            )
        except MeasurementError as error:
            return error
        why = self._too_few() if ended is None else first_line(ended)
        undecided = dict.fromkeys(effects, why) if why else {}
        undecided |= {one: lost for one, lost in cell.uncompared.items() if one in effects}
        notes = tuple(self._notes)
        if ended is not None:
            notes += (f"{cell.workload.id} was not measured to its end: {why}",)
        return Pair(*measured, effects, cell.uncompared, undecided, notes)

    def _too_few(self) -> str | None:
        """Say what would decide more, None where there were blocks enough."""
        if not self._renews:
            return _ONE_LIFE
        needed = FEWEST_BLOCKS + FEWEST_FRESH
        if self._blocks >= needed:
            return None
        block_s = self._spent_s / self._blocks
        return (
            f"{count(self._blocks, 'block')} of {block_s:.1f} s fit what the run's budget left, "
            f"and {needed} are needed to call it worse: those take {needed * block_s:.0f} s: raise "
            "--gaitperf-run-budget"
        )

    @property
    def _open(self) -> list[PairedCell]:
        return [
            cell
            for cell in self.cells
            if cell.error is None and not cell.failed and (cell.open_short or cell.open_long)
        ]

    @property
    def _suspecting(self) -> bool:
        return any(
            test.suspected
            for cell in self._open
            for metric, test in cell.tests.items()
            if metric not in cell.uncompared  # of which no more blocks come
        )

    @property
    def _needed(self) -> int:
        """How many blocks there must be before anything can be decided, from what they show."""
        tests = [test for cell in self._open for test in cell.tests.values()]
        return max([FEWEST_BLOCKS, *(test.awaits for test in tests)])

    @property
    def _spent_s(self) -> float:
        return time.monotonic() - self._began_s

    def _fits(self, limit_s: float) -> bool:
        """Return whether half of another block has time."""
        return self._spent_s + self._spent_s / max(self._blocks, 1) / 2 < limit_s

    def _priors(self) -> dict[str, VariancePrior]:
        metrics = self.cells[0].tests
        return priors({metric: [cell.tests[metric] for cell in self.cells] for metric in metrics})
