"""Tables of differences: against rivals, against the paper's recipe, with and without a part of the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medmamba.paper.networks import label
from medmamba.paper.sets import SOURCES
from medmamba.paper.sheet import Part, Sheet
from medmamba.paper.strong.entries import METRICS, NAMES, UNDECIDED, Entry, corrected, counts, difference
from medmamba.paper.strong.found import MODEL, RECIPE, Runs

APART = ("retinamnist", "busi")  # no image of one is in the other: BreastMNIST is made from BUSI
PARTS = "What each part of the recipe gives"
OF_PARTS = (*METRICS, "sensitivity")  # what is done for rare classes shows in no other
WORDS = {  # settings for people
    "augment": "augmentation",
    "choose_from": "epoch chosen from share",
    "drop_path_rate": "drop path",
    "ema": "moving average of the weights",
    "imbalance": "made up for rare classes by",
    "label_smoothing": "label smoothing",
}
Groups = Iterable[Sequence[str]]  # data sets; of several the mean is meant


def differences_part(title: str, what: str, entries: Sequence[Entry]) -> Part:
    """A row a difference; `what` heads the column of what tells them apart, which is their `shown`."""
    head = ("data set", what, *(f"difference in {NAMES[metric]}" for metric in METRICS))
    body = [(sets_words(e.sets), e.about["shown"], *(e.words(metric) for metric in METRICS)) for e in entries]
    return Part(title, head, body, tuple(counts(entries)), any(entry.figures for entry in entries))


def sets_words(sets: Sequence[str]) -> str:
    """What tables call these data sets."""
    if len(sets) == 1:
        return SOURCES[sets[0]].title
    return (
        f"mean of the {len(sets)}" if len(sets) > 2 else f"mean of {' and '.join(SOURCES[data].title for data in sets)}"
    )


def over_rivals(found: Runs, rivals: Iterable[str], groups: Groups) -> list[Entry]:
    """MedMamba less each rival, both with our recipe."""
    return corrected(
        [
            difference(
                found,
                {data: found.strong(data, rival) for data in group},
                {data: found.strong(data, MODEL) for data in group},
                model=MODEL,
                recipe=RECIPE,
                rival=rival,
                shown=label(rival),
            )
            for group in groups
            for rival in rivals
        ]
    )


def lift(found: Runs, models: Iterable[str], groups: Groups) -> list[Entry]:
    """Our recipe less the paper's for each model."""
    return corrected(
        [
            difference(
                found,
                {data: found.paper(data, model) for data in group},
                {data: found.strong(data, model) for data in group},
                model=model,
                recipe=RECIPE,
                shown=label(model),
            )
            for group in groups
            for model in models
        ]
    )


def parts(found: Runs) -> Sheet:
    """Table 4: the recipe less the recipe without one of its parts, a line for each change that has runs."""
    changed = [key for key in found.own if key[1] == MODEL and key[2] != "{}" and not key[3]]
    sets = [data for data in SOURCES if any(key[0] == data for key in changed)]
    groups = [APART] * set(APART).issubset(sets) + [(data,) for data in sets]
    changes = sorted({key[2] for key in changed})
    entries = corrected([_without(found, settings, group, sets) for settings in changes for group in groups], OF_PARTS)
    if not entries:
        return Sheet("parts", PARTS, ("No runs with a changed setting are there: not run.",), (), (), ())
    head = ("setting, and what it was changed to", *map(sets_words, groups))
    shown = []
    for metric in OF_PARTS:
        body = []
        for place in range(0, len(entries), len(groups)):
            row = entries[place : place + len(groups)]
            cells = (entry.words(metric).replace(f": {UNDECIDED}", "") for entry in row)
            body.append((row[0].about["shown"], *cells))
        name = f"{NAMES[metric][0].upper()}{NAMES[metric][1:]}"
        words = tuple(counts(entries, [metric]))
        shown.append(Part(name, head, body, words, any(entry.figures for entry in entries)))
    lead = f"Each line changes one setting of the recipe for {label(MODEL)}: above 0, the recipe is better as it is. "
    lead += "Differences without a word are not decided."
    lead += " The mean leaves BreastMNIST out, whose images are BUSI's." * (APART in groups)
    records = tuple(record for entry in entries for record in entry.records(OF_PARTS))
    return Sheet("parts", PARTS, (lead,), tuple(shown), (), records)


def _without(found: Runs, settings: str, group: Sequence[str], sets: Sequence[str]) -> Entry:
    """The recipe less the recipe with this change on some data sets; its words are those of the whole line."""
    whole, without = ({data: found.strong(data, MODEL, of) for data in group} for of in ("{}", settings))
    usual = [runs[0].entries["recipe_settings"] for data in sets if (runs := found.strong(data, MODEL))]
    changed = json.loads(settings)
    about = {"model": MODEL, "recipe": RECIPE, "settings": changed, "shown": _change(changed, usual)}
    return difference(found, without, whole, **about)


def _change(changed: Mapping[str, Any], usual: Sequence[Mapping[str, Any]]) -> str:
    """`mixup 0.2, changed to 0`; the recipe's own value where it is known, of several numbers least and largest."""
    said = []
    for name, value in changed.items():
        own = {plain(each[name]): each[name] for each in usual if name in each}
        ends = list(own) if len(own) < 2 else [plain(end(own.values())) for end in (min, max)]
        words = WORDS.get(name, name)
        said.append(f"{words} {' to '.join(ends)}, changed to {plain(value)}" if own else f"{words} {plain(value)}")
    return "; ".join(said)


def plain(value: Any) -> str:
    """A setting in words."""
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    return "none" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
