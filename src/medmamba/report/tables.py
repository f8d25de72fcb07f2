"""The tables of a report: every number is one of `metrics.json` or of the model's record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from medmamba.metrics import headline, in_words
from medmamba.page import text

RATES = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision (PPV)",
    "npv": "NPV",
    "f1": "F1",
    "auc": "AUC",
}
MOST_CELLS = 25  # classes whose confusion matrix is shown at once; more lie behind a click


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table in a box of its own that scrolls; cells are HTML already, heads are text."""
    heads = "".join(f"<th{' class=number' * (name != head[0])}>{text(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def figure_cells(figures: Iterable[dict[str, Any] | None]) -> list[str]:
    """A cell each: the value, and under it the interval."""
    return [_figure(figure) for figure in figures]


def _figure(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "<td class=number>-</td>"
    between = "" if figure.get("low") is None else f"<small>{figure['low']:.3f} to {figure['high']:.3f}</small>"
    return f"<td class=number>{figure['value']:.3f}{between}</td>"


def counts(bundle_counts: dict[str, dict[str, int]], report: dict[str, Any]) -> str:
    """Images by class and split: those that the model learnt from, as recorded, and those of this report."""
    split = report["data"]["split"]
    trained = {"train": "trained on", "val": "epoch chosen on (val)"}
    known = {word: bundle_counts[name] for name, word in trained.items() if bundle_counts.get(name)}
    head = ["class", *known, f"measured on ({split})"]
    rows = []
    for row in report["per_class"]:
        cells = [f"{column[row['name']]:,}" if row["name"] in column else "-" for column in known.values()]
        rows.append([f"<td>{text(row['name'])}</td>", *_numbers([*cells, f"{row['n']:,}"])])
    if report["confusion_matrix"] is not None:
        sums = [f"{sum(column.values()):,}" for column in known.values()]
        rows.append(["<td>all</td>", *_numbers([*sums, f"{report['n']:,}"])])
    return table(head, rows)


def results(report: dict[str, Any]) -> str:
    """The figures that a terminal shows of an evaluation, and what each means."""
    rows = []
    for name, words in headline(report):
        value, _, interval = words.partition(" (")
        cells = f"<td class=number>{value}</td><td class=number>{interval.rstrip(')')}</td>"
        rows.append([f"<td>{text(name)}</td>", cells])
    keys = ("auc", "accuracy", "majority_baseline", "balanced_accuracy", "mcc", "quadratic_kappa", "macro")
    entries = {key: report[key] for key in (*keys, "positive_class") if report[key] is not None}
    meanings = "".join(
        f"<li><b>{key.replace('_', ' ')}</b>: {text(entry['definition'])}</li>" for key, entry in entries.items()
    )
    level = f"{report['interval']['level']:.0%} interval"
    about = f"<li><b>intervals</b>: {text(report['interval']['method'])}</li>"
    return table(("figure", "value", level), rows, "narrow") + meaning(meanings + about)


def confusion(report: dict[str, Any]) -> str:
    """Counts, rows the true class, the colour by the share of the row; for multi-label what became of each label."""
    if report["confusion_matrix"] is None:
        return _labels(report)
    names, matrix = report["classes"], report["confusion_matrix"]
    rows = []
    for name, row in zip(names, matrix, strict=True):
        n = sum(row)
        cells = "".join(_cell(count, count / n if n else 0.0) for count in row)
        rows.append([f"<td>{text(name)} <small>n = {n:,}</small></td>", cells])
    shown = table(["true class, answered:", *names], rows, "matrix")
    if len(names) > MOST_CELLS:
        return f"<details><summary>{len(names)} x {len(names)} cells</summary>{shown}</details>"
    return shown


def _labels(report: dict[str, Any]) -> str:
    rows = []
    for row in report["per_class"]:
        without = row["fp"] + row["tn"]
        shares = [(row["tp"], row["n"]), (row["fn"], row["n"]), (row["fp"], without), (row["tn"], without)]
        cells = "".join(_cell(count, count / whole if whole else 0.0) for count, whole in shares)
        rows.append([f"<td>{text(row['name'])} <small>n = {row['n']:,}</small></td>", cells])
    return table(("label", "found", "missed", "false alarm", "rightly none"), rows, "matrix")


def _cell(count: int, share: float) -> str:
    shade = f"background:rgba(0,114,178,{0.55 * share:.2f})"
    return f'<td class=number style="{shade}">{count:,}<small>{share:.0%}</small></td>'


def per_class(report: dict[str, Any]) -> str:
    """The rates of each class against the rest."""
    rows = []
    for row in report["per_class"]:
        rows.append([f"<td>{text(row['name'])}</td>", *_numbers([f"{row['n']:,}"]), *figure_cells(map(row.get, RATES))])
    return table(("class", "n", *RATES.values()), rows)


def subgroups(report: dict[str, Any]) -> str:
    """The figures of each value of each column that was asked for."""
    rates = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "auc": "AUC"}
    more = {"sensitivity": "sensitivity", "specificity": "specificity", "precision": "PPV", "npv": "NPV"}
    parts = []
    for column, groups in report["subgroups"].items():
        shown = rates | {key: word for key, word in more.items() if any(key in group for group in groups)}
        rows = [
            [f"<td>{text(group['value'])}</td>", *_numbers([f"{group['n']:,}"]), *figure_cells(map(group.get, shown))]
            for group in groups
        ]
        parts.append(table((column, "n", *shown.values()), rows))
    return "".join(parts)


def calibration(report: dict[str, Any]) -> str:
    """Figures of the probabilities, as the model answers and, where it has a temperature, without it."""
    found = report["calibration"]
    columns = in_order(found)
    words = {
        "ece": "calibration error (ECE)",
        "ece_equal_mass": "the same, bins of equally many images",
        "brier": "Brier score",
        "nll": "log loss (NLL)",
    }
    rows = [
        [f"<td>{word}</td>", *figure_cells(figures[key] for figures in columns.values())] for key, word in words.items()
    ]
    chance = [figures["ece"]["by_chance"]["high"] for figures in columns.values()]
    rows.insert(1, ["<td>which chance alone explains up to</td>", *figure_cells({"value": high} for high in chance)])
    means = "".join(f"<li><b>{word}</b>: {text(found['after'][key]['definition'])}</li>" for key, word in words.items())
    means += (
        "<li>Smaller is better. Few images make a calibration error look larger than it is; its interval is set right "
        "for that and may lie below the value.</li>"
    )
    return table(("figure", *columns), rows, "narrow") + meaning(means)


def in_order(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is known of the probabilities, by name: before calibration, where that changed them, and as they are."""
    if found["before"] is None:
        return {"as the model answers": found["after"]}
    return {"before calibration": found["before"], "after calibration": found["after"]}


def meaning(items: str) -> str:
    """What figures mean, behind a click on a screen and open on paper; items of a list, HTML already."""
    return f'<details class="meaning"><summary>What each figure means</summary><ul>{items}</ul></details>'


def sets(found: dict[str, Any]) -> str:
    """What prediction sets did."""
    promised = f"{1 - found['error']:.3f}"
    rows = [
        ["<td>promised share of sets that hold the true class</td>", *_numbers([promised])],
        ["<td>share that does</td>", *figure_cells([found["coverage"]])],
        *(
            [f"<td>of the images of '{text(row['name'])}' (n = {row['n']:,})</td>", *figure_cells([row])]
            for row in found["per_class"]
        ),
        ["<td>left to a person: sets of no or of several classes</td>", *figure_cells([found["referred"]])],
        [
            f"<td>right where a single class is named (n = {found['sizes'][1]:,})</td>",
            *figure_cells([found["kept_right"]]),
        ],
    ]
    if found["expected"]:
        low, high = found["expected"]
        rows.insert(1, ["<td>within which calibrations differ</td>", *_numbers([f"{low:.3f} to {high:.3f}"])])
    sizes = ", ".join(f"{n:,} of size {size}" for size, n in enumerate(found["sizes"]) if n)
    mean = "" if found["mean_size"] is None else f"; mean {found['mean_size']:.3f}"
    return table(("prediction sets", ""), rows, "narrow") + f"<p class=advice>Sizes of the sets: {sizes}{mean}.</p>"


def scope(found: dict[str, Any]) -> str:
    """How many images were called unlike those of the training."""
    rows = [
        ["<td>share of validation images, as chosen</td>", *_numbers([f"{found['chosen']:.3f}"])],
        ["<td>share of these images</td>", *figure_cells([found["refused"]])],
    ]
    return table(("called unlike the training images", ""), rows, "narrow")


def facts(known: dict[str, str]) -> str:
    """Names and words."""
    rows = "".join(f"<tr><th>{text(name)}</th><td>{text(words)}</td></tr>" for name, words in known.items())
    return f'<div class="scroll"><table class="facts"><tbody>{rows}</tbody></table></div>'


def auc_in_words(row: dict[str, Any]) -> str:
    """Of one class, for the legend of its curve."""
    return f"{row['name']}: AUC {in_words(row['auc'])}"


def _numbers(words: Sequence[str]) -> list[str]:
    return [f"<td class=number>{word}</td>" for word in words]
