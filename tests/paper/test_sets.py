"""The data sets of tables and figures: where they lie, what they are called."""

from pathlib import Path

import pytest

from medmamba.errors import InputError
from medmamba.paper.plans import PLANS
from medmamba.paper.sets import OWN, SOURCES, find, locate, recipe_of, source_of
from medmamba.training.recipe import load_recipe


def test_data_is_found_the_official_file_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data absent"):
        locate(tmp_path, "pneumoniamnist")
    for name in ("pneumoniamnist_reassembled.npz", "pneumoniamnist.npz"):
        (tmp_path / name).touch()
        assert locate(tmp_path, "pneumoniamnist").name == name


def test_every_set_of_medmnist_may_lie_in_its_folder_and_no_other_size_is_taken(tmp_path: Path) -> None:
    (tmp_path / "medmnist").mkdir()
    (tmp_path / "medmnist" / "pathmnist_224.npz").touch()
    assert find(tmp_path, "pathmnist") is None
    (tmp_path / "medmnist" / "pathmnist.npz").touch()
    assert find(tmp_path, "pathmnist") == tmp_path / "medmnist" / "pathmnist.npz"


def test_any_other_name_is_that_of_a_file_or_folder(tmp_path: Path) -> None:
    (tmp_path / "kvasir").mkdir()
    (tmp_path / "toys.npz").touch()
    assert [locate(tmp_path, name).name for name in ("kvasir", "toys")] == ["kvasir", "toys.npz"]
    with pytest.raises(InputError, match=r"holds no lost or lost\.csv or lost\.npz"):
        locate(tmp_path, "lost")


def test_what_plans_need_is_known() -> None:
    assert len(OWN) == 16
    for plan in PLANS.values():
        for name in {run.data for run in plan()}:
            assert SOURCES[name].train is not None
    for name in SOURCES:
        load_recipe(recipe_of(name))
    assert {recipe_of("breastmnist"), recipe_of("busi")} == {"medmnist", "clinical"}


def test_a_set_has_one_name_whatever_its_file_is_called() -> None:
    names = ("pneumoniamnist_reassembled", "breastmnist@64", "busi256", "bccd_cells", "ISIC2017")
    assert [source_of(name).name for name in names] == ["pneumoniamnist", "breastmnist", "busi", "bccd", "isic2017"]
    with pytest.raises(InputError, match="did you mean 'breastmnist'"):
        source_of("brestmnist")
