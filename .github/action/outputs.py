"""The action's last step: where the results are, and what the run came to, as outputs."""

from __future__ import annotations

import json
import os
from pathlib import Path


def main() -> None:
    """Append ``name=value`` lines to GITHUB_OUTPUT; what was not written is left out."""
    folder = Path(os.environ["FOLDER"])
    results, junit = folder / "results.json", folder / "junit.xml"
    lines = [f"junit={junit}"] if junit.exists() else []
    if results.exists():
        run = json.loads(results.read_text())
        outcomes = [cell["outcome"] for cell in run["cells"]]
        lines += [
            f"results={results}",
            f"outcome={run['outcome']}",
            f"cells={len(outcomes)}",
            f"red={outcomes.count('red')}",
            f"unmeasured={outcomes.count('unmeasured')}",
        ]
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
