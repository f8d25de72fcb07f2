"""Tables 3 to 7: the paper's results, and ours beside them as far as there are runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmamba.data.catalogue import CATALOGUE, Row
from medmamba.paper import ablations
from medmamba.paper.costs import NOTES, UNEXPLAINED, Cost, costs
from medmamba.paper.networks import network
from medmamba.paper.printed import data_sets, models
from medmamba.paper.rows import CITED, IN, NOT_RUN, OUT, UNKNOWN, Comparison, comparisons, head, lines, records
from medmamba.paper.sets import ABSENT, SOURCES
from medmamba.paper.sheet import Part, Sheet


@dataclass(frozen=True)
class Table:
    """What is to be known of a table of results.

    Attributes:
        title: What it compares.
        beside: Data sets that it is made on in form, since the paper's cannot be had.
        extras: Models that are run for it although the paper's table does not have them.
        notes: The paper's contradictions, and what its columns are.
    """

    title: str
    beside: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


_AVERAGES = (
    "The paper does not say how it averages precision, sensitivity, specificity and F1 over classes; ours are plain "
    "means over classes (macro)."
)
TABLES = {
    "table3": Table("MedMamba-T and its rivals", ("busi",), ("resnet18", "medvit_tiny"), (_AVERAGES,)),
    "table4": Table(
        "MedMamba-S and its rivals",
        ("busi",),
        (),
        (
            _AVERAGES,
            "The paper's first row for Kvasir is called MedMamba-T and has the sizes of MedMamba-S; it is taken for S.",
        ),
    ),
    "table5": Table(
        "MedMamba-B and its rivals",
        ("busi",),
        (),
        (
            _AVERAGES,
            "For VMamba-B and Mvitv2-base on Otoscopy2024 the printed sensitivity is about ten points above what fits "
            "the precision and F1 beside it; for Poolformer-m36 on Fetal-Planes-DB the specificity is ten points below "
            "all others.",
        ),
    ),
    "table6": Table(
        "MedMNIST",
        (),
        ("vmamba_tiny", "convnext_tiny", "swin_tiny_patch4_window7_224", "automl-pixels"),
        (
            "The paper takes the rows of ResNet, the AutoML services and MedViT from other papers, which used images "
            "of 28 pixels, enlarged to 224 or not. It does not say which size its own rows start from; ours from 28.",
            "MedMamba-X is MedMamba-T with AutoAugment. ResNets at 28 x 28 have a stem for small images. Auto-sklearn, "
            "AutoKeras and Google AutoML are cited, not run; in auto-sklearn's place automl-pixels is what FLAML finds "
            "for the pixels at 28 x 28 in 60 seconds on one core.",
            "The AUC of ResNet18 (224) on OrganCMNIST, 0.94, has two digits, and its neighbours are above 0.99.",
        ),
    ),
    "table7": Table(
        "the four ablations",
        ("breastmnist", "busi", "pneumoniamnist"),
        (),
        (
            "The caption says MedMamba-T, the text MedMamba-X. The whole model has 85.6 % and 0.953 on Cervical-US "
            "here, 86.2 % and 0.952 in table 3; on PathMNIST and OCTMNIST it is MedMamba-T of table 6. Ours are of T.",
        ),
    ),
}


@dataclass(frozen=True)
class Plan:
    """What a table of results is made from.

    Attributes:
        table: `table3` to `table7`.
        keys: Models, keys in `paper.networks`.
        results: Folder with `runs` in it.
        seeds: Those of the runs to take.
        at_hand: Data sets that were found.
    """

    table: str
    keys: tuple[str, ...]
    results: Path
    seeds: tuple[int, ...]
    at_hand: Collection[str]

    @property
    def of_paper(self) -> tuple[str, ...]:
        """The keys that the paper's table has."""
        return tuple(key for key in self.keys if key in models(self.table))

    def wanted(self) -> Iterator[tuple[str, str, int]]:
        """Data set, key and seed of every training that the table can have here."""
        for data in (*data_sets(self.table), *TABLES[self.table].beside):
            if data in self.at_hand:
                for key in self.keys:
                    if network(key).model is not None and not network(key).search:
                        yield from ((data, key, seed) for seed in self.seeds)


def sheet(plan: Plan) -> Sheet:
    """The table, from the runs that are there."""
    about = TABLES[plan.table]
    found = {data: _rows(plan, data) for data in (*data_sets(plan.table), *about.beside)}
    parts = [_part(plan, data, several) for data, several in found.items()]
    parts.sort(key=lambda part: not part.has_runs)
    every = [cell for several in found.values() for cell in several]
    pairs = {"table6": ablations.AUGMENTATION, "table7": ablations.STEPS}.get(plan.table, ())
    steps = [step for data in found for step in ablations.steps(plan.results, data, plan.seeds, pairs)]
    if plan.table == "table7":
        parts.append(_order(steps))
    elif steps:
        parts.append(_augmentation(steps))
    counted = costs(plan.table, plan.keys)
    parts.append(_sizes(counted))
    seen = dict.fromkeys(NOTES[each.network.key] for each in counted if each.network.key in NOTES)
    return Sheet(
        plan.table,
        f"Table {plan.table[-1]}: {about.title}",
        _lead(every),
        tuple(parts),
        (*_READING, *about.notes, *seen),
        (
            *(record for cell in every for record in records(cell)),
            *({"kind": "step" if plan.table == "table7" else "factor", **step.record()} for step in steps),
            *({"kind": "size", **_size_record(each)} for each in counted),
        ),
    )


