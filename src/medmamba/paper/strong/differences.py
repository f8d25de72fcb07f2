"""Tables of differences: against rivals, against the paper's recipe, with and without a part of the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medmamba.paper.networks import label
from medmamba.paper.sets import SOURCES
from medmamba.paper.sheet import Part, Sheet
from medmamba.paper.strong.entries import METRICS, NAMES, Entry, corrected, counts, difference
from medmamba.paper.strong.found import MODEL, RECIPE, Runs

Groups = Iterable[Sequence[str]]  # data sets; of several the mean is meant


def differences_part(title: str, what: str, entries: Sequence[Entry]) -> Part:
    """A row a difference; `what` heads the column of what tells them apart, which is their `shown`."""
    head = ("data set", what, *(f"difference in {NAMES[metric]}" for metric in METRICS))
    body = [(sets_words(e.sets), e.about["shown"], *(e.words(metric) for metric in METRICS)) for e in entries]
    return Part(title, head, body, tuple(counts(entries)), any(entry.figures for entry in entries))


def sets_words(sets: Sequence[str]) -> str:
    """What tables call these data sets."""
    return f"mean of the {len(sets)}" if len(sets) > 1 else SOURCES[sets[0]].title


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
    """Table 4: the recipe less the recipe without one of its parts, for every variant that has runs."""
    variants = sorted(key for key in found.own if key[1] == MODEL and key[2] != "{}" and not key[3])
    variants.sort(key=lambda key: (key[2], list(SOURCES).index(key[0]) if key[0] in SOURCES else 0))
    entries = []
    for data, model, settings, _ in variants:
        whole, without = found.strong(data, model), found.strong(data, model, settings)
        changed = json.loads(settings)
        usual = whole[0].entries["recipe_settings"] if whole else {}
        about = {"model": model, "recipe": RECIPE, "settings": changed, "shown": _change(changed, usual)}
        entries.append(difference(found, {data: without}, {data: whole}, **about))
    entries = corrected(entries)
    title = f"{RECIPE} less {RECIPE} without it"
    shown = differences_part(title, "setting, and what it was changed to", entries)
    lead = f"Each line changes one setting of the recipe for {label(MODEL)}: above 0, the recipe is better as it is."
    if not entries:
        lead = "No runs with a changed setting are there: not run."
    records = tuple(record for entry in entries for record in entry.records())
    tables = (shown,) if entries else ()
    return Sheet("parts", "What each part of the recipe gives", (lead,), tables, (), records)


def _change(changed: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """`mixup 0.2, not 0.0`; the recipe's own value only where it is known."""
    return "; ".join(
        f"{name} {plain(whole[name])}, changed to {plain(value)}" if name in whole else f"{name} {plain(value)}"
        for name, value in changed.items()
    )


def plain(value: Any) -> str:
    """A setting in words."""
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    return "none" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
