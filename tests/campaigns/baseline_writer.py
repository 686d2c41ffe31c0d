"""The writer that ``baseline_kills.py`` kills: it updates a profile, and says how far it is.

Run as a program with a directory of baselines and an update (JSON): it says `ready`, waits for a
line, says `begin`, queues the sessions, says `writing`, writes, says `written` and waits for the
end of stdin. A refusal goes to stderr, with exit code 3. What is recorded follows from the update
alone, so that who started the writer knows every byte that it may leave.
"""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pytest_gaitperf.baseline.cells import Fingerprint, Provenance
from pytest_gaitperf.baseline.schema import Value, rounded
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.errors import BaselineError

PROFILE = "board"
MODELS = ("2D_fp32_0", "3D_fp16_0", "3D_fp32_0", "GaitSet_fp16_0", "GaitSet_int8_0")
CELLS = tuple(f"b{batch}-c{load}" for batch in (1, 2, 4, 8, 16) for load in (1, 2, 4, 8))
FACTS = Fingerprint(
    "2.51.0",
    "input:FP32[25,60,60,2] -> code:FP32[512]",
    "http",
    "inline",
    rails={"energy_per_inference": "VDD_IN"},
    content="sha256:aa",
)
REFUSED = 3


@dataclass(frozen=True, slots=True)
class Update:
    """What one writer records: ``sessions`` in one write, of a time that ``number`` decides.

    With ``afresh`` every tenth cell or so begins anew.
    """

    number: int
    sessions: int = 1
    afresh: bool = False
    recorder: str = "host board-1"

    def provenances(self) -> list[Provenance]:
        """Return who recorded: one per session, five minutes apart."""
        found = []
        for index in range(self.sessions):
            hours, minute = divmod(5 * index + 20 * self.number, 60)
            day, hour = divmod(hours, 24)
            moment = f"202611{day + 1:02}T{hour:02}{minute:02}00Z"
            found.append(
                Provenance(
                    id=moment,
                    time=f"2026-11-{day + 1:02}T{hour:02}:{minute:02}:00Z",
                    commit="abc123",
                    dirty=False,
                    plugin="0.1.0",
                    recorder=self.recorder,
                    environment={"kernel": f"5.15.{self.number}"},
                )
            )
        return found

    def values(self, model: str, key: str, session: int) -> dict[str, Value]:
        """Return what is recorded for a cell in one of the sessions, by metric."""
        draw = random.Random(f"{self.number} {self.recorder} {model} {key} {session}")  # noqa: S311 - figures
        typical = {"throughput": 40.0, "latency_p50": 0.02, "energy_per_inference": 0.006}
        return {
            metric: Value(
                rounded(value * draw.uniform(0.9, 1.1)),
                rounded(draw.uniform(0.01, 0.05), 3),
                12,
                FACTS.rails.get(metric, ""),
            )
            for metric, value in typical.items()
        }

    def queued(self, root: Path) -> BaselineStore:
        """Return a store of the profile under ``root`` with all of it queued."""
        store = BaselineStore(root, PROFILE, {"mode": "15W"})
        store.check(update=True)
        draw = random.Random(self.number)  # noqa: S311 - which cells, no secret
        for model in MODELS:
            for key in CELLS:
                anew = self.afresh and draw.random() < 0.1
                for session in range(self.sessions):
                    values = self.values(model, key, session)
                    store.record(model, key, FACTS, values, session=session, afresh=anew)
        return store


def main() -> int:
    root, update = Path(sys.argv[1]), Update(**json.loads(sys.argv[2]))
    _say("ready")
    sys.stdin.readline()
    _say("begin")
    store = update.queued(root)
    _say("writing")
    try:
        store.write(*update.provenances())
    except BaselineError as error:
        print(error, file=sys.stderr)
        return REFUSED
    _say("written")
    sys.stdin.read()
    return 0


def _say(word: str) -> None:
    """Say how far it is, and when (monotonic, ns)."""
    print(word, time.monotonic_ns(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
