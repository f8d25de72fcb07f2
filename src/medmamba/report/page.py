"""The report as one page of HTML: no script, nothing from elsewhere, light and dark, on screens and on paper."""

from __future__ import annotations

import re
from typing import Any

from medmamba.bundle import Bundle
from medmamba.card import facts
from medmamba.evaluation.scoring import Evaluation
from medmamba.metrics import in_words
from medmamba.page import document, text
from medmamba.report import stress as stress_section
from medmamba.report import tables
from medmamba.report.cases import SHOWN, Cases, pictures
from medmamba.report.charts import Frame, Line, bars, chart, legend
from medmamba.report.checklists.record import Record
from medmamba.report.verdict import limits, verdict
from medmamba.tasks import Task

MOST_CURVES = 7  # classes with a colour each; of more all are grey

STYLE = """
:root { --c0: #0072B2; --c1: #D55E00; --c2: #009E73; --c3: #CC79A7; --c4: #E69F00; --c5: #56B4E9; --c6: #7F7F7F;
  --grey: #8888; }
@media screen and (prefers-color-scheme: dark) { :root { --c0: #4DA3E0; --c1: #FF8A3D; --c2: #2FCBA0; --c3: #E59CC5;
  --c4: #F3B73B; --c5: #8FD3FF; --c6: #AAAAAA; --bad: #ff6b60; } }
.verdict { font-weight: 500; border-color: var(--line); } .verdict.bad { border-color: var(--bad); }
section h2 { margin-bottom: .5rem; } section h3 { font-size: .95rem; margin: 1rem 0 .3rem; }
small { display: block; opacity: .7; font-size: .75rem; white-space: nowrap; }
table.narrow { width: auto; } table.narrow td, table.narrow th { padding-right: 1.5rem; }
.scroll { margin-top: .7rem; } section > .scroll:first-of-type { margin-top: 0; }
table.matrix td { padding: .3rem .6rem; } table.matrix { width: auto; }
table.matrix th { vertical-align: bottom; padding: .3rem .6rem; } th { font-weight: 600; }
table.facts th { white-space: nowrap; width: 1%; padding-right: 1.5rem; vertical-align: top; opacity: .75;
  font-weight: 500; }
table.facts td { overflow-wrap: anywhere; }
svg { width: 100%; height: auto; display: block; font: 11px system-ui, sans-serif; } svg text { fill: currentColor; }
svg path { fill: none; } svg .grid { stroke: var(--line); stroke-width: .6; }
svg .chance { stroke: currentColor; opacity: .5; stroke-dasharray: 1 4; }
svg .line { stroke-width: 1.8; stroke-linejoin: round; } svg .band { opacity: .18; }
svg .whisker { stroke-width: 1.2; } svg .bar { stroke: var(--grey); stroke-width: 9; }
svg.key { display: inline-block; width: 26px; height: 8px; flex: none; }
.legend { list-style: none; padding: 0; margin: .5rem 0; font-size: .85rem; display: flex; flex-wrap: wrap;
  gap: .1rem 1.2rem; } .legend li { display: flex; align-items: center; gap: .4rem; }
.plots, .panels { display: grid; gap: .6rem 1.2rem; }
.plots { grid-template-columns: repeat(auto-fit, minmax(min(100%, 270px), 1fr)); }
.panels { grid-template-columns: repeat(auto-fill, minmax(min(100%, 190px), 1fr)); } .panels svg { margin: 0 auto; }
.plots figure, .panels figure { width: auto; max-width: none; min-width: 0; } .panels figcaption { text-align: center; }
.plots h3 { margin-top: 0; }
.cases { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 13.5rem), 1fr)); gap: 1rem; }
figure.case { width: auto; max-width: 19rem; min-width: 0; } figure.case div { display: flex; gap: .25rem; }
figure.case img { width: calc(50% - .125rem); max-width: none; height: auto; align-self: start;
  outline: 1px solid var(--line); outline-offset: -1px; }
figure.case figcaption { font-size: .78rem; margin-top: .2rem; } table.narrow td.number { white-space: nowrap; }
@media screen and (max-width: 480px) { body { margin: 1rem auto; padding: 0 .6rem; } section { padding: .7rem .8rem; }
  table { font-size: .85rem; } table.narrow td, table.narrow th { padding-right: .6rem; }
  table.matrix td, table.matrix th { padding: .3rem .35rem; } table.facts th { padding-right: .6rem; } }
@media print { :root { color-scheme: light; } section { border: 0; padding: 0; margin: .6rem 0; }
  .verdict { font-size: 10.5pt; } td, svg path { print-color-adjust: exact; } table, details { font-size: 8pt; }
  small { font-size: 7pt; } th, td { padding-top: .1rem; padding-bottom: .1rem; } .legend { font-size: 8pt; }
  .plots svg { max-width: 250px !important; } .panels { grid-template-columns: repeat(4, 1fr); }
  .plots, .panels, .scroll { break-inside: avoid; } h3, .legend, h2 + .advice { break-after: avoid; }
  footer { margin: .5rem 0; break-before: avoid; }
  .meaning::details-content { content-visibility: visible; block-size: auto; } .meaning summary { list-style: none; } }
"""


