"""What the model in the box does: figures on its test images, and how often it refuses pictures that are no chest film.

    python benchmarks/box_results.py FOLDER_OF_DATA

Its scope check was chosen with the training and validation images of PneumoniaMNIST; that it did well on the pictures
of `LOOKED_AT` was seen on the way. Those of `FOREIGN` and of `strange_files` played no part. Writes
benchmarks/results/boxed.json and the tables of docs/reference/boxed-model.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from epoch_rate import provenance
from out_of_scope import MADE, made, split, strangeness
from PIL import Image

from medmamba import boxed
from medmamba.data import open_data
from medmamba.evaluation.scoring import measure
from medmamba.metrics import in_words
from medmamba.metrics.intervals import wilson
from medmamba.paper.sheet import fill
from medmamba.predictor import Classifier, load
from medmamba.predictor.classifier import UNLIKE

RESULTS = Path(__file__).parent / "results" / "boxed.json"
PAGE = Path(__file__).parents[1] / "docs" / "reference" / "boxed-model.md"
OWN = "medmnist/pneumoniamnist_reassembled.npz"
FOREIGN = {  # all pictures of each
    "BUSI, breast ultrasound": "busi256",
    "BreastMNIST, the same at 28 pixels": "medmnist/breastmnist.npz",
    "BCCD, blood cells": "bccd_cells",
    "ISIC 2017, skin": "isic2017",
    "malaria, blood cells": "malaria",
}
ULTRASOUND = tuple(FOREIGN)[:2]
LOOKED_AT = ("photographs", "photographs in grey", "RetinaMNIST", "RetinaMNIST in grey", "drawn ultrasound")
ENLARGED = 224  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    classifier = load(boxed.path(), device="cpu")
    results = provenance(torch.device("cpu"), None) | {"sizes": sizes()}
    results |= on_its_own(classifier, data / OWN) | refusals(classifier, data)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    for name, write in TABLES.items():
        fill(PAGE, "benchmarks/results/boxed.json", f"{write(results)}\n", name)
    print(json.dumps(results, indent=1))


def sizes() -> dict[str, int]:
    """Bytes of what lies in the package."""
    files = [path for path in boxed.path().rglob("*") if path.is_file()]
    named = {path.name: path.stat().st_size for path in files if path.suffix == ".safetensors"}
    return {**named, "all": sum(path.stat().st_size for path in files)}


def on_its_own(classifier: Classifier, path: Path) -> dict[str, Any]:
    """Figures on the test images, and what becomes of the same films where they come with more pixels."""
    data = open_data(str(path), classes=classifier.classes)
    found = measure(
        classifier,
        data,
        "test",
        group_column=None,
        label_columns=(),
        allow=(),
        by=(),
        batch_size=64,
        resamples=2000,
        seed=0,
        progress=None,
    )
    positive = found.report["per_class"][data.positive]
    report, films, targets = found.report, split(data, "test"), data.split("test").targets
    large = [np.asarray(Image.fromarray(film).resize((ENLARGED, ENLARGED), Image.Resampling.BICUBIC)) for film in films]
    shape = classifier.bundle.preprocessing
    scores = np.concatenate([classifier.probabilities(shape.pixels(film)[None]) for film in large])
    strange, strange_large = strangeness(classifier, films), strangeness(classifier, large)
    return {
        "n": report["n"],
        "test": {name: only(report[name]) for name in ("auc", "accuracy")}
        | {name: only(positive[name]) for name in ("sensitivity", "specificity")},
        "ece": only(report["calibration"]["after"]["ece"]),
        "prediction_sets": {name: only(report["prediction_sets"][name]) for name in ("coverage", "referred")},
        "refused": only(report["scope"]["refused"]),
        "refused_of_class": {name: share(strange[targets == label]) for label, name in enumerate(classifier.classes)},
        "enlarged": {
            "pixels": ENLARGED,
            "refused": share(strange_large),
            "mean_change_of_a_probability": float(np.abs(scores - found.scores).mean()),
        },
        "rounding": classifier.bundle.provenance["rounding"],
    }


def refusals(classifier: Classifier, data: Path) -> dict[str, Any]:
    """By source: pictures that played no part in the design, all of these together, and those that were looked at."""
    kinds = made()
    strange = {
        name: strangeness(classifier, split(open_data(str(data / path)), "all")) for name, path in FOREIGN.items()
    }
    strange["odd files"] = strange_files(classifier, data / "odd")
    strange["noise"] = strangeness(classifier, kinds["noise"])
    strange["black, white and one grey level"] = strangeness(classifier, kinds["one grey level"])
    strange["text"] = strangeness(classifier, kinds["text"])
    retina = split(open_data(str(data / "medmnist" / "retinamnist.npz")), "test")
    grey = [np.asarray(Image.fromarray(each).convert("L")) for each in retina]
    drawn = split(open_data(f"phantoms:{MADE}"), "all")
    looked_at = (kinds["photographs"], kinds["photographs in grey"], retina, grey, drawn)
    seen = {name: strangeness(classifier, each) for name, each in zip(LOOKED_AT, looked_at, strict=True)}
    together = np.concatenate(list(strange.values()))
    ultrasound = np.concatenate([strange[name] for name in ULTRASOUND])
    return {
        "foreign": {name: share(each) for name, each in strange.items()},
        "foreign_together": share(together),
        "foreign_mean_of_sources": float(np.mean([(each > 1).mean() for each in strange.values()])),
        "ultrasound_together": share(ultrasound),
        "looked_at": {name: share(each) for name, each in seen.items()},
    }


def strange_files(classifier: Classifier, folder: Path) -> np.ndarray:
    """Of the readable files of a folder, read as `predict` does: 2 where a file is refused, 0 where it is not."""
    answers = classifier.predict(folder)
    return np.array([2.0 if answer.refer == UNLIKE else 0.0 for answer in answers if answer.error is None])


def share(strange: np.ndarray) -> dict[str, Any]:
    """What is refused, with Wilson's interval."""
    refused = int((strange > 1).sum())
    low, high = wilson(refused, len(strange)) or (None, None)
    return {"n": len(strange), "value": refused / len(strange), "low": low, "high": high}


