"""Tables of files and labels, with splits and patients."""

from collections.abc import Callable
from pathlib import Path

import pytest

from medmamba.data import open_data
from medmamba.errors import InputError
from medmamba.tasks import Task

Make = Callable[..., Path]
COLOURED = ("benign/benign_013.png", "normal/normal_113.png")
FILES = [f"i/{index}.png" for index in range(12)]


def rows(labels: str = "ab", extra: Callable[[int], str] = lambda row: "", files: list[str] = FILES) -> str:
    return "".join(f"{file},{labels[row % len(labels)]}{extra(row)}\n" for row, file in enumerate(files))


def test_a_table_of_files_and_labels_is_cut(make_table: Make) -> None:
    data = open_data(make_table("file,label\n" + rows(), FILES))
    assert data.made_splits == ("val", "test")
    assert sum(len(data.split(split)) for split in data.splits) == 12
    assert data.split("train").read(0).shape == (4, 5)


def test_every_cell_is_text(make_table: Make) -> None:
    files = ["007.png", "08.png", "1e3.png", "9.png"]
    text = "file,label,split,patient\n007.png,007,train,01\n08.png,7,train,1\n1e3.png,007,val,2\n9.png,7,test,003\n"
    data = open_data(make_table(text, files))
    assert data.classes == ("007", "7")
    assert data.split("train").groups == ("01", "1")
    assert data.split("train").names == ("007.png", "08.png")


@pytest.mark.parametrize("delimiter", ["\t", ";"])
def test_tabs_and_semicolons_separate_too(make_table: Make, delimiter: str) -> None:
    text = ("file,label,split\n" + rows(extra=lambda row: ",Validation" if row > 9 else ",TRAIN")).replace(
        ",", delimiter
    )
    data = open_data(make_table(text, FILES, name="table.tsv"))
    assert (len(data.split("train")) + len(data.split("test")), len(data.split("val"))) == (10, 2)


def test_a_byte_order_mark_and_capitals_in_the_header_do_not_matter(make_table: Make) -> None:
    assert open_data(make_table("\ufeffFile, Label\n" + rows(), FILES)).classes == ("a", "b")


def test_patients_stay_in_one_split_when_splits_are_made(make_table: Make) -> None:
    files = [f"i/{index}.png" for index in range(60)]
    path = make_table("file,label,patient\n" + rows(extra=lambda row: f",p{row // 4}", files=files), files)
    data = open_data(path)
    patients = [set(data.split(split).groups or ()) for split in data.splits]
    assert min(map(len, patients)) >= 1
    assert sum(map(len, patients)) == len(set.union(*patients)) == 15
    assert any("whole patients" in note for note in data.notes)


def test_group_patient_and_a_named_column_mean_the_same(make_table: Make) -> None:
    def extra(row: int) -> str:
        return f",p{row // 2}"

    fingerprints = set()
    for column, asked in [("patient", None), ("group", None), ("Case id", "Case id")]:
        data = open_data(make_table(f"file,label,{column}\n" + rows(extra=extra), FILES), group_column=asked)
        assert data.split("train").groups is not None
        fingerprints.add(data.fingerprint())
    assert len(fingerprints) == 1


def test_columns_that_are_not_used_are_named(make_table: Make) -> None:
    data = open_data(make_table("file,label,age,sex\n" + rows(extra=lambda row: ",7,f"), FILES))
    assert "columns of table.csv that are not used: age, sex" in data.notes


