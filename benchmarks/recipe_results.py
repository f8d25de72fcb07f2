"""What the recipe `strong` gives, from the runs that are kept, and the page of the documents about it.

    python benchmarks/recipe_results.py

Trains nothing. Reads `recipe/runs`, `recipe/backbones`, `paper/runs` and `recipe-search.json` below
`benchmarks/results`, whatever of them is there; writes `benchmarks/results/recipe/*.json`, a file a table,
`docs/reference/strong.md`, and the tables of `docs/how-to/small-data.md`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from medmamba.paper.sheet import fill
from medmamba.paper.strong.page import page, parts_tables, write_tables
from medmamba.writing import write_atomically

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "reference" / "strong.md"
SMALL = ROOT / "docs" / "how-to" / "small-data.md"


def main() -> None:
    """Write all of them."""
    if len(sys.argv) != 1:
        sys.exit(__doc__)
    for name in write_tables(RESULTS):
        print(name)
    write_atomically(PAGE, page(RESULTS).encode())
    fill(SMALL, "benchmarks/results/recipe/parts.json", parts_tables(RESULTS))


if __name__ == "__main__":
    main()
