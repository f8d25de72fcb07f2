"""Make the runs behind the paper's tables on the cards of this machine, several at once, until a deadline.

    python benchmarks/paper_runs.py DATA --out benchmarks/results/paper [--devices 4] [--per-device 3] [--deadline 540]
        [--only table7] [--cut] [--commit HASH]

Runs that are among the results already are not made again. With `--cut` runs are started although they will not end in
time; they go on with the next call, if the folder of work is still there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from medmamba.paper.command_line import make_plans
from medmamba.paper.plans import PLANS

if __name__ == "__main__":
    sys.exit(make_plans(PLANS, __doc__, Path(__file__).parent / "results" / "paper"))
