"""One injected fault: a run of pytest, the fault, and a look at all that is left of both."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from pytest_gaitperf import Outcome
from pytest_gaitperf.baseline.store import BaselineStore
from pytest_gaitperf.errors import BaselineError
from tests.campaigns.fault_parts.bench import QUICKLY, ROOT
from tests.campaigns.fault_parts.proxy import ProxyProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.campaigns.fault_parts.bench import Bench

MARK = "GAITPERF_FAULT"
_OURS = re.compile(r"Traceback \(most.*?pytest_gaitperf/", re.DOTALL)
_STARVED = re.compile(
    r"was not scheduled|the meter needs \S+ s|the server stood still|windows of \S+ s are needed"
)
_ALONE_S = 15.0
_SETTLE_S = 25.0
"""How long what a killed run had started may take to notice: a server has 8 s to end, and more."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault, and what must come of it.

    ``inject`` starts the run and spoils it. ``count`` are to be injected, ``quick`` with --quick.
    From the fault to the end of pytest may take ``bound_s``; the exit code must be of ``codes``,
    and the output match one of ``says``. ``kept``: the cell before the fault is in the results.
    ``good``: the cell that is hit may be a good one all the same (the fault hurts something else,
    or comes too late). ``waits``: it only waits for a silent server. ``written``: files may have
    been written when it struck. ``swept``: what is left may stay until the next start.
    """

    name: str
    group: str
    inject: Callable[[Case], None]
    count: int
    quick: int
    bound_s: float
    codes: tuple[int, ...]
    says: tuple[str, ...]
    kept: bool = True
    good: bool = False
    waits: bool = False
    written: bool = False
    swept: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What was found after one fault; not ``injected``: the run ended before it could be."""

    kind: str
    seed: str
    injected: bool
    code: int | None
    exit_s: float
    undetected: list[str]
    unclean: list[str]
    output: str


class NotInjectedError(Exception):
    """The run ended, or failed, before the fault could come."""