def only(figure: Mapping[str, Any]) -> dict[str, Any]:
    return {name: figure[name] for name in ("value", "low", "high")}


def test_table(results: Mapping[str, Any]) -> str:
    """Figures on the test images, Markdown."""
    test, sets = results["test"], results["prediction_sets"]
    rows = {
        "AUC": test["auc"],
        "accuracy": test["accuracy"],
        "sensitivity, of pneumonia": test["sensitivity"],
        "specificity": test["specificity"],
        "calibration error (ECE)": results["ece"],
        "prediction sets hold the class, 0.900 promised": sets["coverage"],
        "referred to a person, for either reason": sets["referred"],
        "refused as unlike the training images": results["refused"],
        **{f"refused of the {name} ones": found for name, found in results["refused_of_class"].items()},
        f"the same films enlarged to {ENLARGED} pixels: refused": results["enlarged"]["refused"],
    }
    return "\n".join(
        [f"| {results['n']} test images | (95 % interval) |", "| --- | --- |"]
        + [f"| {name} | {in_words(figure)} |" for name, figure in rows.items()]
    )


def refusal_table(results: Mapping[str, Any]) -> str:
    """Refusals by source, Markdown."""

    def row(name: str, found: Mapping[str, Any]) -> str:
        return f"| {name} | {found['n']:,} | {in_words(found)} |"

    rows = [row(name, found) for name, found in results["foreign"].items()]
    rows.append(row("**all of these together**", results["foreign_together"]))
    rows += [row(f"{name} (looked at before)", found) for name, found in results["looked_at"].items()]
    return "\n".join(["| pictures | n | refused (95 % interval) |", "| --- | --- | --- |", *rows])


TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {"figures": test_table, "refusals": refusal_table}


if __name__ == "__main__":
    main()
