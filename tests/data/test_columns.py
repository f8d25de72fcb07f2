"""Tables in the encodings and with the headers that people have."""

from pathlib import Path

import pytest
from pictures import save_image

from medmamba.data import Dataset, open_data
from medmamba.data.columns import read_columns
from medmamba.errors import InputError

ROWS = [("é/良 1.png", "à"), ("b.png", "b"), ("c.png", "à"), ("d.png", "b"), ("e.png", "à"), ("f.png", "b")]


def write(folder: Path, header: str = "file,label", encoding: str = "utf-8", extra: str = "") -> Path:
    for file, _ in ROWS:
        if not (folder / file).exists():
            save_image(folder / file)
    text = "\r\n".join([header, *(f"{file},{label}{extra}" for file, label in ROWS)])
    (folder / "t.csv").write_bytes(text.encode(encoding))
    return folder / "t.csv"


def opened(*arguments: object, **options: object) -> Dataset:
    return open_data(write(*arguments, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_with_and_without_a_mark(tmp_path: Path, encoding: str) -> None:
    data = opened(tmp_path, encoding=encoding)
    assert data.classes == ("b", "à")
    assert "é/良 1.png" in data.split("all").names


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32", "gb18030"])
def test_other_encodings_are_refused_in_words(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(InputError, match=r"t\.csv is not UTF-8 text, nor UTF-16 with .* save the table as CSV UTF-8"):
        opened(tmp_path, encoding=encoding)


def test_latin_1_is_refused_and_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("file,label\nx.png,bénin\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8 text"):
        open_data(path)


@pytest.mark.parametrize(
    ("header", "notes"),
    [
        (
            "image_id,diagnosis,patient_id",
            ["image_id of t.csv is taken as file", "diagnosis of t.csv is taken as label"],
        ),
        ("Path,CLASS,Subject", ["Path of t.csv is taken as file", "Subject of t.csv is taken as patient"]),
        ("Image Index,Finding Labels,Patient ID", ["Finding Labels of t.csv is taken as label"]),
        ("filename,target,group", ["filename of t.csv is taken as file", "target of t.csv is taken as label"]),
    ],
)
def test_names_that_others_give_the_columns_are_taken_and_said(tmp_path: Path, header: str, notes: list[str]) -> None:
    path = write(tmp_path, header)
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    path.write_text("\n".join([header, *(f"{line},p{row}" for row, line in enumerate(lines))]), encoding="utf-8")
    data = open_data(path)
    assert data.split("train").groups is not None
    for note in notes:
        assert any(note in said for said in data.notes), data.notes


def test_our_own_name_goes_before_any_other(tmp_path: Path) -> None:
    data = opened(tmp_path, header="file,label,image,class", extra=",x,y")
    assert data.classes == ("b", "à")
    assert "columns of t.csv that are not used: image, class" in data.notes


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("image,label,path", "several columns that may be the file: image, path; rename the right one to file"),
        ("file,diagnosis,target", "several columns that may be the label: diagnosis, target; rename the right one"),
        ("file,label,patient_id,subject", "may be the patient: patient_id, subject; say which: --group-column"),
    ],
)
def test_several_that_may_be_meant_are_refused(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        opened(tmp_path, header=header, extra=",x" * (header.count(",") - 1))


def test_a_column_of_row_numbers_without_a_title_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",file,label,,\n0,a.png,x,,\n1,b.png,y,,\n")
    assert read_columns(path).cells == {"file": ["a.png", "b.png"], "label": ["x", "y"]}


def test_old_line_ends_and_quoted_separators(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'file;label\r"a;1.png";"x, y"\rb.png;z\r')
    assert read_columns(path).cells == {"file": ["a;1.png", "b.png"], "label": ["x, y", "z"]}


def test_a_quote_that_never_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('file,label\n"a.png,x\n')
    with pytest.raises(InputError, match=r"t\.csv is not a well-formed table"):
        open_data(tmp_path / "t.csv")
