"""Answers about what was measured: figures with intervals, mistakes, subgroups, calibration, robustness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medmamba.data.related import is_of_training, took_part
from medmamba.report.checklists.items import Facts
from medmamba.report.checklists.record import Record, figure, plainly, short

OVERALL = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "Matthews' correlation",
    "quadratic_kappa": "quadratic kappa",
}
RATES = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "npv": "NPV",
    "auc": "AUC",
}
SURENESS = {"ece": "ECE", "brier": "Brier score", "nll": "negative log-likelihood"}
MISTAKES = 5  # kinds of mistakes that are told, the most frequent first


def measures(record: Record) -> Facts:
    """Names and definitions of the figures."""
    metrics = record.metrics
    known = {name: (metrics.get(key) or {}).get("definition") for key, name in OVERALL.items()}
    facts = [f"{name}: {definition}" for name, definition in known.items() if definition]
    if facts and _calibrated(record):
        facts.append(f"calibration: {', '.join(SURENESS.values())}, with a reliability diagram")
    return facts


def uncertainty(record: Record) -> Facts:
    """How intervals were made."""
    how = record.metrics.get("interval") or {}
    if "method" not in how:
        return []
    level = how.get("level")
    facts = [f"{level:.0%} intervals: {how['method']}"] if level is not None else [str(how["method"])]
    return [*facts, f"unit: {how.get('unit', 'unknown')}, seed {how.get('seed', 'unknown')}"]


def overall(record: Record) -> Facts:
    """The figures of all images together."""
    metrics = record.metrics
    if "n" not in metrics:
        return []
    facts = [f"{metrics['n']} images", *_named(metrics, OVERALL)]
    baseline = metrics.get("majority_baseline") or {}
    if baseline.get("value") is not None:
        facts.append(f"accuracy of always answering the most frequent class {baseline['value']:.3f}")
    return facts


def per_class(record: Record) -> Facts:
    """The figures of each class."""
    rows = record.metrics.get("per_class") or ()
    names = plainly(row["name"] for row in rows)
    return [f"{name} (n {row['n']}): {', '.join(_named(row, RATES))}" for name, row in zip(names, rows, strict=True)]


def _named(figures: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    return [f"{name} {figure(figures[key])}" for key, name in names.items() if figures.get(key) is not None]


def calibration(record: Record) -> Facts:
    """How far probabilities can be taken at their word, on the evaluated images."""
    found = _calibrated(record)
    if not found:
        return []
    facts = [f"calibration: {', '.join(_named(found, SURENESS))}"]
    if found.get("slope") is not None:
        facts.append(f"calibration slope {short(found['slope'])}, intercept {short(found.get('intercept'))}")
    return facts


def _calibrated(record: Record) -> Mapping[str, Any]:
    return (record.metrics.get("calibration") or {}).get("after") or {}


def updated(record: Record) -> Facts:
    """What dividing the logits by the temperature changed, on the images that chose it and on the evaluated ones."""
    fitted = record.fitted
    evaluated = record.metrics.get("calibration") or {}
    facts = []
    if fitted.get("before") and fitted.get("after"):
        facts.append(f"on the images that chose it: {_changes(fitted['before'], fitted['after'], plain=True)}")
    if evaluated.get("before") and evaluated.get("after"):
        facts.append(f"on the evaluated images: {_changes(evaluated['before'], evaluated['after'], plain=False)}")
    return facts


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], *, plain: bool) -> str:
    """`ECE 0.1 to 0.05, ...`; plain numbers, or figures with intervals."""
    write = short if plain else figure
    known = {key: name for key, name in SURENESS.items() if key in before and key in after}
    return ", ".join(f"{name} {write(before[key])} to {write(after[key])}" for key, name in known.items())


def failures(record: Record) -> Facts:
    """The most frequent mistakes."""
    metrics = record.metrics
    rows, matrix = metrics.get("per_class") or (), metrics.get("confusion_matrix")
    if not rows:
        return []
    if matrix is None:
        return [f"{row['name']}: missed {row['fn']} of {row['n']}, found wrongly {row['fp']}" for row in rows]
    told = _confusions(plainly(row["name"] for row in rows), matrix)
    return [*told, "all of them stand in confusion_matrix.png and scores.csv"]


def _confusions(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> Facts:
    wrong = [
        (count, f"{names[true]} taken for {names[told]}: {count} of {sum(row)}")
        for true, row in enumerate(matrix)
        for told, count in enumerate(row)
        if true != told and count
    ]
    return [words for _, words in sorted(wrong, key=lambda each: -each[0])[:MISTAKES]] or [
        "no image was decided wrongly"
    ]


def subgroups(record: Record) -> Facts:
    """The figures of each site, sex, or whatever column was asked for."""
    facts = []
    for column, rows in (record.metrics.get("subgroups") or {}).items():
        facts += [f"{column} {row['value']} (n {row['n']}): {', '.join(_named(row, OVERALL))}" for row in rows]
    return facts


def subgroup_sizes(record: Record) -> Facts:
    """How many evaluated images each subgroup has."""
    columns = (record.metrics.get("subgroups") or {}).items()
    return [
        f"evaluated, by {column}: " + ", ".join(f"{row['value']} {row['n']}" for row in rows)
        for column, rows in columns
    ]


def robustness(record: Record) -> Facts:
    """What corrupted images did: the worst cell of the sweep against clean images."""
    found = record.robustness
    cells = found.get("cells") or ()
    if not cells:
        return []
    clean, worst = found["clean"]["balanced_error"], cells[0]
    return [
        f"{len(found['corruptions'])} corruptions at five severities, {found['n']} images: balanced error "
        f"{figure(clean)} for clean ones",
        f"the worst: {worst['corruption']} at severity {worst['severity']}, {figure(worst['balanced_error'])}",
    ]


def explained(record: Record) -> Facts:
    """The heat maps of the report."""
    return [f"heat maps of the hardest cases in report.html: {record.maps}"] if record.maps else []


def internal(record: Record) -> Facts:
    """The evaluation, if it was on the data set of the training."""
    return (
        [f"split {record.metrics['data'].get('split')} of {record.evaluated}", *overall(record)]
        if record.same_data
        else []
    )


def external(record: Record) -> Facts:
    """The evaluation, if it was on a data set of another name."""
    if record.evaluated is None or record.same_data:
        return []
    return [f"{record.evaluated}, another data set than that of the training", *overall(record)]


def cautions(record: Record) -> Facts:
    """What the run, the evaluation and the catalogue say against these figures."""
    row = record.row
    facts = [f"trained in spite of {sentence}" for sentence in record.data.get("allowed") or ()]
    notes = [str(note).removesuffix(".") for note in record.metrics.get("notes") or ()]
    facts += [note for note in notes if note.removeprefix("the model was ") not in facts]
    split = str((record.metrics.get("data") or {}).get("split"))
    if record.same_data and is_of_training(split) and took_part(split) not in facts:  # an earlier version's evaluation
        facts.append(took_part(split))
    return facts + ([f"{row.title}: {caution}" for caution in row.cautions] if row else [])
