"""The action's last step: where the results are, and how many cells are what, as outputs."""

from __future__ import annotations

import json
import os
from pathlib import Path


def main() -> None:
    """Append ``name=value`` lines to GITHUB_OUTPUT; what was not written is left out."""
    folder = Path(os.environ["RUNNER_TEMP"]) / "gaitperf"
    results, junit = folder / "results.json", folder / "junit.xml"
    lines = [f"junit={junit}"] if junit.exists() else []
    if results.exists():
        cells = json.loads(results.read_text())["cells"]
        lines += [
            f"results={results}",
            f"cells={len(cells)}",
            f"regressed={sum('regressed' in cell.get('verdicts', {}).values() for cell in cells)}",
            f"not-measured={sum('error' in cell or bool(cell.get('invalid')) for cell in cells)}",
        ]
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
