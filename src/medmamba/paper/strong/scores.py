"""The figures of MedMamba and its rivals: on three sets of MedMNIST and their mean, and on BUSI."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from medmamba.paper.networks import label
from medmamba.paper.run_result import RunResult
from medmamba.paper.sets import SOURCES
from medmamba.paper.sheet import Part, Sheet
from medmamba.paper.strong import marks
from medmamba.paper.strong.differences import differences_part, lift, over_rivals
from medmamba.paper.strong.entries import AHEAD, BEHIND, METRICS, NAMES, UNDECIDED, Entry, score
from medmamba.paper.strong.found import MODEL, RECIPE, RIVALS, SETS, Runs

BUSI = "busi"
MODELS = (MODEL, *RIVALS)
RIVALS_OF_BUSI = (*RIVALS, "densenet169", "medvit_tiny")
Take = Callable[[str, str], list[RunResult]]  # data set and model -> runs


def main(found: Runs) -> Sheet:
    """Table 1: accuracy and AUC with our recipe, and apart from them with the paper's."""
    ours = {model: _entries(found, found.strong, model, SETS, RECIPE) for model in MODELS}
    theirs = {model: _entries(found, found.paper, model, SETS, "the paper's") for model in MODELS}
    mean = ours[MODEL][0]
    against = Part("Against the paper's numbers", marks.HEAD, marks.rows(mean), has_runs=bool(mean.figures))
    parts = [_part(f"Recipe {RECIPE}: {NAMES[metric]}", ours, metric) for metric in METRICS]
    beside = [_part(f"The paper's protocol: {NAMES[metric]}", theirs, metric, printed=True) for metric in METRICS]
    records = [record for each in (*ours.values(), *theirs.values()) for entry in each for record in entry.records()]
    records += [mark.record(metric) for mark in marks.MARKS for metric in METRICS]
    lead = marks.sentences(mean, label(MODEL))
    return Sheet("main", "Three sets of MedMNIST", tuple(lead), (against, *parts, *beside), (), tuple(records))


def _entries(found: Runs, take: Take, model: str, sets: Sequence[str], recipe: str) -> list[Entry]:
    """The mean over the sets, where there are several, and each set."""
    groups = [sets, *([data] for data in sets)] if len(sets) > 1 else [sets]
    about = {"model": model, "recipe": recipe}
    return [score(found, {data: take(data, model) for data in group}, **about) for group in groups]


def _part(title: str, rows: dict[str, list[Entry]], metric: str, printed: bool = False) -> Part:
    head = ("model", "mean of the three", *(SOURCES[data].title for data in SETS))
    body = [(label(model), *(entry.words(metric) for entry in entries)) for model, entries in rows.items()]
    body += marks.printed_rows(metric) if printed else []
    return Part(title, head, body, has_runs=any(entry.figures for entries in rows.values() for entry in entries))


def rivals(found: Runs) -> Sheet:
    """Table 2: MedMamba less each rival with our recipe, and our recipe less the paper's for each model."""
    against = over_rivals(found, RIVALS, (SETS, *([data] for data in SETS)))
    lifted = lift(found, MODELS, (SETS, *([data] for data in SETS)))
    means = [score(found, {data: found.strong(data, model) for data in SETS}, model=model) for model in MODELS]
    of_means = [entry for entry in against if len(entry.sets) > 1]
    where = "mean over the three sets"
    lead = [f"{place(means, metric, where)} {standing(of_means, metric)}".strip() for metric in METRICS]
    parts = (
        differences_part(f"{label(MODEL)} less each rival, recipe {RECIPE}", "less", against),
        differences_part(f"What the recipe gives: {RECIPE} less the paper's", "model", lifted),
    )
    records = [record for entry in (*against, *lifted) for record in entry.records()]
    return Sheet("rivals", "Rivals", tuple(lead), parts, (), tuple(records))


def place(entries: Iterable[Entry], metric: str, where: str) -> str:
    """MedMamba's among the models that have runs, by their figures alone."""
    there = sorted((e for e in entries if e.figures), key=lambda e: e.figures[metric].mean, reverse=True)
    names = [label(entry.about["model"]) for entry in there]
    mine = label(MODEL)
    if mine not in names or len(names) < 2:
        return f"{mine}'s place by {NAMES[metric]}, {where}, is not known yet: runs are missing."
    order = ", ".join(f"{name} {entry.words(metric)}" for name, entry in zip(names, there, strict=True))
    rank = f"{mine} is number {names.index(mine) + 1} of {len(names)}"
    return f"By {NAMES[metric]}, {where}, {rank}: {order}."


def standing(against: Iterable[Entry], metric: str) -> str:
    """Which rivals it is ahead of and behind, by paired differences."""
    words = {AHEAD: "ahead of", BEHIND: "behind", UNDECIDED: "not decided against"}
    names = {
        verdict: [label(e.about["rival"]) for e in against if e.verdicts.get(metric) == verdict] for verdict in words
    }
    said = [f"{words[verdict]} {', '.join(several)}" for verdict, several in names.items() if several]
    return f"Paired, {label(MODEL)} is {'; '.join(said)}." if said else ""


def busi(found: Runs) -> Sheet:
    """Table 3: BUSI's three classes."""
    models = (MODEL, *RIVALS_OF_BUSI)
    parts, records, own = [], [], []
    for title, take, recipe in (
        (f"Recipe {RECIPE}", found.strong, RECIPE),
        ("The paper's recipe for such sets (clinical)", found.paper, "the paper's"),
    ):
        entries = [_entries(found, take, model, [BUSI], recipe)[0] for model in models]
        body = [(label(e.about["model"]), *(e.words(metric) for metric in METRICS)) for e in entries]
        parts.append(
            Part(
                title, ("model", *(NAMES[metric] for metric in METRICS)), body, has_runs=any(e.figures for e in entries)
            )
        )
        records += [record for entry in entries for record in entry.records()]
        own += entries if recipe == RECIPE else []
    against, lifted = over_rivals(found, RIVALS_OF_BUSI, ([BUSI],)), lift(found, models, ([BUSI],))
    parts.append(differences_part(f"{label(MODEL)} less each rival, recipe {RECIPE}", "less", against))
    parts.append(differences_part(f"What the recipe gives: {RECIPE} less the paper's", "model", lifted))
    records += [record for entry in (*against, *lifted) for record in entry.records()]
    said = [f"{place(own, metric, 'BUSI')} {standing(against, metric)}".strip() for metric in METRICS]
    return Sheet("busi", "BUSI", tuple(said), tuple(parts), (), tuple(records))
