"""The AutoML baseline of table 6 on real data: a classical model on pixels of 28 x 28, chosen by FLAML.

    python benchmarks/automl.py FOLDER_OF_DATA [--only breastmnist] [--seeds 0 1 2] [--budget 60]

A run that is there already is not made again. One thread a run. A budget in seconds is not repeatable: what is tried in
it depends on the machine and on what else that does, so each run records the trials made and the processor's own
seconds beside those of the clock. `--trials` in its place is.

What was expected before the first run, from what the paper prints for auto-sklearn (test AUC / accuracy: Breast .836 /
.803, Retina .690 / .515, Pneumonia .942 / .855, taken from MedMNIST v2): Breast AUC .80 to .88, accuracy .77 to .85;
Retina .68 to .74 and .48 to .54; Pneumonia .93 to .97 and .82 to .88; and seeds nearer to each other than the interval
of one run is wide. auto-sklearn searched for longer and built ensembles; this search does neither.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from processor import processor

from medmamba.benchmark.machine import source
from medmamba.data import open_data
from medmamba.paper.automl import Origin, run
from medmamba.paper.flaml_search import Budget
from medmamba.paper.plans import MEDMNIST
from medmamba.paper.sets import locate

RESULTS = Path(__file__).parent / "results" / "paper"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", choices=MEDMNIST, default=list(MEDMNIST))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--budget", type=float, default=60, help="seconds of a search")
    ends.add_argument("--trials", type=int, help="models tried in a search, in place of seconds")
    parser.add_argument("--commit", help="of this code, where git is not to be had")
    arguments = parser.parse_args()
    budget = Budget(trials=arguments.trials) if arguments.trials else Budget(seconds=arguments.budget)
    here = source()
    if here["changed"] and arguments.commit is None:
        sys.exit("the package's source has changes that no commit holds; commit them first")
    for name in arguments.only:
        data = open_data(locate(arguments.data, name))
        for seed in arguments.seeds:
            place = arguments.out / "runs" / name / "automl-pixels" / f"flaml-{budget}-28-seed{seed}.json"
            if place.is_file():
                print(f"{place.name} of {name} is there", flush=True)
                continue
            ends_after = f"--trials {budget.trials}" if budget.seconds is None else f"--budget {budget.seconds:g}"
            command = f"python benchmarks/automl.py FOLDER_OF_DATA --only {name} --seeds {seed} {ends_after}"
            origin = Origin(command, arguments.commit or here["commit"], processor())
            path = run(data, arguments.out, budget=budget, seed=seed, name=name, origin=origin)
            entries = json.loads(path.read_text(encoding="utf-8"))
            test, search = entries["test"], entries["search"]
            print(
                f"{name} seed {seed}: {search['best_estimator']} after {search['trials']} trials, test AUC "
                f"{test['auc']['value']:.3f}, accuracy {test['accuracy']['value']:.3f}, "
                f"{search['processor_seconds']:.0f} of {search['wall_seconds']:.0f} s at work",
                flush=True,
            )


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit("set OMP_NUM_THREADS=1, as the runs that are kept were made with")
    main()
