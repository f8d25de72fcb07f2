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
_PARTS_LEAD = (
    f"Each line changes one setting of the recipe for {label(MODEL)}: above 0, the recipe is better as it is. The mean "
    "leaves BreastMNIST out, whose images are BUSI's. Differences without a word are not decided."
)
Groups = Iterable[Sequence[str]]  # data sets; of several the mean is meant


def differences_part(title: str, what: str, entries: Sequence[Entry]) -> Part:
    """A row a difference; `what` heads the column of what tells them apart, which is their `shown`."""
    head = ("data set", what, *(f"difference in {NAMES[metric]}" for metric in METRICS))
    body = [(sets_words(e.sets), e.about["shown"], *(e.words(metric) for metric in METRICS)) for e in entries]
    return Part(title, head, body, tuple(counts(entries)), any(entry.figures for entry in entries))


def sets_words(sets: Sequence[str]) -> str:
    """What tables call these data sets."""
    return f"mean of the {len(sets)}" if len(sets) > 2 else " and ".join(SOURCES[data].title for data in sets)


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
    entries = corrected([_without(found, settings, group, sets) for settings in changes for group in groups])
    if not entries:
        return Sheet("parts", PARTS, ("No runs with a changed setting are there: not run.",), (), (), ())
    head = ("setting, and what it was changed to", *map(sets_words, groups))
    shown = []
    for metric in METRICS:
        title = f"{NAMES[metric]}: {RECIPE} less {RECIPE} without it"
        body = []
        for place in range(0, len(entries), len(groups)):
            row = entries[place : place + len(groups)]
            cells = (entry.words(metric).replace(f": {UNDECIDED}", "") for entry in row)
            body.append((row[0].about["shown"], *cells))
        words = [said for said in counts(entries) if NAMES[metric] in said]
        shown.append(Part(title[0].upper() + title[1:], head, body, tuple(words), any(e.figures for e in entries)))
    records = tuple(record for entry in entries for record in entry.records())
    return Sheet("parts", PARTS, (_PARTS_LEAD,), tuple(shown), (), records)


def _without(found: Runs, settings: str, group: Sequence[str], sets: Sequence[str]) -> Entry:
    """The recipe less the recipe with this change on some data sets; its words are those of the whole line."""
    whole, without = ({data: found.strong(data, MODEL, of) for data in group} for of in ("{}", settings))
    usual = [runs[0].entries["recipe_settings"] for data in sets if (runs := found.strong(data, MODEL))]
    changed = json.loads(settings)
    about = {"model": MODEL, "recipe": RECIPE, "settings": changed, "shown": _change(changed, usual)}
    return difference(found, without, whole, **about)


def _change(changed: Mapping[str, Any], usual: Sequence[Mapping[str, Any]]) -> str:
    """`mixup 0.2, changed to 0`; the recipe's own value only where it is known, each of its values by set."""
    said = []
    for name, value in changed.items():
        own = "/".join(dict.fromkeys(plain(each[name]) for each in usual if name in each))
        said.append(f"{name} {own}, changed to {plain(value)}" if own else f"{name} {plain(value)}")
    return "; ".join(said)


def plain(value: Any) -> str:
    """A setting in words."""
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    return "none" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
