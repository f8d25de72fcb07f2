"""The verb that makes one model of several."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Ensemble:
    """Make one model of several, trained on the same images with the same splits: its answer is the mean of their
    probabilities. Calibrate it anew: what was calibrated of them is left out."""

    models: Positional[tuple[Path, ...]]
    """Folders of trained models; one is enough with --mirror."""
    out: Path
    """Folder for the new model; new or empty."""
    mirror: bool = False
    """Ask each of the picture and of its left-right mirror image, which takes twice the time. Wrong where the side
    matters: heart and liver, a left and a right eye, letters on the picture."""

    def run(self) -> int:
        from medmamba.bundle import load_bundle
        from medmamba.ensembling import ensemble

        out = ensemble(self.models, out=self.out, mirror=self.mirror, command=" ".join(["medmamba", *sys.argv[1:]]))
        print(f"{load_bundle(out).model}: medmamba calibrate chooses how it decides")
        print(out)
        return 0
