"""What a model may have seen under another name: the rules, without training anything."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medmamba.data import Dataset, open_data
from medmamba.data.related import Seen, check_start, check_unseen, lineage, seen_by, sources_of
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
    assert open_data(tmp_path / "kvasir.csv").sources == ("Kvasir",)  # the name of the table is the surest
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

    other = replace(busi, name="kvasir", sources=(), splits={"test": never, "train": never})
    assert sources_of(other) == ("Kvasir",)
    assert check_unseen(other, provenance(busi), ()) == []
