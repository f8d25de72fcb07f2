"""Verbs about data, before anything is trained."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from medmamba.cli.console import print_table, progress_bar
from medmamba.errors import InputError
from medmamba.text import printable
from medmamba.writing import make_folder, writable_folder, write_atomically


@dataclass(frozen=True)
class Check:
    """Say what is wrong with a data set, before anyone trains on it. Exit code 1 when something is."""

    data: Positional[str]
    """As for train."""
    out: Path | None = None
    """Folder for check.html and check.json; by default NAME-check here, replaced if it is a check's."""
    allow: tuple[str, ...] = ()
    """Findings that do not make the check fail, by name."""
    task: str | None = None
    """binary, multi-class, multi-label or ordinal, where the data does not tell."""
    group_column: str | None = None
    """Column of the table that names the patient, if it is not called patient or group."""
    label_columns: tuple[str, ...] = ()
    """Columns of 0 and 1 in the table, one for each label of a multi-label task."""
    window: str = "file"
    """As training will read: of images with more than 8 bits, file, CENTER,WIDTH or a preset's name."""
    frame: str = "first"
    """As training will read: of files with several frames, first, middle or a number from 1."""
    max_pixels: int = 178_956_970
    """As training will read: files with more pixels are refused."""
    seed: int = 0
    """Decides the splits that are missing, as in training."""
    json: bool = False
    """Print check.json instead of a list."""

    def run(self) -> int:
        from medmamba.check import Report, check, not_opened, open_leniently, page
        from medmamba.check.findings import check_names
        from medmamba.data.settings import Reading

        check_names(self.allow)
        reading, out = Reading(self.window, self.frame, self.max_pixels), self._folder()
        asked = self.task is not None or self.group_column is not None or bool(self.label_columns)
        report: Report
        try:
            data, before = open_leniently(
                self.data,
                task=self.task,
                group_column=self.group_column,
                label_columns=self.label_columns,
                seed=self.seed,
            )
            with progress_bar("reading") as progress:
                report = check(data, allow=self.allow, before=before, reading=reading, progress=progress)
        except InputError as reason:
            if asked or not Path(self.data).exists():  # what was asked for may be wrong, and not the data
                raise
            report = not_opened(self.data, str(reason))
        self._write(out, report.to_dict(), page(report))
        if self.json:
            print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
        else:
            states = [("wrong" if f.wrong else "allowed" if f.allowed else "note") for f in report.findings]
            rows = [(s, f.name, f.sentence) for s, f in zip(states, report.findings, strict=True)]
            print(printable(f"{report.data['name']}: {report.data['images']:,} images"))
            print_table(rows, header=False) if rows else print("nothing was found")
            print(f"\n{out / 'check.html'}")
        return 1 if report.wrong else 0

    def _folder(self) -> Path:
        """Where the report goes: a folder that is ours or new, can be written to, and is not searched for images."""
        from medmamba.data.opening import check_outside

        place = Path(self.data)
        name = place.resolve().stem if place.exists() else self.data.replace(":", "-")
        out = self.out or Path(f"{name}-check")
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "check.json").is_file())):
            raise InputError(f"{out} is there already and is not a check's; name another folder with --out")
        check_outside(out, self.data)
        return writable_folder(out)

    @staticmethod
    def _write(out: Path, report: dict[str, object], html: str) -> None:
        from medmamba.json_file import write_json

        make_folder(out)
        write_json(out / "check.json", report)
        write_atomically(out / "check.html", html.encode(errors="backslashreplace"))


@dataclass(frozen=True)
class Split:
    """Write the splits of a data set as a table that train takes again: by class, whole patients, from a seed."""

    data: Positional[str]
    """A folder of class folders or a table, as for train."""
    out: Path
    """The table to write, a new .csv in a folder above the images, to which its paths are relative. Of folds
    NAME-fold1.csv and so on."""
    folds: int | None = None
    """Cut all images into so many folds, a table each: every image is in the test split of one of them."""
    seed: int = 0
    """Decides who goes where."""
    task: str | None = None
    """binary, multi-class, multi-label or ordinal, where the data does not tell."""
    group_column: str | None = None
    """Column of the table that names the patient, if it is not called patient or group."""
    label_columns: tuple[str, ...] = ()
    """Columns of 0 and 1 in the table, one for each label of a multi-label task."""
    allow: tuple[str, ...] = ()
    """Faults of the data to go on in spite of, by name; see docs/how-to/check.md."""

    def run(self) -> int:
        from medmamba.data.folds import write_tables
        from medmamba.data.opening import open_data

        data = open_data(
            self.data,
            task=self.task,
            group_column=self.group_column,
            label_columns=self.label_columns,
            seed=self.seed,
            allow=self.allow,
        )
        for path in write_tables(data, self.out, folds=self.folds, seed=self.seed, allow=self.allow):
            print(path)
        return 0


@dataclass(frozen=True)
class Prepare:
    """Turn a publisher's download into a table that train takes; counts are compared with the publisher's. Exit code 1
    if rows had to be left out."""

    name: Positional[str]
    """Of the data set, as info --data lists it: pad-ufes-20, cpn-x-ray, fetal-planes-db, kvasir or a MedMNIST set."""
    download: Positional[Path]
    """Folder of the unpacked download, with the archives in it unpacked too; or a MedMNIST .npz."""
    out: Path
    """The table to write, a .csv that is not there yet."""

    def run(self) -> int:
        from medmamba.data.prepare import prepare

        made = prepare(self.name, self.download, out=self.out)
        for note in made.notes:
            print(printable(note), file=sys.stderr)
        if made.table is not None:
            print(f"{made.images} images", file=sys.stderr)
            print(made.table)
        return 0 if made.complete else 1
