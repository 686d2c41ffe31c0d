"""Draw `docs/gate.svg`, the picture of `docs/gate.md`, from one simulated run and many.

    .venv/bin/python benchmarks/gate_picture.py [FILE]

Left, one model in eight baseline sessions and in a session that is 10 % slower in truth; in the
middle, the same numbers less what the other models did in the same sessions; right, how often the
gate finds a change of which size. It takes about two minutes.
"""

from __future__ import annotations

import math
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402 - after this checkout's place on the path

from benchmarks.gate_operating_characteristics import PLAIN, STORED, StoredStudy  # noqa: E402
from benchmarks.gate_simulation import (  # noqa: E402
    COMPARISONS,
    METRICS,
    MIXED,
    MODELS,
    draw,
    slowdown,
)
from pytest_gaitperf.gate.prediction import fit_prior, prediction_limit  # noqa: E402
from pytest_gaitperf.gate.scopes import CellLogs, shares, shifts  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SEED = 57
SESSIONS = 8
SLOWER = 0.10
SIZES = (0.04, 0.06, 0.08, 0.10, 0.125, 0.15, 0.20)
RUNS = 400
ALPHA = 0.01
TOLERANCE = 0.05
INK, PALE, BLUE, RED, GREEN = "#333333", "#b5b5b5", "#0072b2", "#d55e00", "#009e73"
WIDTH, HEIGHT = 920, 330


@dataclass(slots=True)
class Panel:
    """One diagram: its place on the picture (pixels) and its axes' ranges."""

    left: float
    title: str
    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 250
    top: float = 50
    height: float = 215
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixels of a point."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + across * self.width, self.top + (1 - up) * self.height

    def dot(self, x: float, y: float, colour: str, radius: float, fill: str = "") -> None:
        """Put a dot there."""
        cx, cy = self.at(x, y)
        self.parts.append(
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{radius}" fill="{fill or colour}" '
            f'stroke="{colour}" stroke-width="1.5"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], colour: str, dash: str = "") -> None:
        """Put a line through points there."""
        path = " ".join("{:.1f},{:.1f}".format(*self.at(*point)) for point in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8" '
            f'stroke-dasharray="{dash or "none"}"/>'
        )

    def words(
        self, x: float, y: float, text: str, colour: str = INK, anchor: str = "start"
    ) -> None:
        """Put words there."""
        px, py = self.at(x, y)
        self.parts.append(_text(px, py, text, colour, anchor))

    def drawn(self, ticks: Sequence[tuple[float, str]], steps: Sequence[float]) -> str:
        """Return the panel as SVG: title, grid, labels, and what was put on it."""
        grid = [_text(self.left, self.top - 14, self.title, INK, "start", bold=True)]
        for y in steps:
            x0, py = self.at(self.x[0], y)
            grid.append(
                f'<line x1="{x0:.1f}" y1="{py:.1f}" x2="{x0 + self.width:.1f}" y2="{py:.1f}" '
                f'stroke="{PALE}" stroke-width="{1.2 if y == 0 else 0.4}"/>'
            )
            grid.append(_text(x0 - 6, py + 4, f"{y:.0%}", INK, "end"))
        for x, label in ticks:
            px, py = self.at(x, self.y[0])
            grid.append(_text(px, py + 18, label, INK, "middle"))
        return "\n".join(grid + self.parts)


def _text(x: float, y: float, text: str, colour: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}"{weight}>'
        f"{escape(text)}</text>"
    )


@dataclass(frozen=True, slots=True)
class Example:
    """One metric of one simulated run, as relative changes about the baseline's mean.

    ``cells`` are the slower model's, shape (sessions + 2, cells), the last two rows being this
    session and its re-measurement; ``less`` is their mean less the other models', (sessions + 2,).
    ``alone`` is the limit of a cell judged by itself, ``model`` that of the model's contrast.
    """

    cells: NDArray[np.float64]
    less: NDArray[np.float64]
    alone: float
    model: float


def example() -> Example:
    """Draw the run of the first two panels and ask the product for its limits."""
    runs = draw(MIXED, SESSIONS, 1, np.random.default_rng(SEED), slowdown("model", SLOWER))
    logs = np.concatenate([runs.past[0], runs.now, runs.again]).mean(-1)[:, 0]
    logs -= logs[:SESSIONS].mean(axis=0)
    past = logs[:SESSIONS].reshape(SESSIONS, -1)
    prior = fit_prior(past.var(axis=0, ddof=1).tolist(), [SESSIONS - 1] * past.shape[1])
    level = ALPHA / COMPARISONS
    alone = np.median([prediction_limit(list(cell), level, prior).limit for cell in past.T])
    cells = [
        CellLogs(f"m{model}", dict(zip("12345678", logs[:SESSIONS, model, cell])), now)  # noqa: B905 - eight of each
        for model in range(MODELS)
        for cell, now in enumerate(logs[SESSIONS, model])
    ]
    found = shifts(cells)
    (model,) = (n for n, s in enumerate(found) if s.depth == "model" and s.cells[0] == 0)
    # The first of Holm's levels: the share of one model's test, of as many for each metric.
    share = shares([shift.depth for shift in found])[model] / len(METRICS)
    others = logs[:, 1:].mean(axis=(1, 2))
    return Example(
        np.expm1(logs[:, 0]),
        np.expm1(logs[:, 0].mean(axis=1) - others),
        math.expm1(float(alone)),
        math.expm1(found[model].limit(ALPHA * share)),
    )