def test_several_labels_in_a_cell_are_a_multi_label_task(make_table: Make) -> None:
    text = "file,label,split\ni/0.png,b|a,train\ni/1.png,c; a,train\ni/2.png,,train\ni/3.png,b,val\ni/4.png,c,test\n"
    data = open_data(make_table(text, FILES[:5]), task="multi-label")
    assert (data.task, data.classes) == (Task.MULTILABEL, ("a", "b", "c"))
    assert data.split("train").targets.tolist() == [[1, 1, 0], [1, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files,label\n" + rows(), "no column 'file', only files, label; did you mean 'files'"),
        ("file,label,label\n" + rows(extra=lambda row: ",a"), "two columns named 'label'"),
        ("file,label,split\n" + rows(extra=lambda row: ",dev"), "splits named dev; expected train"),
        ("file,label,split\n" + rows(extra=lambda row: ",train" if row else ","), "no split in 1 rows: lines 2"),
        (
            "file,label,patient,group\n" + rows(extra=lambda row: ",1,2"),
            "several columns that may be the patient: patient, group; say which",
        ),
        ("file,label,patient\n" + rows(extra=lambda row: "," if row < 7 else ",p"), "no patient in 7 rows: lines 2, 3"),
        ("file,label\n" + rows() + rows(), "12 files more than once: i/0.png.* and 7 more"),
        ("file,label\n" + rows() + "i/0.png,b,x\n", "not 2 cells in 1 rows: lines 14"),
        ("file,label\n" + rows().replace("i/3.png,b", "i/3.png,"), "1 images without a label: i/3.png"),
        ("file,label\n", "a header but no rows"),
        ("", "no column 'file', only nothing"),
    ],
)
def test_faulty_tables_are_refused_in_words(make_table: Make, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_data(make_table(text, FILES))


def test_missing_files_are_listed_five_and_a_count(make_table: Make) -> None:
    path = make_table("file,label\n" + rows(), FILES[:4])
    with pytest.raises(InputError, match=r"names 8 files that do not exist: i/4.png, .*i/8.png and 3 more"):
        open_data(path)


def test_a_patient_in_two_given_splits_is_refused_by_name(make_table: Make) -> None:
    text = "file,label,split,patient\n" + rows(extra=lambda row: f",{'test' if row % 3 == 0 else 'train'},p{row // 6}")
    with pytest.raises(InputError, match="2 patients in more than one split: p0, p1"):
        open_data(make_table(text, FILES))


def test_an_unknown_group_column_is_refused(make_table: Make) -> None:
    with pytest.raises(InputError, match="no column 'patiend', only file, label, patient; did you mean 'patient'"):
        open_data(make_table("file,label,patient\n" + rows(extra=lambda row: ",p"), FILES), group_column="patiend")


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("file,label\né.png,a\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        open_data(path)


def test_a_folder_with_one_table_is_read_by_it(make_table: Make, tmp_path: Path) -> None:
    make_table("file,label\n" + rows(), FILES, name="labels.csv")
    data = open_data(tmp_path)
    assert data.classes == ("a", "b")
    make_table("file,label\n" + rows(), FILES, name="splits.csv")
    with pytest.raises(InputError, match=r"both splits.csv and labels.csv"):
        open_data(tmp_path)


def test_made_splits_written_are_the_same_data_again(make_table: Make, tmp_path: Path) -> None:
    data = open_data(make_table("file,label,patient\n" + rows(extra=lambda row: f",p{row}"), FILES), seed=5)
    run = tmp_path / "run"
    run.mkdir()
    data.write_splits(run / "splits.csv")
    again = open_data(run / "splits.csv")
    assert again.made_splits == ()
    for split in data.splits:
        before, after = data.split(split), again.split(split)
        assert (before.targets == after.targets).all()
        assert before.groups == after.groups
        assert [file.resolve() for file in before.files or ()] == [file.resolve() for file in after.files or ()]
    assert [path.name for path in run.iterdir()] == ["splits.csv"]


def test_real_ultrasound_follows_its_table_and_groups(data_folder: Path) -> None:
    data = open_data(data_folder / "busi256")
    assert {name: len(data.split(name)) for name in data.splits} == {"train": 544, "val": 79, "test": 157}
    assert data.classes == ("benign", "malignant", "normal")
    assert data.made_splits == ()
    groups = [set(data.split(name).groups or ()) for name in data.splits]
    assert not groups[0] & groups[2]
    images = data.split("train")
    coloured = [row for row, name in enumerate(images.names) if name in COLOURED]
    assert {images.read(row).shape for row in coloured} == {(256, 256, 3)}
    assert images.read(0).shape == (256, 256)


def test_real_dermoscopy_names_its_unused_columns(data_folder: Path) -> None:
    data = open_data(data_folder / "isic2017")
    assert {name: len(data.split(name)) for name in data.splits} == {"train": 58, "val": 16, "test": 24}
    assert any("original_width, original_height" in note for note in data.notes)
