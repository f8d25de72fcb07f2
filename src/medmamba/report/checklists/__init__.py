"""What reporting checklists ask of a study, answered from what a run recorded; no figure is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medmamba.bundle import Bundle
from medmamba.errors import InputError
from medmamba.report.checklists.claim import CLAIM
from medmamba.report.checklists.items import SENTENCE, Checklist
from medmamba.report.checklists.record import Record, plainly
from medmamba.report.checklists.tripod_ai import TRIPOD_AI
from medmamba.text import markdown_cell

__all__ = ["CHECKLISTS", "SENTENCE", "checklists"]

CHECKLISTS = (CLAIM, TRIPOD_AI)


def checklists(
    bundle: Bundle,
    metrics: Mapping[str, Any] | None = None,
    robustness: Mapping[str, Any] | None = None,
    *,
    maps: str = "",
) -> str:
    """Both checklists as a page in Markdown.

    Args:
        bundle: Of the model, as it is in its folder.
        metrics: What `metrics.json` of one evaluation of it holds; None without one.
        robustness: What its `robustness.json` holds; None without one.
        maps: The method of the heat maps that stand in `report.html` beside the page; empty without them.

    Raises:
        InputError: The metrics or the robustness are of another model.
    """
    record = Record(bundle, metrics or {}, robustness or {}, maps)
    _check(record)
    lines = [
        f"# Reporting checklists: {markdown_cell(bundle.model)}, {markdown_cell(', '.join(plainly(bundle.classes)))}",
        "",
        "Research software, not a medical device.",
        "",
        "Answered from the record named here, which says what was done and not whether that is good; the rest is for "
        "the people of the study to write. Items are not in the papers' words: a journal wants the official forms.",
        "",
        *(f"- {markdown_cell(line)}" for line in _about(record)),
    ]
    for checklist in CHECKLISTS:
        lines += ["", *_table(checklist, record)]
    return "\n".join(lines) + "\n"


def _check(record: Record) -> None:
    about = record.metrics.get("model") or {}
    trained_on = (about.get("trained_on") or {}).get("fingerprint")
    differs = {
        "model": about.get("name", record.bundle.model) != record.bundle.model,
        "classes": list(record.metrics.get("classes", record.bundle.classes)) != list(record.bundle.classes),
        "training data": trained_on not in (None, record.data.get("fingerprint")),
    }
    if wrong := [name for name, other in differs.items() if other]:
        raise InputError(
            f"the metrics are of another model than {record.bundle.model}: {' and '.join(wrong)} differ; "
            "give the metrics.json of an evaluation of this one"
        )
    if list(record.robustness.get("classes", record.bundle.classes)) != list(record.bundle.classes):
        raise InputError("the robustness.json is of a model with other classes; give one of this model")


def _about(record: Record) -> list[str]:
    """Which run and which evaluation every number below comes from."""
    origin, metrics = record.origin, record.metrics
    lines = []
    if origin:
        known = (f"{name} {origin[name]}" for name in ("date", "seed") if name in origin)
        data = f"data fingerprint {record.data.get('fingerprint', 'unknown')}"
        lines.append(f"run (bundle.json): {', '.join([*known, data])}")
    else:
        lines.append("run (bundle.json): nothing was recorded of how the model was trained")
    if record.evaluated is None:
        lines.append("evaluation (metrics.json): none was given, so items on results are not available")
        return lines
    made, split = metrics.get("made") or {}, metrics["data"].get("split", "unknown")
    where = f"split {split} of {record.evaluated}, {metrics.get('n', 'unknown')} images"
    lines.append(f"evaluation (metrics.json): date {made.get('date', 'unknown')}, {where}")
    if _is_stale(record):
        lines.append("the model was calibrated after this evaluation: evaluate it again before you use these figures")
    return lines


def _is_stale(record: Record) -> bool:
    """Whether the evaluation was made with other decisions than the bundle holds now."""
    metrics, bundle = record.metrics, record.bundle
    told = metrics.get("threshold")
    threshold = list(bundle.threshold) if isinstance(bundle.threshold, tuple) else bundle.threshold
    temperature = (metrics.get("calibration") or {}).get("temperature", bundle.decisions.temperature)
    return temperature != bundle.decisions.temperature or told not in (None, threshold)


def _table(checklist: Checklist, record: Record) -> list[str]:
    rows, full, partly = [], 0, 0
    for item in checklist.items:
        facts = item.facts(record)
        full, partly = full + bool(facts and not item.add), partly + bool(facts and item.add)
        cells = (item.number, item.topic, "; ".join(facts) or SENTENCE, item.add)
        rows.append(f"| {' | '.join(map(markdown_cell, cells))} |")
    rest = len(rows) - full - partly
    return [
        f"## {checklist.name}",
        "",
        f"{markdown_cell(checklist.source)}. Of {len(rows)} items, the record answers {full}, {partly} in part, and "
        f"{rest} not at all.",
        "",
        "| no. | item | from the record | to be added |",
        "| --- | --- | --- | --- |",
        *rows,
    ]
