"""Make the model in the box: `medmamba_nano`, trained on PneumoniaMNIST, with all that `predict` needs of it.

    python benchmarks/box_model.py DATA.npz [--out src/medmamba/boxed/bundle] [--run FOLDER]

Trains with the recipe `strong` and seed 0 on a processor, at 56 x 56 pixels, twice the 28 of the source; larger
pictures are shrunk to 28 first (`--detail 28`), so that a film from elsewhere is not unlike the training images for
its sharpness alone. Then the weights are rounded to float16, and what is calibrated on the validation images, judged
on the test images and written as a report is the rounded network. About twenty minutes on one core. The test images
decide nothing here. `--run` keeps the training, and takes it up where it is done already.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medmamba.benchmark.machine import source
from medmamba.boxed import CREDIT, PURPOSE, path
from medmamba.bundle import load_bundle, read_weights
from medmamba.calibration import OperatingPoint, calibrate
from medmamba.data import open_data
from medmamba.data.dataset import ImageSet
from medmamba.predictor import load
from medmamba.report import write_report
from medmamba.training import fit

DETAIL = 28
OPTIONS: dict[str, Any] = {
    "model": "medmamba_nano",
    "recipe": "strong",
    "image_size": (2 * DETAIL, 2 * DETAIL),
    "detail": DETAIL,
    "seed": 0,
    "device": "cpu",
}
REFUSED = 0.025  # of the validation images: half of what may be refused of the test images
UNNEEDED = ("confusion_matrix.png", "reliability.png", "roc.png")  # which the report draws itself


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="PneumoniaMNIST, 28 pixels")
    parser.add_argument("--out", type=Path, default=path())
    parser.add_argument("--run", type=Path, default=None, help="keep the training here, or take the one that is here")
    parser.add_argument("--epochs", type=int, default=None, help="in place of the recipe's, to try this out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = arguments.run or Path(folder) / "run"
        if not (run / "source.txt").is_file():
            train(arguments.data, run, arguments.epochs)
        box(arguments.data, run, arguments.out)


def train(data: Path, run: Path, epochs: int | None) -> None:
    """Train in `run`, and note there from which commit."""
    commit = described_source()  # before the minutes in which it may move on
    fit(str(data), out=run, progress=False, epochs=epochs, **OPTIONS)
    (run / "source.txt").write_text(commit + "\n")


def box(data: Path, run: Path, out: Path) -> None:
    """The trained model of `run` as the bundle `out`, which is made anew: rounded, calibrated, reported."""
    commits = {"train": (run / "source.txt").read_text().strip(), "box": described_source()}
    shutil.rmtree(out, ignore_errors=True)
    bundle = load_bundle(run)
    told = {"purpose": PURPOSE, "credit": CREDIT, "commits": commits}
    bundle.save(out, read_weights(run), half=True)
    opened = open_data(str(data), classes=bundle.classes)
    told["rounding"] = rounding(run, out, opened.split("val"))
    replace(load_bundle(out), provenance={**bundle.provenance, **told}).save_description(out)
    print(calibrate(out, opened, point=OperatingPoint(youden=True), refused=REFUSED, device="cpu"))
    report = out / "report-test"
    write_report(load(out, device="cpu"), opened, out=report, command="python benchmarks/box_model.py DATA.npz")
    for name in UNNEEDED:
        (report / name).unlink()
    for file in sorted(out.rglob("*")):
        if file.is_file():
            print(f"{file.stat().st_size:>9,}  {file.relative_to(out)}")


def rounding(run: Path, out: Path, images: ImageSet) -> dict[str, Any]:
    """What float16 changes in the probabilities of the validation images, neither model calibrated."""
    whole, half = (load(folder, device="cpu").scores(images) for folder in (run, out))
    return {
        "images": len(images),
        "largest_change_of_a_probability": float(np.abs(whole - half).max()),
        "answers_changed": int((whole.argmax(axis=1) != half.argmax(axis=1)).sum()),
    }


def described_source() -> str:
    """The commit of this code, and whether it was changed since."""
    here = source()
    return f"{here['commit']}{', changed since' if here['changed'] else ''}"


if __name__ == "__main__":
    main()
