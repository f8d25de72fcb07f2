"""The sentences of a report: what was found in one paragraph, and what stays open. All from the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medmamba.bundle import Bundle
from medmamba.metrics import in_words
from medmamba.tasks import Task

FEW = 30  # images of a class, below which its figures say little
NAMED = 6  # classes that the paragraph names
GROUPS = (
    "The data name groups of images that belong together and do not say that these are patients: where intervals are "
    "said to be of patients, they are of such groups, and one patient may be in several."
)
SAID = "The model's accuracy, "  # how a note begins that tells what the paragraph tells already


def verdict(bundle: Bundle, report: dict[str, Any], stress: dict[str, Any] | None) -> list[str]:
    """The paragraph, sentence by sentence.

    Args:
        bundle: Of the model.
        report: From `medmamba.evaluate`.
        stress: From `medmamba.robustness.sweep` on the same images, or None.
    """
    sentences = [_question(bundle), _measured(report), _worth(report), _found(report), _calibrated(report)]
    sentences += [_sets(report), _scope(report), _worst(stress)]
    if warnings := [note for note in report["notes"] if not note.startswith(SAID)]:
        sentences.append(f"Warning: {_sentence(warnings[0])}")
    return [sentence for sentence in sentences if sentence]


def _question(bundle: Bundle) -> str:
    names = [f"'{name}'" for name in bundle.classes]
    listed = _list(names) if len(names) <= NAMED else f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
    if bundle.task is Task.BINARY:
        positive, other = bundle.classes[bundle.positive], bundle.classes[1 - bundle.positive]
        return (
            f"The model ({bundle.model}) answers '{positive}' from a probability of {bundle.threshold:.3g} on, "
            f"else '{other}'."
        )
    if bundle.task is Task.MULTILABEL:
        return f"The model ({bundle.model}) says of each of {len(names)} labels whether an image has it: {listed}."
    ordered = " in this order" if bundle.task is Task.ORDINAL else ""
    return f"The model ({bundle.model}) gives an image one of {len(names)} classes{ordered}: {listed}."


def _measured(report: dict[str, Any]) -> str:
    n, patients, data = report["n"], report["patients"], report["data"]
    whose = "" if patients is None else f" of {_number(patients, data['unit'])}"
    return f"It was measured on the {_number(n, 'image')}{whose} of the split {data['split']} of {data['name']}."


def _worth(report: dict[str, Any]) -> str:
    """AUC and accuracy, and how the latter stands to that of the most frequent answer."""
    positive, accuracy, baseline = report["positive_class"], report["accuracy"], report["majority_baseline"]
    kind = "macro AUC" if positive is None else "AUC"
    always = (
        f"always answering '{baseline['class']}'" if baseline["class"] else "always giving each label's commoner answer"
    )
    told = f"Its {kind} is {in_words(report['auc'])} and its accuracy {in_words(accuracy)}"
    if accuracy["value"] is None or baseline["value"] is None:
        return f"{told}."
    low = accuracy["low"]
    if accuracy["value"] <= baseline["value"]:
        than = "no better than"
    elif low is not None and low > baseline["value"]:
        than = "better than"
    else:
        than = "not clearly better than"
    return f"{told}, {than} {always}, {baseline['value']:.3f}."


def _found(report: dict[str, Any]) -> str:
    """What share of each class it finds: what a reader of images asks first."""
    if (positive := report["positive_class"]) is not None:
        return (
            f"Its sensitivity for '{positive['name']}' is {in_words(positive['sensitivity'])}, its specificity "
            f"{in_words(positive['specificity'])}."
        )
    rows = [row for row in report["per_class"] if row["sensitivity"]["value"] is not None]
    if not rows or len(rows) > NAMED or report["confusion_matrix"] is None:
        return ""
    shares = [f"{row['sensitivity']['value']:.0%} of the {row['n']:,} of '{row['name']}'" for row in rows]
    return f"It finds {_list(shares)}."


def _calibrated(report: dict[str, Any]) -> str:
    ece = report["calibration"]["after"]["ece"]
    chance = ece["by_chance"]["high"]
    if ece["value"] is None or chance is None:
        return ""
    if ece["value"] <= chance:
        return (
            f"Its probabilities show no fault here: the calibration error, {ece['value']:.3f}, is no larger than "
            f"chance alone makes it (up to {chance:.3f})."
        )
    return (
        f"Its probabilities are off: the calibration error, {ece['value']:.3f}, is larger than chance alone makes it "
        f"(up to {chance:.3f})."
    )


def sets_keep(found: dict[str, Any]) -> bool | None:
    """Whether prediction sets hold the true class as often as promised, as far as these images can tell."""
    promised = found["expected"][0] if found["expected"] else 1 - found["error"]
    rows = found["per_class"] if found["by_class"] else [found["coverage"]]
    highs = [row["high"] for row in rows if row["high"] is not None]
    return None if not highs else min(highs) >= promised


def _sets(report: dict[str, Any]) -> str:
    found = report["prediction_sets"]
    if found is None or (keeps := sets_keep(found)) is None:
        return ""
    each = " of each class" if found["by_class"] else ""
    promised = f"the true class for {1 - found['error']:.0%} of images{each}"
    kept = "keep their promise" if keeps else "break their promise"
    told = (
        f"Prediction sets {kept} to hold {promised}: they do for {in_words(found['coverage'])}{_lowest(found, keeps)}."
    )
    left = found["referred"]["value"]
    alone = f" They name a single class for {1 - (left or 0):.0%} of images and leave the rest to a person."
    return told if left is None else told + alone


def _lowest(found: dict[str, Any], keeps: bool) -> str:
    """The class for which the promise is broken most, where one is made for each class."""
    rows = [row for row in found["per_class"] if row["high"] is not None]
    if keeps or not found["by_class"] or not rows:
        return ""
    worst = min(rows, key=lambda row: row["high"])
    return f" of all images, but for {in_words(worst)} of '{worst['name']}'"


def scope_keeps(found: dict[str, Any]) -> bool | None:
    """Whether no more images are called unlike the training images than was chosen, as far as these can tell."""
    low = found["refused"]["low"]
    return None if low is None else low <= found["chosen"]


def _scope(report: dict[str, Any]) -> str:
    found = report["scope"]
    if found is None or (keeps := scope_keeps(found)) is None:
        return ""
    told = f"It calls {in_words(found['refused'])} of these images unlike those of its training"
    if keeps:
        return f"{told}, no more than the {found['chosen']:.3g} that was chosen, as far as so many can tell."
    return f"{told}, more than the {found['chosen']:.3g} that was chosen: these are other images than it knows."


def _worst(stress: dict[str, Any] | None) -> str:
    if stress is None or not stress["cells"]:
        return ""
    cell, clean = stress["cells"][0], stress["clean"]
    name, before, after = cell["corruption"].replace("_", " "), clean["balanced_error"], cell["balanced_error"]
    chance = ""
    if None not in (before["high"], after["low"]) and after["low"] <= before["high"]:
        chance = "; the intervals overlap, and the worst of many is partly chance"
    return (
        f"Of the corruptions of the images, {name} at severity {cell['severity']} of 5 is the worst: on "
        f"{_number(stress['n'], 'image')} the share answered wrongly, mean over classes, goes from {in_words(before)} "
        f"to {in_words(after)}{chance}."
    )


def limits(
    bundle: Bundle, report: dict[str, Any], stress: dict[str, Any] | None, cautions: Sequence[str] = ()
) -> list[str]:
    """What a reader must not miss, and what was not measured; `cautions` are known faults of the data."""
    sentences = [_sentence(note) for note in report["notes"]]
    few = [f"'{row['name']}' ({row['n']})" for row in report["per_class"] if 0 < row["n"] < FEW]
    if few:
        sentences.append(f"Few images, whose figures are uncertain: {_list(few)}.")
    if report["patients"] is None:
        sentences.append("Patients are not known: the intervals suppose that each image is of another one.")
    elif report["data"]["unit"] == "group":
        sentences.append(GROUPS)
    if not bundle.decisions.fitted:
        sentences.append("The model was not calibrated: its probabilities are as the network gives them.")
    if bundle.decisions.conformal is None:
        sentences.append("It makes no prediction sets, and does not say when it is unsure.")
    if bundle.decisions.scope is None:
        sentences.append("It answers for any picture, also for one that shows none of its classes.")
    if stress is None:
        sentences.append("What worse pictures do to its answers was not measured; `medmamba robustness` does.")
    if not report["subgroups"]:
        sentences.append("Whether it does as well for every site, device, age or sex was not measured.")
    sentences += [f"Known of this data set: {caution}." for caution in cautions]
    sentences.append(
        f"The figures are those of {report['data']['name']} alone: another scanner, hospital, population or disease "
        "may give others. Nothing here says what the answers do for a patient, or for those who read them."
    )
    return sentences


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _number(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"
