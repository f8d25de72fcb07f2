"""A page of results in three forms: Markdown, HTML, and what a machine reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmamba import page
from medmamba.text import markdown_cell
from medmamba.writing import write_atomically

NOTICE = "Research software, not a medical device."
STYLE = """
td, th { vertical-align: top; padding-right: 1rem; } th { font-size: .85rem; } td { overflow-wrap: normal; }
td.number { white-space: nowrap; } tr.more td { border-bottom-color: transparent; }
"""


@dataclass(frozen=True)
class Part:
    """One table: `rows` are cells of text, as many as `head` has; `words` stand above it."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: tuple[str, ...] = ()
    has_runs: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table of the paper, ours beside it.

    Attributes:
        name: `table1` to `table7`.
        title: What stands at its top.
        lead: Sentences below that: what was found.
        parts: The tables.
        notes: Sentences at the end: what a reader must know.
        records: The same for a machine, an object a cell or a row.
    """

    name: str
    title: str
    lead: tuple[str, ...]
    parts: tuple[Part, ...]
    notes: tuple[str, ...]
    records: tuple[dict[str, Any], ...]


def markdown(sheet: Sheet, *, level: int = 1) -> str:
    """The sheet in Markdown, its title a heading of this level."""
    lines = [f"{'#' * level} {sheet.title}", "", *_paragraphs(sheet.lead)]
    for part in sheet.parts:
        lines += [f"{'#' * (level + 1)} {part.title}", "", *_paragraphs(part.words)]
        lines += [*table_lines(part.head, part.rows), ""]
    if sheet.notes:
        lines += [f"{'#' * (level + 1)} Notes", "", *(f"- {note}" for note in sheet.notes), ""]
    return "\n".join(lines)


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [_line(head), _line(["---"] * len(head)), *map(_line, rows)]


def fill(document: Path, source: str, words: str, name: str = "results") -> None:
    """Put words between the marks `<!-- NAME: SOURCE -->` and `<!-- end of NAME -->` of a document.

    Raises:
        ValueError: A mark is not there.
    """
    text = document.read_text(encoding="utf-8")
    mark = f"<!-- {name}: {source} -->\n"
    start = text.index(mark) + len(mark)
    end = text.index(f"<!-- end of {name} -->", start)
    write_atomically(document, (text[:start] + words + text[end:]).encode())


def _paragraphs(sentences: Sequence[str]) -> list[str]:
    return [line for sentence in sentences for line in (sentence, "")]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown_cell(cell) if "`" not in cell else cell for cell in cells) + " |"


def html(sheet: Sheet) -> str:
    """The sheet as one page without script or request."""
    body = [f"<p>{_text(sentence)}</p>" for sentence in sheet.lead]
    body += [_section(part) for part in sheet.parts]
    if sheet.notes:
        notes = "".join(f"<li>{_text(note)}</li>" for note in sheet.notes)
        body.append(f"<section><h2>Notes</h2><ul>{notes}</ul></section>")
    body.append(f"<footer>{NOTICE}</footer>")
    return page.document(page.text(sheet.title), "\n".join(body), style=STYLE)


def _section(part: Part) -> str:
    right = [_is_number_column([row[i] for row in part.rows]) for i in range(len(part.head))]
    head = "".join(_cell("th", cell, number) for cell, number in zip(part.head, right, strict=True))
    rows = []
    for place, row in enumerate(part.rows):
        after = part.rows[place + 1] if place + 1 < len(part.rows) else ("-",)
        more = "" if after[0] else ' class="more"'  # the next line belongs to the same model
        cells = "".join(_cell("td", cell, number) for cell, number in zip(row, right, strict=True))
        rows.append(f"<tr{more}>{cells}</tr>")
    words = "".join(f"<p>{_text(sentence)}</p>" for sentence in part.words)
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    return f"<section><h2>{page.text(part.title)}</h2>{words}{table}</section>"


def _is_number_column(cells: Sequence[str]) -> bool:
    return any(cells) and all(not cell or cell.lstrip("+-")[:1].isdigit() for cell in cells)


def _cell(tag: str, words: str, number: bool) -> str:
    kind = ' class="number"' if number else ""
    return f"<{tag}{kind}>{_text(words)}</{tag}>"


def _text(words: str) -> str:
    """Safe in HTML; `names` between backticks as code."""
    return "".join(
        f"<code>{page.text(part)}</code>" if place % 2 else page.text(part)
        for place, part in enumerate(words.split("`"))
    )
