"""Make the model in the box: `medmamba_nano`, trained on PneumoniaMNIST, with all that `predict` needs of it.

    python benchmarks/box_model.py DATA.npz [--out src/medmamba/boxed/bundle] [--run FOLDER]

Trains with the recipe `strong` and seed 0 on a processor, at 56 x 56 pixels, twice the 28 of the source; larger
pictures are shrunk to 28 first (`--detail 28`), or every film from elsewhere would be unlike the training images for
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

from medmamba.benchmark.machine import source
from medmamba.bundle import load_bundle, read_weights
from medmamba.calibration import calibrate
from medmamba.data import open_data
from medmamba.predictor import load
from medmamba.report import write_report
from medmamba.training import fit

OUT = Path(__file__).parents[1] / "src" / "medmamba" / "boxed" / "bundle"
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
PURPOSE = "chest x-ray of a child, 28-pixel source, demonstration"
CREDIT = (
    "PneumoniaMNIST of MedMNIST v2 (Yang et al., Scientific Data 10, 41, 2023), CC BY 4.0, "
    "made from the chest x-rays of Kermany et al. (Cell 172, 1122-1131, 2018), CC BY 4.0"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="PneumoniaMNIST, 28 pixels")
    parser.add_argument("--out", type=Path, default=OUT)
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
    shutil.rmtree(out, ignore_errors=True)
    bundle = load_bundle(run)
    commits = {"train": (run / "source.txt").read_text().strip(), "box": described_source()}
    told = {"purpose": PURPOSE, "credit": CREDIT, "commits": commits}
    replace(bundle, provenance={**bundle.provenance, **told}).save(out, read_weights(run), half=True)
    opened = open_data(str(data), classes=bundle.classes)
    print(calibrate(out, opened, refused=REFUSED, device="cpu"))
    report = out / "report-test"
    write_report(load(out, device="cpu"), opened, out=report, command="python benchmarks/box_model.py DATA.npz")
    for path in sorted(out.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:>9,}  {path.relative_to(out)}")


def described_source() -> str:
    """The commit of this code, and whether it was changed since."""
    here = source()
    return f"{here['commit']}{', changed since' if here['changed'] else ''}"


if __name__ == "__main__":
    main()
