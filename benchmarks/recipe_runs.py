"""Make the runs that tell what the recipe `strong`, its parts and a pre-trained backbone are worth.

    python benchmarks/recipe_runs.py DATA --out benchmarks/results/recipe [--devices 4] [--per-device 3]
        [--deadline 540] [--only rivals busi pretraining parts] [--cut] [--commit HASH]

The options are those of `paper_runs.py`. The weights of the backbones lie in the folder of work, or in that of
`--keep`; where they are gone, a backbone is made again for the runs that still need it. Give the same folders in the
next call: what is unfinished goes on only in its place.
"""

from __future__ import annotations

import sys
from pathlib import Path

from medmamba.paper.command_line import make_plans
from medmamba.paper.recipe_plans import RECIPE_PLANS

if __name__ == "__main__":
    sys.exit(make_plans(RECIPE_PLANS, __doc__, Path(__file__).parent / "results" / "recipe"))