def curves() -> dict[str, list[tuple[float, float]]]:
    """Return how often a change of each size is found, by depth and rule."""
    asked = [
        (what, size, StoredStudy("", what, size, 0.0, MIXED, SESSIONS))
        for what in ("model", "cell")
        for size in SIZES
    ]
    points: dict[str, list[tuple[float, float]]] = {}
    with ProcessPoolExecutor() as pool:
        futures = [
            [
                pool.submit(study.work, np.random.default_rng((SEED, number, part)), 25)
                for part in range(RUNS // 25)
            ]
            for number, (_, _, study) in enumerate(asked)
        ]
        for (what, size, _), parts in zip(asked, futures, strict=True):
            for rule in (STORED, PLAIN):
                found = sum(part.result()[rule].found for part in parts)
                points.setdefault(f"{what} {rule}", []).append((size, found / RUNS))
    return points


def sessions_panel(panel: Panel, values: NDArray[np.float64], limit: float, colour: str) -> None:
    """Draw the baseline's sessions, the limit, this session and its re-measurement."""
    places = [*range(1, SESSIONS + 1), SESSIONS + 2, SESSIONS + 3]
    panel.line([(panel.x[0], limit), (panel.x[1], limit)], colour, "6 3")
    panel.line([(panel.x[0], TOLERANCE), (panel.x[1], TOLERANCE)], INK, "2 3")
    rows = values.reshape(len(places), -1)
    for place, row in zip(places, rows, strict=True):
        past = place <= SESSIONS
        for value in row:
            red = value > max(limit, TOLERANCE) and not past
            fill = "white" if place == places[-1] else ""
            panel.dot(
                place,
                value,
                RED if red else BLUE if past else INK,
                2.5 if rows.shape[1] > 1 else 4,
                fill,
            )


def picture(shown: Example, found: dict[str, list[tuple[float, float]]]) -> str:
    """Return the whole picture as SVG."""
    ticks = [(1.0, "1"), (SESSIONS, str(SESSIONS)), (SESSIONS + 2.5, "now, again")]
    steps = (-0.05, 0.0, 0.05, 0.10, 0.15)
    across, up = (0.0, SESSIONS + 4.0), (-0.08, 0.19)
    raw = Panel(50, "The cells of one model", across, up)
    sessions_panel(raw, shown.cells, shown.alone, PALE)
    raw.words(0.2, shown.alone + 0.005, f"limit of a cell alone, {shown.alone:.1%}")
    raw.words(0.2, TOLERANCE + 0.005, "tolerance 5 %")
    less = Panel(345, "The model, less the other models", across, up)
    sessions_panel(less, shown.less, shown.model, GREEN)
    less.words(0.2, shown.model + 0.005, f"limit of the model, {shown.model:.1%}", GREEN)
    power = Panel(640, "How often a slowdown is found", (0.03, SIZES[-1]), (0.0, 1.0))
    for name, colour, dash in (
        (f"model {STORED}", GREEN, ""),
        (f"cell {STORED}", BLUE, ""),
        (f"model {PLAIN}", GREEN, "4 3"),
        (f"cell {PLAIN}", BLUE, "4 3"),
    ):
        power.line(found[name], colour, dash)
    for place, text, colour in (
        (0.03, "a whole model", GREEN),
        (0.095, "a single cell", BLUE),
        (0.149, "dashed: alone", INK),
    ):
        power.words(place, -0.17, text, colour)
    parts = [
        raw.drawn(ticks, steps),
        less.drawn(ticks, steps),
        power.drawn(
            [(size, f"{size:.0%}") for size in (0.05, 0.10, 0.15, 0.20)],
            (0.0, 0.25, 0.5, 0.75, 1.0),
        ),
        _text(
            50,
            HEIGHT - 14,
            "Simulated: sessions differ by 2 % in common, 1 % per model, 2.5 % per cell; the model "
            f"is {SLOWER:.0%} slower in truth; right: {RUNS} runs a point.",
            INK,
            "start",
        ),
    ]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


def main() -> int:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "docs" / "gate.svg"
    target.write_text(picture(example(), curves()), encoding="utf-8")
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
