"""A few of the files of `benchmarks/hostile_files.py`: refused with our own error, nothing run, little memory."""

import importlib
import io
import json
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from medmamba.bundle import Bundle, load_bundle, load_model
from medmamba.data.preprocessing import Preprocessing
from medmamba.errors import InputError
from medmamba.json_file import read_json, write_json
from medmamba.manifest import sealed
from medmamba.tasks import Task
from medmamba.training.recipe import parse_recipe

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FEW = 24  # of the kinds that are mutations, of which the benchmark makes hundreds

if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not shipped with the package", allow_module_level=True)


def of_benchmarks(name: str) -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


content, hostile = of_benchmarks("hostile_content"), of_benchmarks("hostile_files")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    folder = tmp_path_factory.mktemp("hostile") / "good"
    return folder, content.good_bundle(folder)


@pytest.mark.parametrize("kind", content.KINDS, ids=lambda kind: kind.name)
def test_hostile_files_are_refused(kind: Any, good: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    tries = FEW if "mutated" in kind.name else None
    tally = hostile.attack(kind, *good, tmp_path / "given", tries)
    assert tally.others == {}
    assert tally.markers == 0
    assert set(tally.counts) <= ({"refused", "read"} if kind.harmless else {"refused"})
    assert tally.growth <= hostile.MEGABYTES
    if "land elsewhere" in kind.name:
        assert set(tally.counts) == {"read"}  # only what is asked for by name is looked at, and nothing is unpacked
    else:
        assert tally.counts["refused"] > 0


def test_the_payloads_are_real(tmp_path: Path) -> None:
    for number, payload in enumerate(content.pickles(tmp_path / "x")):
        (tmp_path / "x").mkdir(exist_ok=True)
        file = io.BytesIO(payload)
        if payload[:6] == b"\x93NUMPY":
            np.load(file, allow_pickle=True)
        elif b"train_images.npy" in payload:
            dict(np.load(file, allow_pickle=True))
        elif number in (3, 4):
            torch.load(file, weights_only=False)
        else:
            pickle.load(file)
        (tmp_path / "x" / content.MARKER).rmdir()  # which is there


def test_mutations_are_the_same_for_the_same_number_and_damage_most_files(good: tuple[Path, torch.Tensor]) -> None:
    whole = (good[0] / "bundle.json").read_bytes()
    made = [content.mutate(whole, number) for number in range(50)]
    assert made == [content.mutate(whole, number) for number in range(50)]
    assert len(set(made)) > 45
    assert sum(each != whole for each in made) > 45


def test_what_is_read_in_spite_of_a_mutation_is_told_from_what_answers_otherwise(
    good: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    """The check itself: weights that are others, with a digest that fits, are no success."""

    def other(folder: Path, _: int) -> None:
        bundle = load_bundle(folder / "bundle")
        Bundle(**{**vars(bundle), "decisions": type(bundle.decisions)()}).save(
            folder / "bundle", bundle.build_model().state_dict()
        )

    kind = content.Kind("other weights", 1, other, content.open_bundle, harmless=True)
    assert hostile.attack(kind, *good, tmp_path / "given").others == {0: "it was read, and answers otherwise"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"checkpoint_path": "x.pth"},
        {"pretrained": True},
        {"pretrained_cfg": {"file": "x.pth"}},
        {"cache_dir": "/tmp"},
        {"features_only": True},
    ],
)
def test_a_description_has_nothing_loaded_from_elsewhere(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"would have weights or code from elsewhere be loaded .* --init"):
        Bundle("resnet18", Task.BINARY, ("a", "b"), Preprocessing(32, 32), model_args=arguments)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, float("nan")], {"a": [float("-inf")]}], ids=str)
def test_a_description_has_no_number_that_is_not_finite(value: Any) -> None:
    with pytest.raises(InputError, match=r"the model argument zoom is .*; expected finite numbers"):
        Bundle("resnet18", Task.BINARY, ("a", "b"), Preprocessing(32, 32), model_args={"zoom": value})


def test_a_description_of_any_depth_is_refused_with_our_own_error() -> None:
    deep: Any = float("nan")
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(InputError, match=r"zoom is \(too long to be written\); expected finite numbers"):
        Bundle("resnet18", Task.BINARY, ("a", "b"), Preprocessing(32, 32), model_args={"zoom": deep})


def test_a_network_that_is_larger_than_its_weights_is_not_made(good: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    content.fresh(tmp_path / "x", good[0])
    folder = tmp_path / "x" / "bundle"
    entries = json.loads((folder / "bundle.json").read_text())
    for depths, words in (
        ([900, 900], "larger than its weights"),
        ([10**7, 1], "does not fit the weights, which have"),
    ):
        entries["model_args"]["depths"] = depths
        write_json(folder / "bundle.json", sealed(entries))
        with pytest.raises(InputError, match=words):
            load_model(folder)
    entries["model_args"]["depths"] = [1, 1]
    write_json(folder / "bundle.json", sealed(entries))
    assert torch.equal(content.logits(folder), good[1])
    assert not torch.nn.modules.module._global_parameter_registration_hooks  # what counted is gone again


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "names 'c' twice"),
        ("[" * 2000 + "]" * 2000, "too deep"),
        ('{"a": NaN}', "holds NaN"),
        ('{"a": -1e999}', "is too large"),
        ('"\\ud800"', "is no JSON"),
        ("[" + "0," * 400_000 + "0]", "more than 300000 values"),
        ('"' + "a" * 9_000_000 + '"', "larger than 8 MB"),
    ],
)
def test_json_that_no_writer_of_ours_makes_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=words):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr: 0.1\nlr: 0.2", "'lr' stands twice"),
        ("betas: &a [0.5, 0.9]\nmilestones: *a", "repeats a value by reference"),
        ("lr: [[[[[[[1]]]]]]]", "are too deep"),
        ("lr: !!python/name:os.system", "is not YAML"),
        ("epochs: " + "9" * 5000, "is not YAML"),
        ("lr: 0.1  #" + "x" * 20_000, "characters"),
        ("zoom: 3", "unknown setting 'zoom'"),
    ],
)
def test_a_recipe_is_plain_values_each_once(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_recipe(text, name="mine")


def test_the_whole_run_found_nothing() -> None:
    if not hostile.RESULTS.is_file():
        pytest.skip("there is no results file yet: python benchmarks/hostile_files.py")
    found = json.loads(hostile.RESULTS.read_text())
    assert found["passed"] is True
    assert found["markers"] == 0
    assert {each["name"]: each["tries"] for each in found["kinds"]} == {kind.name: kind.tries for kind in content.KINDS}