class Case:
    """One run with one fault, in a directory of its own."""

    def __init__(self, bench: Bench, kind: Kind, seed: str, slot: int) -> None:
        self.bench, self.kind, self.seed, self.slot = bench, kind, seed, slot
        self.random = Random(seed)  # noqa: S311 - moments, no secrets
        self.mark = uuid.uuid4().hex
        self.directory = bench.directory / f"case-{self.mark}"
        self.stack = ExitStack()
        self.environment: dict[str, str] = {}
        self.prefix: tuple[str, ...] = ()
        self.calm, self.hurt = f"calm_{slot}", f"hurt_{slot}"
        self.baselines = self.directory / "baselines"
        self.results = self.directory / "results.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._fault_s = 0.0
        self._before: dict[Path, bytes] = {}
        self.checks: list[Callable[[], str]] = []
        self._regions = regions()
        (self.directory / "tmp").mkdir(parents=True)
        (self.baselines / "here").mkdir(parents=True)
        shutil.copy(ROOT / "suites" / "test_grid.py", self.directory)
        # One that the run does not measure, and so must not touch.
        shutil.copy(bench.baselines / f"calm_{(slot + 1) % 2}.json", self.baselines / "here")

    # What an injector works with

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The run of pytest."""
        assert self._process is not None
        return self._process

    @property
    def output(self) -> str:
        """What it has written so far."""
        return (self.directory / "output.txt").read_text(errors="replace")

    @property
    def here(self) -> Path:
        """Where the baselines of the run lie."""
        return self.baselines / "here"

    def compared(self) -> None:
        """Give the cell that is hit a baseline."""
        shutil.copy(self.bench.baselines / f"hurt_{self.slot}.json", self.here)

    def repository(self, hurt_sleep_s: float = 0.02) -> Path:
        """Write a model repository for a server of the run's own."""
        from tests.triton.models import write_model  # noqa: PLC0415 - only some need one

        path = self.directory / "models"
        write_model(path, self.calm, sleep_s=0.02)
        write_model(path, self.hurt, sleep_s=hurt_sleep_s)
        return path

    def start(self, *options: str, url: str = "", concurrency: int = 0) -> None:
        """Start pytest on two cells, at ``url`` or at the shared server, or as the options say."""
        concurrency = concurrency or self.random.choice((1, 4))
        (self.directory / "grid.toml").write_text(
            f"models = {json.dumps([self.calm, self.hurt])}\n"
            f"batch_sizes = [1]\nconcurrencies = [{concurrency}]\n"
        )
        if not any(option.startswith("--triton=") for option in options):
            options += ("--triton=attach", f"--triton-url={url or self.bench.server.url}")
            if not url:
                options += (f"--triton-grpc-port={self.bench.server.grpc_port}",)
        if not any(option.startswith("--power=") for option in options):
            options += ("--power=none",)
        self._before = {path: path.read_bytes() for path in self.here.iterdir()}
        environment = {"TMPDIR": str(self.directory / "tmp"), "COLUMNS": "100", MARK: self.mark}
        with (self.directory / "output.txt").open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *(*self.prefix, sys.executable, "-m", "pytest", *QUICKLY),
                    *(f"--gaitperf-json={self.results}", "--gaitperf-grid=grid.toml"),
                    *("--gaitperf-update=missing", *options),
                ],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | environment | self.environment,
                start_new_session=True,
            )
        self.struck()

    def wait_for(self, text: str, timeout_s: float = 90.0) -> None:
        """Wait until the run has written something."""
        deadline = time.monotonic() + timeout_s
        while text not in self.output:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise NotInjectedError(f"the run never came to {text!r}")
            time.sleep(0.01)

    def within_second_cell(self) -> None:
        """Wait for a moment in which the second cell is being measured."""
        self.wait_for("1/2 ")
        time.sleep(self.random.uniform(0.05, 1.2))

    def hit_cell(self) -> dict[str, Any]:
        """Return what the results have of the cell that was hit, {} if nothing."""
        with suppress(OSError, ValueError, KeyError):
            for cell in json.loads(self.results.read_text())["cells"]:
                if cell["workload"]["model"] == self.hurt:
                    return dict(cell)
        return {}

    def struck(self) -> None:
        """Note that the fault begins now: pytest's time to end counts from here."""
        self._fault_s = time.monotonic()

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send pytest a signal, or its whole process group, as a terminal does."""
        self.struck()
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, number)

    def child(self, word: str, timeout_s: float = 30.0) -> int:
        """Wait for a process of the run that has this argument, or a program of this name."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for pid in self.marked():
                with suppress(OSError):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                    program, *arguments = line.split("\0")
                    if Path(program).name == word or word in arguments:
                        return pid
            time.sleep(0.02)
        raise NotInjectedError(f"the run never started {word}")

    def marked(self) -> list[int]:
        """Return every living process that the run, or a child of it, has started."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if wanted in (path / "environ").read_bytes():
                    found.append(int(path.name))
        return found

    def proxy(self, what: str, *, times: int = 0, every: int = 1) -> ProxyProcess:
        """Put a proxy before the shared server."""
        plan = {"what": what, "times": times, "every": every}
        plan |= {"http": self.bench.server.http_port, "grpc": self.bench.server.grpc_port}
        return self.stack.enter_context(ProxyProcess(plan))

    # The look at what is left

    def look(self) -> Look:
        """Inject the fault, wait for the end, and look at everything."""
        undetected: list[str] = []
        unclean: list[str] = []
        injected = True
        try:
            try:
                self.kind.inject(self)
            except NotInjectedError as error:
                injected = False
                undetected.append(f"not injected: {error}")
            code = self._end(undetected)
            exit_s = time.monotonic() - self._fault_s
            undetected += self._unsaid(code)
            # A reading that a busy machine left out is not this fault.
            injected &= not (undetected and _STARVED.search(self.output))
            unclean += self._lost(code)
            unclean += filter(None, (check() for check in self.checks))
        finally:
            self.stack.close()
        unclean += self._left(code)
        output = self.output
        if not undetected and not unclean:
            shutil.rmtree(self.directory, ignore_errors=True)
        return Look(self.kind.name, self.seed, injected, code, exit_s, undetected, unclean, output)

    def _end(self, undetected: list[str]) -> int | None:
        try:
            left_s = self._fault_s + self.kind.bound_s - time.monotonic()
            return self.process.wait(max(left_s, 0.01))
        except subprocess.TimeoutExpired:
            undetected.append(f"still running {self.kind.bound_s:g} s after the fault")
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return None

    def _unsaid(self, code: int | None) -> list[str]:
        """Compare the exit code and the words with what must come of this kind."""
        wrong = []
        text = " ".join(self.output.split())
        if code is not None and code not in self.kind.codes:
            wrong.append(f"exit code {code}, not {' or '.join(map(str, self.kind.codes))}")
        if not any(re.search(pattern, text) for pattern in self.kind.says):
            wrong.append(f"nothing like {self.kind.says} was said")
        return wrong

    def _lost(self, code: int | None) -> list[str]:
        """Look for what should be in the results, and for what should not."""
        wrong = []
        # Where Python dies of a signal it shows where it was, as of any program.
        died = code == -signal.SIGINT
        if "INTERNALERROR" in self.output or (not died and _OURS.search(self.output)):
            wrong.append("a traceback of ours")
        cells: dict[str, Any] = {}
        with suppress(OSError, ValueError, KeyError):
            cells = {
                cell["workload"]["model"]: cell
                for cell in json.loads(self.results.read_text())["cells"]
            }
        in_json = (cells.get(self.calm, {}).get("measurement") or {}).get("metrics")
        shown = re.search(rf"1/2 {self.calm}-\S+: [\d.e+]+ inf/s", self.output)
        if self.kind.kept and not (in_json or (shown and code == -signal.SIGKILL)):
            wrong.append("the cell measured before is not in the results")
        hurt = cells.get(self.hurt, {})
        judged = {verdict["kind"] for verdict in hurt.get("verdicts", {}).values()}
        measured = hurt.get("measurement") or {}
        passes = measured and not measured.get("invalid") and "regressed" not in judged
        if passes and not self.kind.good:
            wrong.append(f"the cell that was hit passes as a good one: {judged or 'unjudged'}")
        return wrong

    def _left(self, code: int | None) -> list[str]:
        """Look for what a run must not leave behind."""
        began = time.monotonic()
        while True:
            # Most ends by itself; the next start ends what does not.
            if self.kind.swept and (time.monotonic() > began + _ALONE_S or not self.marked()):
                self._next_start()
            wrong = [f"process {pid} ({_command(pid)}) still runs" for pid in self.marked()]
            wrong += [f"shared memory {name} is left" for name in sorted(self._abandoned_regions())]
            left = sorted(path.name for path in (self.directory / "tmp").iterdir())
            wrong += [f"{name} is left in TMPDIR" for name in left]
            if not wrong or time.monotonic() > began + _SETTLE_S:
                break
            time.sleep(0.2)
        for pid in self.marked():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if code != -signal.SIGKILL:
            beside = [*self.directory.rglob(".*.tmp"), *self.directory.rglob(".trace-*")]
            wrong += [f"{path.relative_to(self.directory)} is left" for path in beside]
        wrong += [
            f"the baseline {path.name} was changed"
            for path, content in self._before.items()
            if not path.exists() or path.read_bytes() != content
        ]
        new = sorted(path.name for path in self.here.glob("[!.]*") if path not in self._before)
        if code == Outcome.UNMEASURED.exit_code:  # the cell that was measured in peace may be
            new = [name for name in new if name.startswith(self.hurt)]
        if new and code != 0 and not self.kind.written:
            wrong.append(f"a run that was not green wrote {', '.join(new)}")
        try:
            BaselineStore(self.baselines, "here", {}).check()
        except BaselineError as error:
            wrong.append(str(error))
        return wrong

    def _next_start(self) -> None:
        """Do what the next run does before it starts a server."""
        program = "from pytest_gaitperf.lease import sweep; sweep()"
        environment = os.environ | {"TMPDIR": str(self.directory / "tmp")}
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)

    def _abandoned_regions(self) -> set[str]:
        """Return new regions of shared memory that no living process uses."""
        new = regions() - self._regions
        if not new:
            return new
        for maps in Path("/proc").glob("[0-9]*/maps"):
            with suppress(OSError):
                new -= set(re.findall(r"/dev/shm/(\S+)", maps.read_text()))  # noqa: S108 - the kernel's name
        return new & regions()


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    return "gone"


def regions() -> set[str]:
    """Return the names in /dev/shm that Triton and we give."""
    names: Sequence[str] = os.listdir("/dev/shm")  # noqa: S108, PTH208 - the kernel's name
    return {name for name in names if name.startswith(("gaitperf", "triton"))}
