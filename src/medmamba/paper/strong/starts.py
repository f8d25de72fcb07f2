"""What several seeds give as one model, and what a pre-trained start gives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medmamba.errors import InputError
from medmamba.paper.networks import label
from medmamba.paper.sets import SOURCES
from medmamba.paper.sheet import Part, Sheet
from medmamba.paper.strong.differences import differences_part
from medmamba.paper.strong.entries import METRICS, NAMES, corrected, counts, difference, number, score, together
from medmamba.paper.strong.found import OURS, RECIPE, SETS, Runs
from medmamba.paper.strong.scores import BUSI, MODELS

AS_ONE_NOTE = (
    "The three networks of a cell as one model: the mean of their probabilities on each test image, all weighing the "
    "same, which is what `medmamba ensemble` makes of them (without `--mirror`). The networks are taken as they are: "
    "the intervals of the last two columns hold the spread of test images alone."
)


def ensemble(found: Runs) -> Sheet:
    """Table 5: the seeds of a model together against single ones."""
    rows = []
    for data in (*SETS, BUSI):
        for model in MODELS:
            runs = found.strong(data, model)
            about = {"model": model, "recipe": RECIPE}
            rows.append((data, model, score(found, {data: runs}, **about), *together(found, data, runs, **about)))
    gains = corrected([row[-1] for row in rows])
    parts = [
        Part(
            f"As one: {NAMES[metric]}",
            ("data set", "model", "mean of single models", "as one", "what it gives"),
            [
                (SOURCES[data].title, label(model), one.words(metric), both.words(metric), gain.words(metric))
                for (data, model, one, both, _), gain in zip(rows, gains, strict=True)
            ],
            has_runs=any(gain.figures for gain in gains),
        )
        for metric in METRICS
    ]
    entries = [entry for row, gain in zip(rows, gains, strict=True) for entry in (row[2], row[3], gain)]
    records = tuple(record for entry in entries for record in entry.records())
    return Sheet("ensemble", "Three seeds as one model", (AS_ONE_NOTE, *counts(gains)), tuple(parts), (), records)


def pretraining(found: Runs) -> Sheet:
    """Table 6: runs from a backbone less runs from random weights."""
    keys = sorted((key for key in found.own if key[3] and key[2] == "{}"), key=lambda key: (key[3], key[1], key[0]))
    entries, backbones = [], read_backbones(found.results / OURS / "backbones")
    for data, model, settings, init in keys:
        runs = found.strong(data, model, settings, init)
        seen = sorted({name for run in runs for name in run.entries["init"].get("sets", ())})
        about = {"model": model, "recipe": RECIPE, "init": init, "seen": seen}
        about["shown"] = f"{init}, which has seen {titles(seen)}" + (f"; {label(model)}" if model != MODELS[0] else "")
        entries.append(difference(found, {data: found.strong(data, model)}, {data: runs}, **about))
    entries = corrected(entries)
    lead = f"Runs of {label(MODELS[0])} that start from a pre-trained backbone, less runs from random weights."
    if not entries:
        lead = "No runs from a pre-trained backbone are there: not run."
    parts = [differences_part("From the backbone less from random weights", "backbone", entries)] if entries else []
    parts += [_backbones(backbones)] if backbones else []
    records = [record for entry in entries for record in entry.records()]
    records += [{"kind": "backbone", "file": f"{OURS}/backbones/{name}", **each} for name, each in backbones.items()]
    return Sheet("pretraining", "Pre-training", (lead,), tuple(parts), (), tuple(records))


def read_backbones(folder: Path) -> dict[str, Any]:
    """What the files of backbones say, by file name.

    Raises:
        InputError: One cannot be read.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.name] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as reason:
            raise InputError(f"{path} is no file of a backbone ({reason}); delete it, and it is made again") from reason
    return found


def _backbones(backbones: Mapping[str, Mapping[str, Any]]) -> Part:
    head = ("backbone", "seed", "seen: share of the draws, validation AUC", "epoch, of", "minutes", "commit", "device")
    body = [
        (
            str(each["name"]),
            str(each["seed"]),
            "; ".join(_seen(data) for data in each.get("data", ())) or titles(each.get("sets", ())),
            f"{each.get('best_epoch', '-')}, {each.get('epochs', '-')}",
            f"{each['seconds'] / 60:.1f}",
            str(each["commit"])[:10],
            str(each["device"]),
        )
        for each in backbones.values()
    ]
    words = "The validation AUC is of images that chose the backbone's epoch: no result, but a sign that it learnt."
    return Part("The backbones", head, body, (words,), has_runs=True)


def _seen(data: Mapping[str, Any]) -> str:
    figures = [data.get("share"), data.get("validation_auc")]
    return ", ".join([titles([data["name"]]), *(number(each) for each in figures if each is not None)])


def titles(names: Iterable[str]) -> str:
    """Data sets in words."""
    return ", ".join(SOURCES[name].title if name in SOURCES else name for name in names)
