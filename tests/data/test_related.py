"""What a model may have seen under another name: the rules, without training anything."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmamba.data import Dataset, open_data
from medmamba.data.related import (
    Seen,
    check_start,
    check_together,
    check_unseen,
    lineage,
    seen_by,
    seen_sentences,
    sources_of,
)
from medmamba.errors import InputError

Make = Callable[..., Path]


@pytest.fixture
def busi(make_folder: Make) -> Dataset:
    return open_data(
        make_folder({f"{split}/{name}": 4 for split in ("train", "val", "test") for name in "ab"}, "busi256")
    )


def provenance(data: Dataset, before: tuple[Seen, ...] = ()) -> dict[str, Any]:
    return {"data": {"name": data.name, **lineage(data, before)}}


def test_collections_are_told_by_the_name_or_by_the_folder_of_the_images(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({"Dataset_BUSI_with_GT/images/a": 12, "Dataset_BUSI_with_GT/images/b": 12}, "downloads")
    assert open_data(root / "Dataset_BUSI_with_GT/images").sources == ("BUSI",)
    rows = [f"downloads/Dataset_BUSI_with_GT/images/{label}/{n:03}.png,{label}" for label in "ab" for n in range(12)]
    (tmp_path / "mine.csv").write_text("\n".join(["file,label", *rows]))
    assert open_data(tmp_path / "mine.csv").sources == ("BUSI",)
    (tmp_path / "kvasir.csv").write_text("\n".join(["file,label", *rows]))
    assert open_data(tmp_path / "kvasir.csv").sources == ("BUSI", "Kvasir")  # a set: no name hides another
    assert open_data(make_folder({"a": 12, "b": 12}, "photos")).sources == ()


def test_the_splits_that_a_run_wrote_are_told_by_where_the_images_lie(make_folder: Make, tmp_path: Path) -> None:
    data = open_data(make_folder({"a": 12, "b": 12}, "busi"))
    (tmp_path / "runs/first").mkdir(parents=True)
    data.write_splits(tmp_path / "runs/first/splits.csv")
    assert open_data(tmp_path / "runs/first/splits.csv", allow=("outside-folder",)).sources == ("BUSI",)


def test_the_real_pair_is_known(data_folder: Path) -> None:
    assert open_data(data_folder / "busi256").sources == ("BUSI",)
    assert open_data(data_folder / "medmnist/breastmnist.npz").sources == ("BUSI",)
    assert open_data(data_folder / "isic2017").sources == ()


def test_the_same_data_with_the_same_splits_may_be_evaluated(busi: Dataset) -> None:
    assert check_unseen(busi, provenance(busi), ()) == []
    assert check_unseen(replace(busi, name="renamed copy of it"), provenance(busi), ()) == []


def test_a_folder_and_the_tables_of_it_are_one_data_set_whatever_their_order(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({f"{patient}/{name}": 3 for patient in ("p1", "p2", "p3") for name in "ab"}, "busi")
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.png"))]
    (root / "labels.csv").write_text("\n".join(["file,label", *rows]))
    data = open_data(root)
    (tmp_path / "run").mkdir()
    data.write_splits(tmp_path / "run/splits.csv")
    lines = (tmp_path / "run/splits.csv").read_text().splitlines()
    (tmp_path / "run/turned.csv").write_text("\n".join([lines[0], *lines[:0:-1]]))
    for table in ("splits.csv", "turned.csv"):
        again = open_data(tmp_path / "run" / table, allow=("outside-folder",))
        assert again.fingerprint() != data.fingerprint()
        assert check_unseen(again, provenance(data), ()) == []
        assert check_start(again, seen_by(provenance(data)), ()) == []
    moved = [line.replace(",train", ",test", 1) if "p1" in line else line for line in lines]
    assert moved != lines
    (tmp_path / "run/other.csv").write_text("\n".join(moved))
    other = open_data(tmp_path / "run/other.csv", allow=("outside-folder",))
    with pytest.raises(InputError, match="related-data"):
        check_unseen(other, provenance(data), ())


def test_another_size_with_the_same_splits_may_be_evaluated(make_npz: Make) -> None:
    small, large = open_data(make_npz("breastmnist.npz")), open_data(make_npz("breastmnist_64.npz", side=64))
    assert check_unseen(large, provenance(small), ()) == []
    other = open_data(make_npz("breastmnist_64_shuffled.npz", lambda row: [(row + 1) % 2], side=64))
    with pytest.raises(InputError, match="holds images of BUSI"):
        check_unseen(other, provenance(small), ())


def test_another_set_of_the_same_collection_is_refused_and_can_be_allowed(busi: Dataset, make_npz: Make) -> None:
    breast = open_data(make_npz("breastmnist.npz"))
    with pytest.raises(
        InputError,
        match=r"breastmnist holds images of BUSI, and the model was trained on busi256, which does too, .*; "
        r"evaluate it on other data, .*; --allow related-data goes on in spite of it$",
    ):
        check_unseen(breast, provenance(busi), ())
    (sentence,) = check_unseen(breast, provenance(busi), ("related-data",))
    assert sentence.startswith("related-data: breastmnist holds images of BUSI")


def test_the_same_data_with_other_splits_is_refused(busi: Dataset) -> None:
    turned = replace(
        busi, splits={"train": busi.splits["test"], "val": busi.splits["val"], "test": busi.splits["train"]}
    )
    with pytest.raises(InputError, match="the model was trained on busi256 with other splits, labels or images"):
        check_unseen(turned, provenance(busi), ())
    with pytest.raises(InputError, match="the start was trained on busi256 with other splits"):
        check_start(turned, seen_by(provenance(busi)), ())


def test_what_the_start_of_the_start_saw_counts(busi: Dataset, make_npz: Make) -> None:
    blood = open_data(make_npz("bloodmnist.npz", lambda row: [row % 8]))
    origin = provenance(blood, seen_by(provenance(busi)))
    assert origin["data"]["sources"] == ["Acevedo 2020, blood cells", "BUSI"]
    assert [each.name for each in seen_by(origin)] == ["busi256", "bloodmnist"]
    assert check_unseen(blood, origin, ()) == []
    assert check_unseen(busi, origin, ()) == []
    with pytest.raises(InputError, match="trained on busi256"):
        check_unseen(open_data(make_npz("breastmnist.npz")), origin, ())


def test_a_bundle_that_recorded_no_collections_is_told_by_its_data_s_name(make_npz: Make) -> None:
    breast = open_data(make_npz("breastmnist.npz"))
    with pytest.raises(InputError, match="trained on busi256"):
        check_unseen(breast, {"data": {"name": "busi256", "fingerprint": "0" * 64, "splits": "given"}}, ())
    assert check_unseen(breast, {}, ()) == []
    assert check_unseen(breast, {"data": {}}, ()) == []


def test_data_that_we_cut_otherwise_is_no_start_even_where_the_catalogue_does_not_know_it(make_folder: Make) -> None:
    root = make_folder({"a": 20, "b": 20}, "photos")
    first, other = open_data(root, seed=0), open_data(root, seed=1)
    assert check_start(first, seen_by(provenance(first)), ()) == []
    with pytest.raises(InputError, match="the start was trained on photos with other splits"):
        check_start(other, seen_by(provenance(first)), ())
    assert len(check_start(other, seen_by(provenance(first)), ["related-data"])) == 1
    unlike = open_data(make_folder({"a": 20, "b": 20}, "films"))
    assert check_start(unlike, seen_by(provenance(first)), ()) == []


def test_only_related_data_have_their_splits_opened(busi: Dataset) -> None:
    def never() -> Any:
        raise AssertionError("a split was opened")

    other = replace(busi, name="kvasir", sources=(), splits={"test": never, "train": never}, size=(28, 28))  # arrays
    assert sources_of(other) == ("Kvasir",)
    assert check_unseen(other, provenance(busi), ()) == []


def cut_as_table(data: Dataset, table: Path, turn: int) -> Path:
    """The images of a data set in a table of other splits: every image has that of the one `turn` places on."""
    data.write_splits(table)
    head, *rows = table.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    turned = [",".join((*row[:2], cells[(n + turn) % len(cells)][2], *row[3:])) for n, row in enumerate(cells)]
    table.write_text("\n".join([head, *turned]))
    return table


@pytest.mark.parametrize("name", ["photos", "other name"])
def test_a_table_that_cuts_the_images_of_the_training_otherwise_is_refused(
    make_folder: Make, tmp_path: Path, name: str
) -> None:
    data = open_data(make_folder({"a": 20, "b": 20}, "photos"))
    table = open_data(cut_as_table(data, tmp_path / f"{name}.csv", 1))
    why = (
        "the model was trained on photos with other splits"
        if name == "photos"
        else "names and labels of photos in other"
    )
    with pytest.raises(InputError, match=rf"{why}.*, which stand in splits\.csv in the run's folder; --allow"):
        check_unseen(table, provenance(data), ())
    with pytest.raises(InputError, match="related-data"):
        check_start(table, seen_by(provenance(data)), ())
    same = open_data(cut_as_table(data, tmp_path / f"{name}.csv", 0))
    assert check_unseen(same, provenance(data), ()) == []
    # splits that were given and are cut again are no other matter
    if name != "photos":
        with pytest.raises(InputError, match="has the image names and labels of other name in other splits"):
            check_unseen(open_data(cut_as_table(data, tmp_path / "third.csv", 2)), provenance(same), ())


def test_some_of_the_images_under_the_old_name_are_refused_and_other_images_are_not(
    make_folder: Make, tmp_path: Path
) -> None:
    data = open_data(make_folder({"a": 20, "b": 20}, "photos"))
    table = cut_as_table(data, tmp_path / "photos.csv", 1)
    table.write_text("\n".join(table.read_text().splitlines()[:-3]))
    with pytest.raises(InputError, match="the model was trained on photos with other splits, labels or images"):
        check_unseen(open_data(table), provenance(data), ())
    assert len(check_unseen(open_data(table), provenance(data), ["related-data"])) == 1
    elsewhere = open_data(make_folder({"a": 15, "b": 17}, "elsewhere/photos"))
    assert check_unseen(elsewhere, provenance(data), ()) == []
    test = open_data(make_folder({"test/a": 5, "test/b": 7}, "third/photos"), classes=data.classes)
    assert check_unseen(test, provenance(data), ()) == []  # of another place, with nothing to train on


def test_where_the_user_gave_the_test_split_its_part_alone_is_taken(make_folder: Make) -> None:
    data = open_data(make_folder({"train/a": 20, "train/b": 20, "test/a": 5, "test/b": 5}, "one/photos"))
    assert data.made_splits == ("val",)
    part = open_data(make_folder({"test/a": 5, "test/b": 5}, "two/photos"), classes=data.classes)
    assert check_unseen(part, provenance(data), ()) == []


def test_two_cuts_of_the_same_images_are_not_trained_on_together(make_folder: Make, tmp_path: Path) -> None:
    data = open_data(make_folder({"a": 20, "b": 20}, "photos"))
    other = open_data(cut_as_table(data, tmp_path / "cut.csv", 1))
    with pytest.raises(InputError, match="cut has the image names and labels of photos in other splits"):
        check_together([data, other], ())
    assert len(check_together([data, other], ["related-data"])) == 1


def test_figures_on_training_images_are_said_to_be_optimistic(make_folder: Make) -> None:
    data = open_data(make_folder({"a": 20, "b": 20}, "photos"))
    for split in ("train", "val", "all"):
        (told,) = seen_sentences(data, split, provenance(data))
        assert told.startswith(f"the evaluated split {split} took part in training or in the choice of the epoch")
        elsewhere = open_data(make_folder({"a": 15, "b": 17}, "elsewhere/photos"))
        (told,) = seen_sentences(elsewhere, split, provenance(data))
        assert "if these are the same images" in told
        assert seen_sentences(replace(elsewhere, name="films"), split, provenance(data)) == []
    assert seen_sentences(data, "test", provenance(data)) == []


def test_arrays_sorted_by_class_are_the_same_only_with_the_same_pixels(make_npz: Make, tmp_path: Path) -> None:
    def by_class(row: int) -> list[int]:
        return [int(row >= 2)]

    first = make_npz("busi_first.npz", by_class)
    with np.load(first) as arrays:
        changed = {**arrays, "train_images": arrays["train_images"] + np.uint8(100)}
    np.savez_compressed(tmp_path / "busi_second.npz", **changed)
    np.savez_compressed(tmp_path / "busi_copy.npz", **np.load(first))
    data, other, copy = (open_data(tmp_path / f"busi_{name}.npz") for name in ("first", "second", "copy"))
    assert other.fingerprint() == data.fingerprint()
    assert check_unseen(copy, provenance(data), ()) == []
    with pytest.raises(InputError, match="holds images of BUSI"):
        check_unseen(other, provenance(data), ())
    seen, unlike, like = (seen_by(provenance(each))[0] for each in (data, other, copy))
    assert seen.is_like(like)
    assert not seen.is_like(unlike)
    earlier = replace(seen, pixels=None, whole=None)  # of a run of before they were recorded
    assert earlier.is_same(data)
    assert earlier.is_like(seen)
    assert seen.is_like(earlier)
    unsorted = open_data(make_npz("busi_mixed.npz"))
    assert seen_by(provenance(unsorted))[0].pixels is None  # the order of the labels tells


def test_a_collection_is_told_although_a_table_names_other_folders_too(make_folder: Make, tmp_path: Path) -> None:
    make_folder({"Dataset_BUSI_with_GT/images/benign": 12, "others/more": 12}, "downloads")
    rows = [f"downloads/Dataset_BUSI_with_GT/images/benign/{n:03}.png,a" for n in range(12)]
    rows += [f"downloads/others/more/{n:03}.png,b" for n in range(12)]
    (tmp_path / "mine.csv").write_text("\n".join(["file,label", *rows]))
    assert open_data(tmp_path / "mine.csv").sources == ("BUSI",)
