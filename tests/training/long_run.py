"""A run in a process of its own: `python long_run.py OUT '{"option": ...}' [DIE_AFTER_EPOCH]`.

It is a file because Lightning starts its further processes by running the same command again.
"""

import json
import os
import signal
import sys

import fake_graphs
from noise import SHORT, make_data

from medmamba.training import fit
from medmamba.training.keeper import Keeper


def main(out: str, options: str, die_after: str = "") -> None:
    save = Keeper.save

    def save_and_die(self: Keeper, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]
        if die_after and len(self.history) == int(die_after):
            os.kill(os.getpid(), signal.SIGKILL)

    Keeper.save = save_and_die  # type: ignore[method-assign]
    chosen = json.loads(options)
    if chosen.pop("recorded", False):
        fake_graphs.install()
    fit(make_data(chosen.pop("images", 21), 21), out=out, config=SHORT, **chosen)


if __name__ == "__main__":
    main(*sys.argv[1:])
