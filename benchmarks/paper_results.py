"""The paper's tables from the runs that are kept, and the page of the documents about them.

    python benchmarks/paper_results.py FOLDER_OF_DATA

Trains nothing. FOLDER_OF_DATA only tells which data sets are at hand: their cells without a run say "not run", those of
the others "data absent". Writes `benchmarks/results/paper/table*.{md,html,json}` and `docs/reference/results.md`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from medmamba.paper.reproduce import TABLES, draw, reproduce
from medmamba.paper.results_page import page

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "paper"
PAGE = ROOT / "docs" / "reference" / "results.md"


def main() -> None:
    """Write all of them."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for what in TABLES:
        reproduce(what, data=Path(sys.argv[1]), out=RESULTS, run=False)
        print(what)
    for what in ("figure3", "figure4"):  # those that show no trained model
        print(draw(what, data=Path(sys.argv[1]), out=RESULTS, device="cpu", run=False))
    PAGE.write_text(page(RESULTS), encoding="utf-8")


if __name__ == "__main__":
    main()
