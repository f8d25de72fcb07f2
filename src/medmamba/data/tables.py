"""A table with a row an image: file, label or several, and where known split and patient."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from medmamba.data.columns import Columns, read_columns
from medmamba.data.faults import settle_fault
from medmamba.data.listing import SEPARATORS, Listing, RowsError, few
from medmamba.data.locating import locate, outside
from medmamba.data.splits import SPLIT_WORDS, split_word
from medmamba.errors import InputError
from medmamba.text import counted

EXTENSIONS = (".csv", ".tsv")
FOLDER_TABLES = ("splits.csv", "labels.csv")

_MARKS = {"0": False, "1": True, "0.0": False, "1.0": True}  # the last two as pandas writes them


def read_table(
    path: Path,
    *,
    group_column: str | None = None,
    label_columns: Sequence[str] = (),
    allow: Collection[str] = (),
    trained: bool = False,
    leave_out: Collection[str] = (),
) -> Listing:
    """List the images of a table. Every cell is text (`007` stays `007`); column names are taken in any case.

    Args:
        path: As `read_columns` takes it, with the columns `file` (found as `locate` says), `label`, optionally `split`,
            and `patient` or `group`, which mean the same; or other names for them, as `columns.ALIASES` has them.
        group_column: Another name of the patient column.
        label_columns: Columns of 0 and 1, one for each label of a multi-label task, instead of `label`.
        allow: Faults to go on in spite of, by name.
        trained: Whether the classes are those of a trained model, so that one may lack images to learn from.
        leave_out: Cells of the file column whose rows are passed over.

    Raises:
        RowsError: Rows lack a cell, their file is missing or not clear, or their split is unknown.
        InputError: A column, cell or file is missing, a file stands in two rows or lies outside the table's folder, a
            split has an unknown name, or a patient is in more than one split.
    """
    table = read_columns(path)
    file = table.needed("file")
    table = table.without(file, leave_out)
    split = table.playing("split", remedy="rename one")
    group = table.asked(group_column) if group_column else table.playing("patient", remedy="say which: --group-column")
    marks = tuple(dict.fromkeys(table.asked(name) for name in label_columns))
    label = None if marks else table.needed("label", more=", or name columns of 0 and 1 with --label-columns")
    for part, title in {"file": file, "split": split, "patient": group}.items():
        if title is not None and "" in table.cells[title]:
            rows = [row for row, cell in enumerate(table.cells[title]) if not cell]
            sentence = (
                f"{path} has no {part} in {counted(len(rows), 'row')}: "
                f"lines {few([str(table.lines[row]) for row in rows])}; mend them"
            )
            raise RowsError(sentence, [table.cells[file][row] for row in rows])
    files, notes = locate(path, table.cells[file])
    splits = _splits(path, table.cells[split], table.cells[file]) if split else None
    groups = tuple(table.cells[group]) if group else None
    labels = table.cells[label] if label else _marked(table, marks)
    allowed = list(_settle_outside(path, files, table.cells[file], allow))
    if splits and groups:
        allowed += _settle_crossing(path, groups, splits, allow)
    if marks and not trained:
        allowed += _settle_unmarked(path, marks, labels, splits, allow)
    used = {file, split, group, label, *marks}
    return Listing(
        name=path.resolve().parent.name if path.name in FOLDER_TABLES else path.stem,
        names=tuple(table.cells[file]),
        files=files,
        labels=tuple(unicodedata.normalize("NFC", cell) for cell in labels),
        splits=splits,
        groups=groups,
        notes=(*_on_columns(table, {"file": file, "label": label, "patient": group}, {split, *marks}), *notes),
        classes=tuple(unicodedata.normalize("NFC", title) for title in marks) or None,
        allowed=tuple(allowed),
        attributes={title: tuple(cells) for title, cells in table.cells.items() if title not in used},
        unit="group" if group and group.lower().startswith("group") else "patient",
    )


def _on_columns(table: Columns, parts: dict[str, str | None], others: set[str | None]) -> list[str]:
    """Which columns are taken under another name than ours, and which are not used."""
    ours = {"file", "label", "patient", "group"}
    notes = [
        f"column {title} of {table.path.name} is taken as {part}"
        for part, title in parts.items()
        if title is not None and title.lower() not in ours
    ]
    if unused := [title for title in table.cells if title not in {*parts.values(), *others}]:
        notes.append(f"columns of {table.path.name} that are not used: {', '.join(unused)}")
    return notes


def _splits(path: Path, cells: list[str], files: list[str]) -> tuple[str, ...]:
    splits = [split_word(cell) for cell in cells]
    if unknown := sorted({cell for cell, split in zip(cells, splits, strict=True) if split is None}):
        sentence = f"{path} has splits named {few(unknown)}; expected {', '.join(SPLIT_WORDS)}"
        raise RowsError(sentence, [file for file, split in zip(files, splits, strict=True) if split is None])
    return tuple(split for split in splits if split)


def _marked(table: Columns, titles: Sequence[str]) -> list[str]:
    """The labels of each row joined as in a label column, from columns of 0 and 1."""
    for title in titles:
        if any(mark in title for mark in SEPARATORS):
            raise InputError(
                f"the label column {title!r} of {table.path} has a {' or '.join(SEPARATORS)} in its name; rename it"
            )
        wrong = [row for row, cell in enumerate(table.cells[title], 2) if cell not in _MARKS]
        table.refuse_rows(f"neither 0 nor 1 under {title!r}", wrong)
    rows = zip(*(table.cells[title] for title in titles), strict=True)
    return ["|".join(title for title, cell in zip(titles, row, strict=True) if _MARKS[cell]) for row in rows]


def _settle_crossing(
    path: Path, groups: tuple[str, ...], splits: tuple[str, ...], allow: Collection[str]
) -> tuple[str, ...]:
    counts = Counter(group for group, _ in set(zip(groups, splits, strict=True)))
    crossing = sorted(group for group, count in counts.items() if count > 1)
    if not crossing:
        return ()
    fault = "patient-overlap"
    if fault in allow:  # what is kept with the result names no patient and no path
        sentence = f"{path.name} has {len(crossing)} of {len(counts)} patients in more than one split"
    else:
        sentence = (
            f"{path} has {counted(len(crossing), 'patient')} in more than one split: {few(crossing)}; "
            "put each patient in one split, or leave the split column out to have it made"
        )
    return (settle_fault(fault, sentence, allow),)


def _settle_outside(path: Path, files: Sequence[Path], cells: Sequence[str], allow: Collection[str]) -> tuple[str, ...]:
    """Files outside the table's folder: a table from elsewhere might name anything that its reader may open."""
    beyond = set(outside(path, files))
    found = [cell for cell, file in zip(cells, files, strict=True) if file in beyond]
    if not found:
        return ()
    fault = "outside-folder"
    if fault in allow:  # what is kept with the result names no path
        sentence = f"{path.name} names {len(found)} of {len(files)} files outside its folder"
    else:
        sentence = (
            f"{path} names {counted(len(found), 'file')} outside its folder: {few(found)}; put the table into a folder "
            "above them"
        )
    return (settle_fault(fault, sentence, allow),)


def _settle_unmarked(
    path: Path, titles: Sequence[str], labels: list[str], splits: tuple[str, ...] | None, allow: Collection[str]
) -> tuple[str, ...]:
    """Label columns that mark no image of train."""
    learnt = [label for row, label in enumerate(labels) if splits is None or splits[row] == "train"]
    marked = {title for label in learnt for title in label.split("|")}
    empty = [title for title in titles if title not in marked]
    if not empty or not learnt:
        return ()
    sentence = f"{path.name} marks no image of train with {few(empty)}; add some, or leave the column out"
    return (settle_fault("empty-class", sentence, allow),)
