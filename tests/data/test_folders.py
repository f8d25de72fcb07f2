"""Folders of class folders, as people have them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import save_image

from medmamba.data import open_data
from medmamba.errors import InputError
from medmamba.tasks import Task

Make = Callable[..., Path]


def test_a_folder_without_splits_is_cut_70_10_20_and_says_so(make_folder: Make) -> None:
    data = open_data(make_folder({"benign": 40, "malignant": 20}))
    assert {name: len(data.split(name)) for name in data.splits} == {"train": 42, "val": 6, "test": 12}
    assert np.bincount(data.split("test").targets).tolist() == [8, 4]
    assert data.made_splits == ("val", "test")
    assert (data.task, data.classes, data.positive) == (Task.BINARY, ("benign", "malignant"), 1)
    assert any("no val and no test split was given" in note and "seed 0" in note for note in data.notes)
    everything = [name for split in data.splits for name in data.split(split).names]
    assert len(set(everything)) == 60


def test_given_splits_are_kept_whatever_they_are_called(make_folder: Make) -> None:
    root = make_folder({"Training/a": 4, "Training/b": 3, "valid/a": 1, "valid/b": 1, "TEST/a": 2, "TEST/b": 1})
    data = open_data(root)
    assert {name: len(data.split(name)) for name in data.splits} == {"train": 7, "val": 2, "test": 3}
    assert data.made_splits == ()
    assert data.notes == ()
    assert data.split("train").names[0] == "Training/a/000.png"


def test_two_folders_for_one_split_are_refused(make_folder: Make) -> None:
    with pytest.raises(InputError, match="two val folders, val and valid"):
        open_data(make_folder({"train/a": 2, "train/b": 2, "val/a": 1, "valid/b": 1}))


def test_a_missing_val_is_cut_from_train_and_test_stays_as_it_is(make_folder: Make) -> None:
    data = open_data(make_folder({"train/a": 40, "train/b": 40, "test/a": 5, "test/b": 5}))
    assert {name: len(data.split(name)) for name in data.splits} == {"train": 70, "val": 10, "test": 10}
    assert data.made_splits == ("val",)
    assert all(name.startswith("test/") for name in data.split("test").names)


def test_a_missing_test_is_cut_from_train(make_folder: Make) -> None:
    data = open_data(make_folder({"train/a": 45, "train/b": 45, "val/a": 5, "val/b": 5}))
    assert {name: len(data.split(name)) for name in data.splits} == {"train": 70, "val": 10, "test": 20}
    assert data.made_splits == ("test",)


def test_only_a_test_folder_can_be_evaluated_but_has_no_train(make_folder: Make) -> None:
    data = open_data(make_folder({"test/a": 2, "test/b": 2}))
    assert list(data.splits) == ["test"]
    with pytest.raises(InputError, match="no split 'train', only test"):
        data.split("train")


def test_f057_numeric_folder_names_are_names_in_text_order_in_every_split(make_folder: Make) -> None:
    names = ["0", "1", "2", "10", "11"]
    root = make_folder({f"train/{name}": 3 for name in names} | {"val/10": 2, "test/2": 1, "test/11": 2})
    data = open_data(root)
    assert data.classes == ("0", "1", "10", "11", "2")
    for split in data.splits:
        images = data.split(split)
        assert [data.classes[target] for target in images.targets] == [name.split("/")[1] for name in images.names]


def test_other_splits_are_mapped_to_a_given_class_order_by_name(make_folder: Make) -> None:
    root = make_folder({"test/b": 2, "test/a": 1})
    data = open_data(root, classes=("c", "b", "a"))
    assert data.classes == ("c", "b", "a")
    assert data.split("test").targets.tolist() == [2, 1, 1]


def test_one_class_alone_can_be_evaluated_but_not_trained_on(make_folder: Make) -> None:
    root = make_folder({"test/a": 3})
    assert len(open_data(root, classes=("a", "b")).split("test")) == 3
    with pytest.raises(InputError, match="only the class 'a'"):
        open_data(root)


def test_classes_that_train_does_not_know_are_refused_by_name(make_folder: Make) -> None:
    root = make_folder({"train/a": 2, "train/b": 2, "val/cyst": 1, "test/a": 1})
    with pytest.raises(InputError, match="classes that the train split does not know: cyst"):
        open_data(root)
    with pytest.raises(InputError, match="the trained model does not know: b, cyst"):
        open_data(root, classes=("a", "x"))


def test_f055_an_empty_class_folder_is_refused_in_train_and_listed_elsewhere(make_folder: Make) -> None:
    root = make_folder({"train/A": 10, "train/B": 10, "train/C": 0, "val/A": 1, "val/B": 1, "test/A": 1, "test/B": 0})
    with pytest.raises(InputError, match=r"train/C holds no images"):
        open_data(root)
    with pytest.raises(InputError, match="--allow empty-class goes on in spite of it"):
        open_data(root, allow=["patient-overlap"])
    data = open_data(root, allow=["empty-class"])
    assert data.classes == ("A", "B", "C")
    assert data.allowed[0].startswith("empty-class: the class folder set/train/C holds no images")
    assert open_data(root, classes=("A", "B", "C")).allowed == ()
    (root / "train/C").rmdir()
    data = open_data(root)
    assert data.allowed == ()
    assert any("test/B holds no images" in note for note in data.notes)
    assert "the test split that was given has no image of 'B'" in data.notes


def test_f055_all_empty_class_folders_are_named_and_become_classes_in_text_order(make_folder: Make) -> None:
    root = make_folder({"b": 9, "a": 0, "d": 9, "c": 0})
    with pytest.raises(InputError, match="the class folders set/a, set/c hold no images; fill or remove"):
        open_data(root)
    data = open_data(root, allow=("empty-class",))
    assert (data.task, data.classes) == (Task.MULTICLASS, ("a", "b", "c", "d"))
    assert set(data.split("all").targets.tolist()) == {1, 3}


def test_a_fault_that_does_not_exist_cannot_be_allowed(make_folder: Make) -> None:
    with pytest.raises(InputError, match="no fault 'empty-clas' to allow; did you mean 'empty-class'"):
        open_data(make_folder({"a": 3, "b": 3}), allow=["empty-clas"])


def test_an_empty_class_folder_names_what_was_skipped(make_folder: Make) -> None:
    root = make_folder({"a": 3, "b": 0})
    (root / "b/scan.nii").write_bytes(b"x")
    with pytest.raises(InputError, match=r"b holds no images .*\.nii \(1\)"):
        open_data(root)


def test_f065_extensions_in_any_case_and_the_skipped_ones_counted(make_folder: Make) -> None:
    root = make_folder({"x": 0, "y": 1})
    images = ["a.JPG", "b.jpeg", "c.PNG", "d.TIF", "e.tiff", "f.bmp", "g.webp", "h.gif"]
    for name in images:
        save_image(root / "x" / name)
    (root / "x/i.txt").write_text("notes")
    data = open_data(root, classes=("x", "y"))
    found = sorted(name for split in data.splits for name in data.split(split).names if name.startswith("x/"))
    assert found == [f"x/{name}" for name in images]
    assert "skipped 1 file of other kinds than images: .txt (1)" in data.notes


def test_litter_is_neither_an_image_nor_a_class(make_folder: Make) -> None:
    root = make_folder({"a": 5, "b": 5, "__MACOSX/a": 2, ".cache/a": 2})
    for name in ("a/._000.png", "a/.DS_Store", "b/Thumbs.db", ".DS_Store"):
        (root / name).write_bytes(b"x")
    data = open_data(root)
    assert data.classes == ("a", "b")
    assert sum(len(data.split(split)) for split in data.splits) == 10
    assert "skipped 3 files of other kinds than images: hidden or system (3)" in data.notes


def test_nested_folders_belong_to_their_class(make_folder: Make) -> None:
    data = open_data(make_folder({"a/patient1": 5, "a/patient2": 5, "b": 10}))
    assert sum(len(data.split(split)) for split in data.splits) == 20


def test_what_stands_beside_the_class_folders_is_named(make_folder: Make) -> None:
    root = make_folder({"train/a": 8, "train/b": 8, "masks": 3, "": 1})
    notes = " / ".join(open_data(root).notes)
    assert "in no class folder: 1 file beside these" in notes
    assert "no split: the folders masks" in notes


def test_f069_a_class_with_one_image_is_in_train_and_named(make_folder: Make) -> None:
    data = open_data(make_folder({"a": 50, "b": 20, "c": 1}))
    assert np.bincount(data.split("train").targets, minlength=3)[2] == 1
    assert any("class 'c' has only 1 image" in note and "val or test" in note for note in data.notes)


def test_f064_names_in_any_script_and_accents_stored_in_two_ways(make_folder: Make) -> None:
    composed, decomposed = "\u00e9 tumeur", "e\u0301 tumeur"
    root = make_folder({f"train/{composed}": 8, "train/良性": 8, f"val/{decomposed}": 2}, name="données 影像")
    save_image(root / "test/良性/x-ray #1 (2).png")
    data = open_data(root)
    assert data.classes == (composed, "良性")
    assert data.split("val").targets.tolist() == [0, 0]
    assert data.split("test").read(0).shape == (4, 5)


def test_f040_unreadable_test_images_do_not_stop_train_and_val(make_folder: Make) -> None:
    root = make_folder({"train/a": 8, "train/b": 8, "val/a": 2, "val/b": 2, "test/a": 2, "test/b": 2})
    for path in root.glob("test/*/*.png"):
        path.write_bytes(b"not an image")
    data = open_data(root)
    data.fingerprint()
    for name in ("train", "val"):
        assert all(data.split(name).read(row).size for row in range(len(data.split(name))))
    with pytest.raises(InputError, match=r"000\.png is not an image"):
        data.split("test").read(0)


def test_folders_without_images_or_classes_are_refused(tmp_path: Path, make_folder: Make) -> None:
    with pytest.raises(InputError, match="holds no images in class folders"):
        open_data(tmp_path)
    with pytest.raises(InputError, match="no file, no folder and no data set's name"):
        open_data(tmp_path / "absent")


def test_the_same_folder_elsewhere_has_the_same_fingerprint_and_splits(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({"a": 30, "b": 30})
    copy = shutil.copytree(root, tmp_path / "copy")
    assert open_data(root).fingerprint() == open_data(copy).fingerprint()
    assert open_data(root).fingerprint() != open_data(root, seed=1).fingerprint()


def test_the_same_file_name_in_two_classes_is_two_images(make_folder: Make) -> None:
    data = open_data(make_folder({"a": 10, "a/x": 10, "b": 10}))
    names = [name for split in data.splits for name in data.split(split).names]
    assert len(set(names)) == 30
    assert {"a/000.png", "a/x/000.png", "b/000.png"} <= set(names)


def test_links_that_lead_back_neither_hang_nor_count_twice(make_folder: Make) -> None:
    root = make_folder({"a": 10, "b": 10})
    (root / "self").symlink_to(root)
    (root / "up").symlink_to("..")
    (root / "a/loop").symlink_to(root / "a")
    (root / "broken").symlink_to("nowhere")
    (root / "round").symlink_to("round")
    data = open_data(root)
    assert data.classes == ("a", "b")
    assert len(data.split("all")) == 20
    assert "not followed, because they lead back to where they are: the links self, up" in data.notes


def test_a_link_to_a_class_folder_elsewhere_is_that_class(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({"a": 10})
    (root / "b").symlink_to(make_folder({"images": 10}, name="elsewhere") / "images")
    assert len(open_data(root).split("all")) == 20


def test_real_cells_have_their_own_splits(data_folder: Path) -> None:
    data = open_data(data_folder / "bccd_cells")
    assert {name: len(data.split(name)) for name in data.splits} == {"train": 637, "val": 256, "test": 211}
    assert data.classes == ("Platelets", "RBC", "WBC")
    assert np.bincount(data.split("train").targets).tolist() == [209, 214, 214]
    assert data.split("val").read(0).shape[2] == 3


def test_real_malaria_cells_get_a_val_with_both_classes(data_folder: Path) -> None:
    data = open_data(data_folder / "malaria")
    assert data.made_splits == ("val",)
    assert sorted(data.split("val").targets) == [0, 1]
    assert len(data.split("test")) == 6
