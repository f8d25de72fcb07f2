"""Tables of files and labels, with splits and patients."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from medmamba.data import open_data
from medmamba.data.dataset import _place
from medmamba.errors import InputError
from medmamba.tasks import Task
from medmamba.text import counted

Make = Callable[..., Path]
COLOURED = ("benign/benign_013.png", "normal/normal_113.png")
FILES = [f"i/{index}.png" for index in range(12)]


def rows(labels: Sequence[str] = "ab", extra: Callable[[int], str] = lambda row: "", files: list[str] = FILES) -> str:
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


def marked(row: int) -> str:
    return f",{row % 2},{int(row < 4)}.0,0,p{row}"


def test_label_columns_are_classes_in_the_order_they_are_named_in(make_table: Make) -> None:
    path = make_table("file,sex,Mass,Éffusion,nodule,patient\n" + rows("mf", marked), FILES)
    data = open_data(path, label_columns=["éffusion", "mass"])
    assert (data.task, data.classes) == (Task.MULTILABEL, ("Éffusion", "Mass"))
    everything = data.split("all")
    targets = {name: tuple(target) for name, target in zip(everything.names, everything.targets.tolist(), strict=True)}
    assert targets == {file: (int(row < 4), row % 2) for row, file in enumerate(FILES)}
    assert "columns of table.csv that are not used: sex, nodule" in data.notes
    assert open_data(path, label_columns=["mass", "éffusion"], classes=data.classes).classes == data.classes


def test_a_label_column_without_a_1_in_train_is_an_empty_class(make_table: Make) -> None:
    path = make_table("file,sex,mass,effusion,nodule,patient\n" + rows("mf", marked), FILES)
    with pytest.raises(InputError, match=r"table\.csv marks no image of train with nodule; .* --allow empty-class"):
        open_data(path, label_columns=["mass", "nodule"])
    data = open_data(path, label_columns=["mass", "nodule"], allow=["empty-class"])
    assert data.classes == ("mass", "nodule")
    assert data.allowed[0].startswith("empty-class: table.csv marks no image of train with nodule")


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (["mass", "cyst"], {}, "no column 'cyst', only file, sex, mass"),
        (["mass", "sex"], {}, "neither 0 nor 1 under 'sex' in 12 rows: lines 2, 3"),
        (["mass"], {"task": "binary"}, "several answers an image, not a binary task"),
        (["mass"], {"classes": ("mass", "cyst")}, "does not say for its images whether they are cyst"),
        (["a|b"], {}, r"the label column 'a|b' .* has a | or ; in its name"),
        ([], {}, "no column 'label', .* or name columns of 0 and 1 with --label-columns"),
    ],
)
def test_faulty_label_columns_are_refused_in_words(
    make_table: Make, columns: list[str], options: dict[str, Any], message: str
) -> None:
    path = make_table("file,sex,mass,a|b,nodule,patient\n" + rows("mf", marked), FILES)
    with pytest.raises(InputError, match=message.replace("|", r"\|")):
        open_data(path, label_columns=columns, **options)


def test_label_columns_of_what_is_no_table_are_refused(make_folder: Make) -> None:
    for spec in ("phantoms:14", make_folder({"a": 3, "b": 3})):
        with pytest.raises(InputError, match="so it has no column 'mass'"):
            open_data(spec, label_columns=["mass"])


def test_labels_with_a_bar_are_one_name_unless_several_are_asked_for(make_table: Make) -> None:
    path = make_table("file,label\n" + rows(["a|b", "b"]), FILES)
    data = open_data(path)
    assert data.classes == ("a|b", "b")
    assert "a label with | in it is taken as one name; the task multi-label takes it as several" in data.notes
    assert open_data(path, task="multi-label").classes == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files,label\n" + rows(), "no column 'file', only files, label; did you mean 'files'"),
        ("file,label,label\n" + rows(extra=lambda row: ",a"), "two columns named 'label'"),
        ("file,label,split\n" + rows(extra=lambda row: ",dev"), "splits named dev; expected train"),
        ("file,label,split\n" + rows(extra=lambda row: ",train" if row else ","), "no split in 1 row: lines 2"),
        (
            "file,label,patient,group\n" + rows(extra=lambda row: ",1,2"),
            "several columns that may be the patient: patient, group; say which",
        ),
        ("file,label,patient\n" + rows(extra=lambda row: "," if row < 7 else ",p"), "no patient in 7 rows: lines 2, 3"),
        ("file,label\n" + rows() + rows(), "12 files more than once: i/0.png.* and 7 more"),
        ("file,label\n" + rows() + "i/0.png,b,x\n", "not 2 cells in 1 row: lines 14"),
        ("file,label\n" + rows().replace("i/3.png,b", "i/3.png,"), "1 image without a label: i/3.png"),
        ("file,label\n", "a header but no rows"),
        ("", "begins with no header; a table has one"),
        ("sep=,\nfile,label\n" + rows() + "i/0.png,b,x\n", "not 2 cells in 1 row: lines 15"),
    ],
)
def test_faulty_tables_are_refused_in_words(make_table: Make, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_data(make_table(text, FILES))


@pytest.mark.parametrize("head", ["sep=;\n", '"sep=;"\r\n', "SEP=;\n"])
def test_the_line_with_which_excel_names_its_separator_is_no_header(make_table: Make, head: str) -> None:
    texts = "file,label\n" + rows(), head + semicolons()
    plain, told = (open_data(make_table(text, FILES)).fingerprint() for text in texts)
    assert told == plain


def semicolons() -> str:
    return ("file,label\n" + rows()).replace(",", ";")


def test_lines_are_counted_as_they_stand_in_the_file(make_table: Make) -> None:
    """Below a line for Excel and a blank one."""
    text = "sep=,\nfile,label,split\n\n" + rows(extra=lambda row: ",train" if row else ",")
    with pytest.raises(InputError, match="no split in 1 row: lines 4; mend them"):
        open_data(make_table(text, FILES))


def test_missing_files_are_listed_five_and_a_count(make_table: Make) -> None:
    path = make_table("file,label\n" + rows(), FILES[:4])
    with pytest.raises(InputError, match=r"names 8 files that cannot be found: i/4.png, .*i/8.png and 3 more"):
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


def test_an_overlap_that_is_allowed_is_recorded_without_naming_a_patient(make_table: Make) -> None:
    text = "file,label,split,patient\n" + rows(extra=lambda row: f",{'test' if row % 3 == 0 else 'train'},p{row // 6}")
    path = make_table(text, FILES)
    with pytest.raises(InputError, match="--allow patient-overlap goes on in spite of it"):
        open_data(path, allow=["empty-class"])
    data = open_data(path, allow=["patient-overlap"])
    assert data.allowed == ("patient-overlap: table.csv has 2 of 2 patients in more than one split",)
    assert len(data.split("test")) == 4


def test_a_class_that_a_given_split_lacks_is_named(make_table: Make) -> None:
    text = "file,label,split\n" + rows("abc", lambda row: f",{['train', 'val'][row in (0, 3)]}")
    data = open_data(make_table(text, FILES))
    assert "the val split that was given has no image of 'b', 'c'" in data.notes


def test_splits_are_written_with_paths_that_move_with_the_images(make_table: Make, tmp_path: Path) -> None:
    data = open_data(make_table("file,label\n" + rows(), FILES, name="labels.csv"))
    (tmp_path / "runs/first").mkdir(parents=True)
    data.write_splits(tmp_path / "runs/first/splits.csv")
    lines = (tmp_path / "runs/first/splits.csv").read_text().splitlines()[1:]
    assert all(line.startswith("../../i/") for line in lines)
    again = open_data(tmp_path / "runs/first/splits.csv", allow=("outside-folder",))
    assert again.split("train").read(0).shape == (4, 5)


def test_splits_are_written_right_where_the_folder_is_a_link(make_table: Make, tmp_path: Path) -> None:
    data = open_data(make_table("file,label\n" + rows(), FILES, name="labels.csv"))
    (tmp_path / "far/away/run").mkdir(parents=True)
    (tmp_path / "run").symlink_to("far/away/run")
    data.write_splits(tmp_path / "run/splits.csv")
    assert len(open_data(tmp_path / "run/splits.csv", allow=("outside-folder",)).split("all")) == 12


@pytest.mark.parametrize("how", ["..", "absolute", "link", "link to a folder"])
def test_files_outside_the_folder_of_a_table_are_read_only_where_that_is_allowed(
    make_table: Make, tmp_path: Path, how: str
) -> None:
    path = make_table("file,label\n" + rows(), FILES)
    home = tmp_path / "given"
    home.mkdir()
    (home / "own").symlink_to("i")  # a link that stays inside
    cells = [f"own/{Path(name).name}" for name in FILES]
    (home / "i").symlink_to(path.parent / "i") if how == "link to a folder" else shutil.copytree(
        path.parent / "i", home / "i"
    )
    if how == "link":
        (home / "i" / Path(FILES[3]).name).unlink()
        (home / "i" / Path(FILES[3]).name).symlink_to(path.parent / FILES[3])
    if how in ("..", "absolute"):
        cells[3] = (
            f"../{os.path.relpath(path.parent / FILES[3], tmp_path)}" if how == ".." else str(path.parent / FILES[3])
        )
    lines = (path.read_text().splitlines()[1 + row].split(",", 1)[1] for row in range(len(FILES)))
    (home / "t.csv").write_text("\n".join(["file,label", *map(",".join, zip(cells, lines, strict=True))]))
    count = len(FILES) if how == "link to a folder" else 1
    with pytest.raises(
        InputError, match=rf"t\.csv names {counted(count, 'file')} outside its folder: .*--allow outside-folder"
    ):
        open_data(home / "t.csv")
    data = open_data(home / "t.csv", allow=("outside-folder",))
    assert data.allowed == (f"outside-folder: t.csv names {count} of {len(FILES)} files outside its folder",)
    assert data.split("all").read(3).shape == (4, 5)


def test_paths_that_share_nothing_stay_absolute() -> None:
    assert _place("/scratch/run", Path("/data/i")) == Path("/data/i")
    assert _place("/data/run", Path("/data/i")) == Path("../i")
    assert _place("/data/i", Path("/data/i")) == Path()


def test_made_splits_written_are_the_same_data_again(make_table: Make, tmp_path: Path) -> None:
    data = open_data(make_table("file,label,patient\n" + rows(extra=lambda row: f",p{row}"), FILES), seed=5)
    run = tmp_path / "run"
    run.mkdir()
    data.write_splits(run / "splits.csv")
    again = open_data(run / "splits.csv", allow=("outside-folder",))
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