def page(found: Evaluation, cases: Cases, stress: dict[str, Any] | None, command: str | None = None) -> str:
    """The page.

    Args:
        found: The evaluation.
        cases: The hardest of its images.
        stress: What `robustness` found, or None; left out, with a sentence, where it is of other images or weights.
        command: The command line, or None.
    """
    report, bundle = found.report, found.bundle
    other = None if stress is None else stress_section.other_images(stress, report)
    stress = None if other else stress
    known = Record(bundle, report).row
    cautions = [f"{caution} ({known.title})" for caution in known.cautions] if known else []
    open_ends = [*limits(bundle, report, stress, cautions), *([f"{other[:1].upper()}{other[1:]}."] if other else [])]
    broken = bool(report["notes"])
    paragraph = text(" ".join(verdict(bundle, report, stress)))
    sections = {
        "Data": _data(bundle, report),
        "Results": tables.results(report),
        "Confusion matrix": tables.confusion(report),
        "ROC and precision-recall curves": _curves(found),
        "Reliability of the probabilities": _reliability(report),
        "Each class against the rest": tables.per_class(report),
        "Subgroups": tables.subgroups(report),
        "Prediction sets and scope": _promises(report),
        "Hardest cases": _cases(cases, bundle),
        "Robustness": "" if stress is None else stress_section.section(stress),
        "Limits": f"<ul>{''.join(f'<li>{text(sentence)}</li>' for sentence in open_ends)}</ul>",
        "How it was made": tables.facts(_origin(bundle, report, command)),
    }
    body = "\n".join(f"<section><h2>{name}</h2>{inner}</section>" for name, inner in sections.items() if inner)
    return document(
        f"{text(bundle.model)} on {text(report['data']['name'])}",
        f'<p class="verdict {"bad" if broken else ""}">{paragraph}</p>\n{body}\n'
        "<footer>Every figure is in metrics.json, every point of the curves in curves.json, every answer in scores.csv "
        "beside this page. Research software, not a medical device.</footer>",
        style=STYLE,
    )


def _data(bundle: Bundle, report: dict[str, Any]) -> str:
    trained = bundle.provenance.get("data") or {}
    known = facts(bundle)
    told = {
        "measured on": f"{report['data']['name']}, split {report['data']['split']}",
        "images": f"{report['n']:,}",
        **_patients(report),
        "trained on": f"{known['data']}; splits {known['splits']}",
        "images from": known["images from"],
    }
    if row := Record(bundle, report).row:
        told[f"{row.title}, to cite"] = row.citation
        told[f"{row.title}, licence"] = row.licence
    if allowed := [note for note in report["notes"] if "in spite of" in note]:
        told["faults allowed"] = "; ".join(allowed)
    if report["absent_classes"]:
        told["no image of"] = ", ".join(report["absent_classes"])
    notes = "".join(f"<li>{text(note)}</li>" for note in report["data"]["notes"])
    return tables.facts(told) + tables.counts(trained.get("counts") or {}, report) + (f"<ul>{notes}</ul>" * bool(notes))


def _patients(report: dict[str, Any]) -> dict[str, str]:
    if report["patients"] is None or report["data"]["unit"] == "patient":
        return {"patients": "not known" if report["patients"] is None else f"{report['patients']:,}"}
    return {"patients": "not known", "groups of images": f"{report['patients']:,}, as the data name them"}


def _curves(found: Evaluation) -> str:
    """Both curves side by side; of a binary task those of the positive class."""
    report, positive = found.report, found.report["positive_class"]
    shown = [
        (k, row)
        for k, row in enumerate(found.curves["classes"])
        if row["roc"] is not None and (positive is None or row["name"] == positive["name"])
    ]
    if not shown:
        return "<p>No curve can be drawn: no class has images both with and without it.</p>"
    many = len(shown) > MOST_CURVES
    roc, recall, named = [], [], report["per_class"]
    for place, (k, row) in enumerate(shown):
        look = None if many else place
        area = "" if many else tables.auc_in_words(named[k])
        mean = "" if many else f"{row['name']}: average precision {in_words(row['average_precision'])}"
        bands = [[] if many else row[kind]["band"] for kind in ("roc", "precision_recall")]
        roc.append(Line(row["roc"]["points"], area, look, bands[0]))
        recall.append(Line(row["precision_recall"]["points"], mean, look, bands[1], stepped=True))
    marks = [*roc]
    if positive is not None and None not in (positive["specificity"]["value"], positive["sensitivity"]["value"]):
        point = (1 - positive["specificity"]["value"], positive["sensitivity"]["value"])
        marks.append(Line([point], "", 1, marks=True, joined=False))
    square = Frame(x="1 - specificity", y="sensitivity", diagonal=True)
    other = Frame(x="recall (sensitivity)", y="precision (PPV)")
    count = found.curves
    unit = report["data"]["unit"]
    drawn = f"from {count['resamples']:,} resamples of {unit}s" if count["resamples"] else "not computed"
    dot = f" The dot is the threshold {positive['threshold']:.3g}." if positive is not None else ""
    words = f"Bands are pointwise 95% intervals, {drawn}.{dot} Chance is the dotted line; in precision, the share of "
    words += f"images: {_shares(shown)}."
    return (
        f'<div class="plots"><figure><h3>ROC</h3>{chart("ROC curves", marks, square)}{legend(roc)}</figure>'
        f"<figure><h3>Precision and recall</h3>{chart('precision-recall curves', recall, other)}{legend(recall)}"
        f'</figure></div><p class="advice">{text(words)}</p>'
    )