STATES = (IN, OUT, UNKNOWN, "no comparison", NOT_RUN, ABSENT, CITED)  # what may become of a row in print
_READING = (
    "Ours are means over runs with different seeds, ± their standard deviation, with a 95 % interval in which seeds "
    "and test images are drawn together; of three seeds it is somewhat too narrow. The paper prints one run each.",
    f"A row is `{IN}` if every value that the paper prints lies in our interval. That does not prove the value: with "
    f"few test images the intervals are wide. `{OUT}` says no more than that one lies outside: it names no cause, and "
    "ours may be the better ones.",
    "The epoch was chosen on the validation split; the test split was scored once.",
)


def _rows(plan: Plan, data: str) -> list[Comparison]:
    keys = plan.of_paper if data in data_sets(plan.table) else plan.keys
    if data in plan.at_hand:
        keys = plan.keys
    return comparisons(plan.table, data, keys, plan.results, plan.seeds, plan.at_hand)


def _part(plan: Plan, data: str, several: Sequence[Comparison]) -> Part:
    title = SOURCES[data].title
    in_paper = data in data_sets(plan.table)
    words: tuple[str, ...] = ()
    if not in_paper:
        words = (f"The paper's table does not have {title}; this is the table's form on data that can be had.",)
    elif data not in plan.at_hand:
        words = (f"{ABSENT.capitalize()}: {_how_to_get(CATALOGUE[data])}.",)
    told = dict.fromkeys(note for cell in several if cell.found for note in cell.found.notes)
    words += tuple(f"The runs say of their data: {note}." for note in told)
    rows = [line for cell in several for line in lines(cell)]
    return Part(title, head(plan.table), rows, words, any(cell.found for cell in several))


def _how_to_get(row: Row) -> str:
    if row.md5:
        return f"put {row.file_name(28)} from {row.source} into the folder of data"
    return row.get if row.licence == "private" else f"{row.get}, as {row.name} in the folder of data"


def _order(steps: Sequence[ablations.Step]) -> Part:
    words = (
        "The paper's accuracies rise from SSM over SSM, Conv, SP and SSM, Conv, SP, SF to SSM, Conv on four of its "
        "five sets."
    )
    if not steps:
        return Part("The order", ablations.HEAD, (), (words, "No two of the four have runs on one data set yet."))
    verdicts = Counter(step.verdict("accuracy") for step in steps)
    outcome = "; ".join(f"{verdict}: {count}" for verdict, count in verdicts.items())
    said = f"Of {len(steps)} differences in accuracy, by their 95 % intervals: {outcome}."
    rows = [ablations.row(step, SOURCES[step.data].title) for step in steps]
    return Part("The order", ablations.HEAD, rows, (words, said), has_runs=True)


def _augmentation(steps: Sequence[ablations.Step]) -> Part:
    words = (
        "One factor: MedMamba-X is MedMamba-T with AutoAugment in place of no augmentation, and nothing else is "
        "changed. X less T, on the same seeds and test images:"
    )
    rows = [
        (
            SOURCES[step.data].title,
            " ".join(map(str, step.seeds)),
            *(ablations.difference(step, metric) for metric in ("accuracy", "auc")),
        )
        for step in steps
    ]
    return Part("X against T", ("data set", "seeds", *ablations.HEAD[-2:]), rows, (words,), has_runs=True)


def _lead(every: Sequence[Comparison]) -> tuple[str, ...]:
    """What was found, in plain words."""
    printed = [cell for cell in every if cell.paper]
    states = Counter(cell.status.partition(":")[0] for cell in printed)
    run = [cell for cell in printed if cell.found]
    counts = "; ".join(f"{states[state]} {state}" for state in STATES if states[state])
    said = [f"Run here: {len(run)} of the {len(printed)} rows in print. Row by row: {counts}."]
    if missed := [f"{cell.title} on {SOURCES[cell.data].title}" for cell in run if cell.status == OUT]:
        said.append(f"Not reproduced: {', '.join(missed)}.")
    if alone := sum(cell.found is not None and not cell.paper for cell in every):
        said.append(f"Rows that are ours alone, of models or data sets that the paper's table does not have: {alone}.")
    return tuple(said)


def _sizes(counted: Sequence[Cost]) -> Part:
    head = ("model", "registry name", "parameters, M: paper", "ours", "", "FLOPs, G: paper", "ours", "full count", "")
    rows = [_size(each) for each in counted]
    flagged = [each.title for each in counted if each.flagged]
    words = [
        "Parameters at six classes; ours are multiply-adds of convolutions and linear layers at 224 x 224 (at "
        "28 x 28 with a small stem), the full count adds those of attention, projections and scans."
    ]
    words += [f"Not explained: the numbers that the paper prints for {', '.join(flagged)}."] if flagged else []
    return Part("Sizes of the models", head, rows, tuple(words))


def _size(each: Cost) -> tuple[str, ...]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    return (
        each.title,
        f"`{each.network.model}`",
        each.printed_parameters or "",
        number(each.parameters),
        each.about_parameters,
        each.printed_flops or "",
        number(each.macs),
        number(each.full),
        each.about_flops,
    )


def _size_record(each: Cost) -> dict[str, Any]:
    return {
        "printed_model": each.title,
        "model": each.network.model,
        "image_size": each.network.image_size,
        "printed_parameters": each.printed_parameters,
        "parameters": each.parameters,
        "about_parameters": each.about_parameters,
        "printed_flops": each.printed_flops,
        "macs": each.macs,
        "full": each.full,
        "about_flops": each.about_flops,
        "explained": UNEXPLAINED not in (each.about_parameters, each.about_flops),
    }
