"""What a table calls its images, and the files that are found for it."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from pictures import save_image

from medmamba.data import open_data
from medmamba.data.locating import locate
from medmamba.errors import InputError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for name in ("img/001.png", "img/002.JPG", "img/é.png", "top.png"):
        save_image(tmp_path / name)
    return tmp_path / "t.csv"


def names(table: Path, cells: Sequence[str]) -> list[str]:
    return [path.relative_to(table.parent).as_posix() for path in locate(table, cells)[0]]


def test_backslashes_of_windows_lead_to_the_same_files(table: Path) -> None:
    assert names(table, ["img\\001.png", "img/002.JPG", ".\\top.png"]) == ["img/001.png", "img/002.JPG", "top.png"]


def test_a_missing_extension_is_found_and_said(table: Path) -> None:
    assert names(table, ["img/001", "img\\002", "top"]) == ["img/001.png", "img/002.JPG", "top.png"]
    assert (
        "3 names of t.csv are completed by an extension, or in capitals or accents"
        in locate(table, ["img/001", "img/002", "top"])[1]
    )
    assert not any("completed" in note for note in locate(table, ["img\\001.png"])[1])


def test_an_extension_is_added_behind_a_point_in_the_name(table: Path) -> None:
    save_image(table.parent / "1.2.840.png")
    assert names(table, ["1.2.840"]) == ["1.2.840.png"]


def test_only_images_are_added_to_a_name(table: Path) -> None:
    (table.parent / "img/003.txt").write_text("a report")
    (table.parent / "img/004").mkdir()
    for cell in ("img/003", "img/004"):
        with pytest.raises(InputError, match=rf"names 1 file that cannot be found: {cell}"):
            locate(table, [cell])


def test_several_images_that_fit_are_an_error_that_lists_them(table: Path) -> None:
    save_image(table.parent / "img/001.bmp")
    with pytest.raises(InputError, match=r"1 names that several images fit: img/001 \(001\.bmp, 001\.png\)"):
        locate(table, ["img/001", "img/002"])
    assert names(table, ["img/001.png"]) == ["img/001.png"]


def test_capitals_and_accents_written_in_another_way(table: Path) -> None:
    other = unicodedata.normalize("NFD", "é")
    assert names(table, ["img/002.jpg", f"img/{other}.png"]) == ["img/002.JPG", "img/é.png"]
    save_image(table.parent / "img/002.jpeg")
    save_image(table.parent / "img/A.png")
    save_image(table.parent / "img/a.PNG")
    assert names(table, ["img/a.PNG"]) == ["img/a.PNG"]
    with pytest.raises(InputError, match="several images fit"):
        locate(table, ["img/A.Png"])


def test_all_missing_files_are_counted_and_the_first_named(table: Path) -> None:
    cells = [f"img/no{row}.png" for row in range(9)] + ["img/001.png", "a\0b", "x" * 5000]
    with pytest.raises(InputError, match=r"names 11 files that cannot be found: img/no0\.png, .*no4\.png and 6 more"):
        locate(table, cells)


def test_two_ways_to_write_one_file_are_two_rows_of_it(table: Path) -> None:
    with pytest.raises(InputError, match=r"1 file more than once: img/001\.png"):
        locate(table, ["img/001", "img\\001.png"])


def test_images_that_no_row_names_are_counted(table: Path) -> None:
    save_image(table.parent / "elsewhere/x.png")
    (table.parent / "img/notes.txt").write_text("no image")
    assert locate(table, ["img/001.png"])[1] == ("unmatched: 2 images beside those of t.csv in none of its rows",)
    assert locate(table, ["img/001.png", "img/002.JPG", "img/é.png"])[1] == ()
    assert "unmatched: 4 images" in locate(table, ["top.png"])[1][0]  # beside it and below


def test_images_elsewhere_are_found_and_what_is_beside_them_is_counted(table: Path) -> None:
    run = table.parent / "runs/x"
    save_image(run / "curves.png")
    files, notes = locate(run / "splits.csv", ["../../img/001.png", str(table.parent / "img/002.JPG")])
    assert [file.is_file() for file in files] == [True, True]
    assert notes == ("unmatched: 1 image beside those of splits.csv in none of its rows",)


def test_a_table_in_the_working_directory(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(table.parent)
    files, notes = locate(Path("t.csv"), ["img/001", "top.png"])
    assert [file.as_posix() for file in files] == ["img/001.png", "top.png"]
    assert "unmatched: 2 images beside those of t.csv in none of its rows" in notes


def test_the_notes_reach_the_data_set(table: Path) -> None:
    for row in range(6):
        save_image(table.parent / f"img/n{row}.png")
    table.write_text("image;class\n" + "".join(f"img\\n{row};{'ab'[row % 2]}\n" for row in range(6)))
    notes = open_data(table).notes
    assert any("unmatched: 3 images" in note for note in notes)
    assert any("6 names of t.csv are completed" in note for note in notes)