def _shares(shown: list[tuple[int, dict[str, Any]]]) -> str:
    if len(shown) > MOST_CURVES:
        return "see the table of classes"
    return ", ".join(f"{row['name']} {row['share']:.3f}" for _, row in shown)


def _reliability(report: dict[str, Any]) -> str:
    found = report["calibration"]
    parts = []
    for name, figures in tables.in_order(found).items():
        bins = figures["bins"]
        points = [(row["confidence"], row["right"]) for row in bins]
        spans = [(row["confidence"], row["low"], row["high"]) for row in bins]
        frame = Frame(height=260, y="share that is right", diagonal=True)
        most = max((row["n"] for row in bins), default=1)
        below = Frame(height=110, x="confidence of the answer", y="images", top=most, y_ticks=(0, most))
        drawn = chart(f"reliability {name}", [Line(points, "", 0, bars=spans, marks=True, joined=False)], frame)
        counts = bars(f"images by confidence, {name}", [(row["confidence"], row["n"]) for row in bins], below)
        parts.append(f"<figure><h3>{text(name)}</h3>{drawn}{counts}</figure>")
    return f'<div class="plots">{"".join(parts)}</div>{tables.calibration(report)}'


def _promises(report: dict[str, Any]) -> str:
    found = [tables.sets(report["prediction_sets"])] if report["prediction_sets"] is not None else []
    return "".join([*found, *([tables.scope(report["scope"])] if report["scope"] is not None else [])])


def _cases(cases: Cases, bundle: Bundle) -> str:
    shown = min(SHOWN, cases.wrong)
    words = f"{cases.wrong:,} answers are wrong" + (f"; the {shown} surest of them" if cases.wrong > shown else "")
    parts = [f"<h3>Wrong and sure</h3><p class=advice>{words}.</p>{pictures(cases.errors)}" if cases.errors else ""]
    parts.append(f"<h3>Right and unsure</h3>{pictures(cases.unsure)}" if cases.unsure else "")
    maps = (
        "Beside each picture is the heat map of the answer: where the network found evidence, not where disease is. "
        f"From violet, none, to yellow, most; {cases.method}."
        if cases.no_maps is None
        else f"Heat maps are left out: {cases.no_maps}."
    )
    sure = (
        ""
        if bundle.task not in (Task.BINARY, Task.MULTILABEL)
        else " Sure is far from the threshold, as a share of what is possible on that side."
    )
    return f"<p class=advice>{text(maps + sure)}</p>{''.join(parts)}"


def _origin(bundle: Bundle, report: dict[str, Any], command: str | None) -> dict[str, str]:
    origin, made, known = bundle.provenance, report["made"], facts(bundle)
    told = {
        "model": f"{known['model']}, {report['model']['parameters']:,} parameters",
        "input": known["input"],
        "trained by": without_folders(str(origin.get("command") or "not recorded")),
    }
    if origin.get("seconds") is not None:
        told["training took"] = _time(float(origin["seconds"]))
    for key, word in (("commit", "commit"), ("epochs", "training, epochs"), ("ended", "training, end")):
        if origin.get(key) is not None:
            told[word] = str(origin[key])
    keys = ("recipe", "start", "seed", "best epoch", "data fingerprint", "device", "date", "versions")
    told |= {f"training, {key}": known[key] for key in keys}
    if fitted := bundle.decisions.fitted:
        chosen_on = f"split {fitted.get('split')} of {fitted.get('data')}, {fitted.get('n')} images"
        told["calibrated"] = f"on the {chosen_on}; temperature {bundle.decisions.temperature:.3g}; {fitted.get('date')}"
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items() if number)
    told |= {
        "report by": without_folders(command or "medmamba.write_report"),
        "report, date": made["date"],
        "report, device": f"{made['device']}, backend {made['backend']}, {made['batch_size']} images at once",
        "report, versions": versions,
        "resamples and seed": f"{report['interval']['resamples']:,}, {report['interval']['seed']}",
    }
    return told


def without_folders(command: str) -> str:
    """The command line with no more of an absolute path than its last name: a page is given away, a disk is not."""
    return re.sub(r"(^|[\s=])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\]+[/\\])*(?=[^\s/\\])", r"\1", command)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
