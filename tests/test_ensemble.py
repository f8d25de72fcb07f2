"""Several models as one bundle: what it answers, what it has seen, what it refuses, and every verb that takes it."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as packed

import medmamba
from medmamba.bundle import Bundle, Member, load_bundle, load_model
from medmamba.card import card, facts
from medmamba.cli import main
from medmamba.data import Dataset, open_data
from medmamba.data.preprocessing import Preprocessing
from medmamba.data.related import lineage
from medmamba.decisions import Conformal, Decisions
from medmamba.ensembling import ensemble, name_of
from medmamba.errors import FailedError, InputError
from medmamba.evaluation import complexity
from medmamba.explain.checks import randomised
from medmamba.explain.maps import HeatMapper, network_of
from medmamba.json_file import write_json
from medmamba.manifest import sealed
from medmamba.network import Ensemble
from medmamba.report.checklists import checklists
from medmamba.tasks import Task

SMALL = {"depths": [1, 1], "widths": [8, 16]}
CLASSES = {Task.BINARY: ("benign", "malignant"), Task.MULTICLASS: ("a", "b", "c"), Task.MULTILABEL: ("a", "b", "c")}
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 1, 32, 32), dtype=np.uint8)


def save(folder: Path, seed: int = 0, task: Task = Task.BINARY, data: Dataset | None = None, **changes: Any) -> Path:
    """A network that has learnt nothing and is sure of its answers, which says that it was trained on `data`."""
    origin: dict[str, Any] = {"seed": seed, "recipe": {"name": "small"}, "best_epoch": seed + 3}
    if data is not None:
        origin["data"] = {"name": data.name, "fingerprint": data.fingerprint(), "allowed": [], **lineage(data, ())}
        origin["data"]["splits"] = (
            f"{', '.join(data.made_splits)} made here, seed {seed}" if data.made_splits else "given"
        )
    made = Bundle("medmamba_nano", task, CLASSES[task], Preprocessing(32, 32, channels=1), SMALL, provenance=origin)
    made = replace(made, **changes)
    torch.manual_seed(seed)
    model = made.build_model()
    head: Any = model.get_classifier()  # type: ignore[operator]
    torch.nn.init.normal_(head.weight, std=3.0)
    made.save(folder, model.state_dict())
    return folder


@pytest.fixture
def phantoms() -> Dataset:
    return open_data("phantoms:60")


@pytest.fixture
def pair(tmp_path: Path, phantoms: Dataset) -> list[Path]:
    return [save(tmp_path / f"seed{seed}", seed, data=phantoms) for seed in (0, 1)]


def by_hand(task: Task, folder: Path, pixels: np.ndarray) -> np.ndarray:
    """Probabilities of one bundle's network in float64, without a temperature."""
    bundle = load_bundle(folder)
    with torch.no_grad():
        logits = load_model(folder).double()(bundle.preprocessing.normalise(torch.from_numpy(pixels)).double())
    return (logits.sigmoid() if task is Task.MULTILABEL else logits.softmax(dim=-1)).numpy()


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("task", CLASSES)
def test_the_answer_is_the_mean_of_the_members_probabilities(tmp_path: Path, task: Task, mirror: bool) -> None:
    folders = [save(tmp_path / f"{seed}", seed, task) for seed in range(3)]
    made = medmamba.load(ensemble(folders, out=tmp_path / "all", mirror=mirror), device="cpu")
    views = [PIXELS, np.ascontiguousarray(PIXELS[..., ::-1])][: 1 + mirror]
    single = [by_hand(task, folder, view) for folder in folders for view in views]
    np.testing.assert_allclose(made.probabilities(PIXELS), np.mean(single, axis=0), atol=1e-6, rtol=0)
    assert np.abs(single[0] - single[-1]).max() > 0.01
    features, scores = made.features_and_probabilities(PIXELS)
    np.testing.assert_allclose(scores, np.mean(single, axis=0), atol=1e-6, rtol=0)
    assert features.shape == (5, 3 * 16)
    if mirror:
        np.testing.assert_allclose(made.probabilities(views[1]), made.probabilities(PIXELS), atol=1e-6)
        np.testing.assert_allclose(made.features(views[1]), features, atol=1e-5)


def test_one_model_with_mirrored_pictures_and_models_of_two_kinds(tmp_path: Path) -> None:
    nano = save(tmp_path / "nano")
    resnet = save(tmp_path / "resnet", 1, model="test_resnet", model_args={})
    with pytest.raises(InputError, match="1 model cannot make an ensemble; name two or more, or one to be"):
        ensemble([nano], out=tmp_path / "no")
    alone = medmamba.load(ensemble([nano], out=tmp_path / "mirrored", mirror=True), device="cpu")
    turned = np.ascontiguousarray(PIXELS[..., ::-1])
    expected = (by_hand(Task.BINARY, nano, PIXELS) + by_hand(Task.BINARY, nano, turned)) / 2
    np.testing.assert_allclose(alone.probabilities(PIXELS), expected, atol=1e-6)
    assert alone.bundle.model == "mirrored medmamba_nano"
    both = medmamba.load(ensemble([nano, resnet], out=tmp_path / "both"), device="cpu")
    expected = (by_hand(Task.BINARY, nano, PIXELS) + by_hand(Task.BINARY, resnet, PIXELS)) / 2
    np.testing.assert_allclose(both.probabilities(PIXELS), expected, atol=1e-6)
    assert both.bundle.members == (Member("medmamba_nano", SMALL), Member("test_resnet"))
    assert name_of(["a", "b", "a"], True) == "mirrored ensemble of 2 x a + b"


@pytest.mark.parametrize("independent", [False, True])
def test_the_mean_holds_for_answers_beyond_the_range_of_exp(independent: bool) -> None:
    class Says(torch.nn.Module):
        def __init__(self, logits: list[float]) -> None:
            super().__init__()
            self.logits = torch.tensor([logits])

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.logits

    def probability(logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid() if independent else logits.softmax(dim=-1)

    for answers in ([[300.0, -300.0], [-300.0, 300.0]], [[1000.0, 0.0], [1000.0, 0.0]], [[-500.0, -400.0], [0.0, 1.0]]):
        logits = Ensemble([Says(each) for each in answers], mirror=False, independent=independent)(torch.zeros(1))
        assert logits.isfinite().all()
        mean = torch.stack([probability(torch.tensor([each], dtype=torch.float64)) for each in answers]).mean(dim=0)
        torch.testing.assert_close(probability(logits).double(), mean, atol=1e-6, rtol=0)


def test_what_was_calibrated_of_the_members_is_left_out(tmp_path: Path, phantoms: Dataset) -> None:
    sure = Decisions(temperature=5.0, conformal=Conformal(0.1, (0.5, 0.5), True))
    plain = [save(tmp_path / f"plain{seed}", seed, data=phantoms) for seed in (0, 1)]
    calibrated = [save(tmp_path / f"set{seed}", seed, data=phantoms, decisions=sure, threshold=0.9) for seed in (0, 1)]
    first, second = (
        medmamba.load(ensemble(folders, out=tmp_path / name), device="cpu")
        for name, folders in (("first", plain), ("second", calibrated))
    )
    np.testing.assert_array_equal(first.probabilities(PIXELS), second.probabilities(PIXELS))
    assert second.bundle.decisions == Decisions()
    assert second.bundle.threshold == 0.5
    fitted = medmamba.calibrate(tmp_path / "first", phantoms, device="cpu")
    anew = medmamba.load(tmp_path / "first", device="cpu")
    assert anew.bundle.decisions.temperature == fitted["temperature"] != 1
    assert fitted["after"]["nll"] < fitted["before"]["nll"]
    assert anew.kind is not None  # the scope, in the features of both
    assert anew.kind.features.shape == (2, 32)
    # the mean is formed first, and its logarithm divided by the temperature
    mean = np.log(first.probabilities(PIXELS)) / fitted["temperature"]
    expected = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(anew.probabilities(PIXELS), expected, atol=1e-6)


# what it has seen


def test_provenance_keeps_each_member_and_all_that_any_has_seen(tmp_path: Path, phantoms: Dataset) -> None:
    older = replace(open_data("phantoms:80"), name="busi256", sources=("BUSI",))
    first, second = (save(tmp_path / f"seed{seed}", seed, data=phantoms) for seed in (0, 1))
    bundle = load_bundle(second)
    data = bundle.provenance["data"]
    began = [{"name": older.name, "fingerprint": older.fingerprint(), "sources": ["BUSI"]}]
    data |= {"seen": began + data["seen"], "sources": ["BUSI", *data["sources"]], "allowed": ["class-without-image: x"]}
    replace(bundle, provenance={**bundle.provenance, "data": data}).save_description(second)
    made = load_bundle(ensemble([first, second], out=tmp_path / "both", command="medmamba ensemble"))
    assert [each["seed"] for each in made.provenance["members"]] == [0, 1]
    assert made.provenance["members"][1] == json.loads(json.dumps({**bundle.provenance, "data": data}))
    assert [each["name"] for each in made.provenance["data"]["seen"]] == ["busi256", "phantoms"]
    assert made.provenance["data"]["sources"] == ["BUSI"]
    assert made.provenance["data"]["allowed"] == ["class-without-image: x"]
    # one member began with BUSI: what is made of BUSI is refused for all of them
    breast = replace(phantoms, name="breastmnist", sources=("BUSI",), made_splits=())
    with pytest.raises(InputError, match="related-data"):
        medmamba.evaluate(medmamba.load(tmp_path / "both", device="cpu"), breast, out=tmp_path / "no")
    assert not (tmp_path / "no").exists()
    medmamba.evaluate(medmamba.load(first, device="cpu"), breast, out=tmp_path / "yes", resamples=0)


def cut(folder: Path, seed: int) -> Dataset:
    """One folder of pictures without splits, cut by a seed, as `train --seed` cuts it."""
    if not folder.exists():
        from PIL import Image

        for number in range(40):
            place = folder / CLASSES[Task.BINARY][number % 2] / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(place)
    return open_data(folder, seed=seed)


def test_members_trained_on_other_cuts_or_other_images_are_refused(tmp_path: Path, phantoms: Dataset) -> None:
    data = [cut(tmp_path / "photos", seed) for seed in (0, 1)]
    tested, trained = set(data[0].split("test").names), set(data[1].split("train").names)
    assert tested & trained  # why it must be refused
    first, other = (save(tmp_path / f"seed{seed}", seed, data=data[seed]) for seed in (0, 1))
    same = save(tmp_path / "same", 2, data=data[0])
    elsewhere = save(tmp_path / "elsewhere", 3, data=phantoms)
    unknown = [save(tmp_path / f"unknown{seed}", seed) for seed in (4, 5)]
    for folder in (other, elsewhere, unknown[0]):
        with pytest.raises(InputError, match=r"was trained on other images than .*seed0, or on other splits of them"):
            ensemble([first, folder], out=tmp_path / "no")
        with pytest.raises(InputError, match="medmamba split makes once for all"):
            ensemble([folder, first], out=tmp_path / "no")
    assert not (tmp_path / "no").exists()
    ensemble(unknown, out=tmp_path / "imported")  # as published checkpoints are: nothing is known of any
    both = medmamba.load(ensemble([first, same], out=tmp_path / "both"), device="cpu")
    report = medmamba.evaluate(both, tmp_path / "photos", out=tmp_path / "figures", resamples=0)
    assert report["n"] == len(tested)  # cut as it was for the members
    with pytest.raises(InputError, match="are not those that the model was trained on"):
        medmamba.evaluate(both, data[1], out=tmp_path / "no")
    with pytest.raises(InputError, match="are not those that the model was trained on"):
        medmamba.evaluate(medmamba.load(tmp_path / "imported", device="cpu"), data[0], out=tmp_path / "no")


def test_a_folder_and_the_table_of_its_splits_are_the_same_images(tmp_path: Path) -> None:
    data = cut(tmp_path / "photos", 0)
    data.write_splits(tmp_path / "splits.csv")
    table = open_data(tmp_path / "splits.csv")
    assert table.fingerprint() != data.fingerprint()
    folders = [save(tmp_path / "a", 0, data=data), save(tmp_path / "b", 1, data=table)]
    made = load_bundle(ensemble(folders, out=tmp_path / "both"))
    assert [each["fingerprint"] for each in made.provenance["data"]["seen"]][-1] == data.fingerprint()
    assert made.provenance["data"]["fingerprint"] == data.fingerprint()


# what is refused


def test_members_of_other_questions_are_refused_and_nothing_is_written(
    tmp_path: Path, pair: list[Path], phantoms: Dataset
) -> None:
    def other(name: str, **changes: Any) -> Path:
        return save(tmp_path / name, 3, data=phantoms, **changes)

    made = ensemble(pair, out=tmp_path / "both")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("x")
    sizes = other("size", preprocessing=Preprocessing(48, 32, channels=1, fit="letterbox"))
    refused: list[tuple[list[Path], str]] = [
        ([pair[0], other("turned", classes=("malignant", "benign"))], "answer different questions .* in one order"),
        ([pair[0], other("task", task=Task.MULTILABEL, classes=CLASSES[Task.BINARY])], "answer different questions"),
        ([pair[0], other("positive", positive=0)], "has the positive class 'benign' and .* 'malignant'"),
        ([pair[0], sizes], r"read images differently \(height 48 and 32, fit letterbox and squash\)"),
        ([pair[0], made], "is an ensemble already"),
        ([pair[0], tmp_path / "seed1" / ".." / "seed0"], "is named twice"),
        ([pair[0]], "1 model cannot make an ensemble"),
        ([], "0 models cannot make an ensemble"),
        ([pair[0], tmp_path / "nowhere"], "there is no folder"),
        ([pair[0], tmp_path / "taken"], r"holds no bundle\.json"),
    ]
    for folders, words in refused:
        with pytest.raises(InputError, match=words):
            ensemble(folders, out=tmp_path / "no")
    for place in ("taken", "seed0", "taken/file"):
        with pytest.raises(InputError, match="is there already and not empty"):
            ensemble(pair, out=tmp_path / place)
    assert not (tmp_path / "no").exists()
    (tmp_path / "empty").mkdir()
    assert ensemble(pair, out=tmp_path / "empty") == tmp_path / "empty"
    assert {path.name for path in (tmp_path / "empty").iterdir()} == {"bundle.json", "card.md", "weights.safetensors"}


def rewrite(folder: Path, content: bytes) -> None:
    """Other weights, as if they had been written so."""
    (folder / "weights.safetensors").write_bytes(content)
    entries = json.loads((folder / "bundle.json").read_text())
    entries["files"] = {"weights.safetensors": hashlib.sha256(content).hexdigest()}
    write_json(folder / "bundle.json", sealed(entries))


def test_damaged_and_foreign_weights_are_refused(tmp_path: Path, pair: list[Path]) -> None:
    made = ensemble(pair, out=tmp_path / "both")
    tensors = load_file(made / "weights.safetensors")
    assert all(name.startswith(("members.0.", "members.1.")) for name in tensors)
    lost = {name: tensor for name, tensor in tensors.items() if not name.startswith("members.1.")}
    rewrite(made, packed(lost))
    with pytest.raises(
        InputError, match=r"does not fit the model: of \d+ tensors expected, \d+ missing \(members\.1\."
    ):
        medmamba.load(made)
    rewrite(made, (pair[0] / "weights.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"\d+ missing \(members\.0\..*\d+ unexpected"):
        medmamba.load(made)
    weights = pair[1] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(InputError, match="is damaged"):
        ensemble(pair, out=tmp_path / "no")
    rewrite(pair[1], (made / "weights.safetensors").read_bytes())
    ensemble(pair, out=tmp_path / "fits")  # of the same network
    rewrite(pair[1], packed({"x": torch.zeros(1)}))
    with pytest.raises(InputError, match=r"^\S*bundle\.json describes a network that is larger than its weights"):
        ensemble(pair, out=tmp_path / "no")
    assert not list(tmp_path.glob("*no*"))


def test_a_disk_that_fails_leaves_nothing(tmp_path: Path, pair: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(tmp_path.rglob("*"))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FailedError, match=r"/both/.* could not be written: the disk is full"):
        ensemble(pair, out=tmp_path / "both")
    assert set(tmp_path.rglob("*")) == before


def test_the_format_is_one_that_older_versions_refuse(tmp_path: Path, pair: list[Path]) -> None:
    made = ensemble(pair, out=tmp_path / "both", mirror=True)
    entries = json.loads((made / "bundle.json").read_text())
    assert entries["format"] == 4  # of which an older version says what it reads, and to update
    del entries["sha256"]
    assert Bundle.from_dict(entries) == load_bundle(made)

    def refused(words: str, **changes: Any) -> None:
        write_json(made / "bundle.json", sealed(entries | changes))
        with pytest.raises(InputError, match=words):
            load_bundle(made)

    refused("entries are missing or unknown", more=1)
    refused("only an ensemble mirrors", members=[])
    refused("mirror is 'yes'", mirror="yes")
    refused("only its members have some", model_args={"depths": [1]})
    refused("cannot be used", members=[{"model": "medmamba_nano", "size": 1}])
    refused("expected a name and an object", members=[{"model": 3}])
    refused("cannot be used", members=3)
    refused("this version reads 1 to 4; update medmamba", format=5)


# every verb


def test_the_card_and_the_checklists_say_what_it_is(tmp_path: Path, pair: list[Path]) -> None:
    made = load_bundle(ensemble(pair, out=tmp_path / "both", mirror=True))
    known = facts(made)
    assert known["model"] == "mirrored ensemble of 2 x medmamba_nano"
    assert known["answer"] == (
        "the mean of the probabilities that 2 networks gave of the picture and of its left-right mirror image"
    )
    assert (known["seed"], known["recipe"], known["best epoch"]) == ("0, 1", "small", "3, 4")
    assert "figures, which are those of the networks one by one" in card(made).replace("\n", " ")
    assert "answer" not in facts(load_bundle(pair[0]))
    page = checklists(made)
    assert "the mean of the probabilities of 2 networks, each for the picture and for its left-right mirror" in page
    assert "network 2: recipe: name small" in page
    assert "no ensemble" not in page
    assert "no ensemble: one network answers" in checklists(load_bundle(pair[0]))
    alone = checklists(load_bundle(ensemble(pair[:1], out=tmp_path / "alone", mirror=True)))
    assert "one network answers for the picture and for its left-right mirror image" in alone


def test_it_costs_what_its_members_cost_for_every_view(tmp_path: Path, pair: list[Path]) -> None:
    one = complexity(load_bundle(pair[0]).build_model(), (32, 32), 1)
    both = complexity(load_bundle(ensemble(pair, out=tmp_path / "both")).build_model(), (32, 32), 1)
    turned = complexity(load_bundle(ensemble(pair, out=tmp_path / "turned", mirror=True)).build_model(), (32, 32), 1)
    assert both["parameters"] == turned["parameters"] == 2 * one["parameters"]
    for count in ("macs_conv_linear", "flops_total", "flops_scan"):
        assert one[count] > 0
        assert (both[count], turned[count]) == (2 * one[count], 4 * one[count])


def test_predicting_by_our_networks_starts_without_timm(tmp_path: Path, pair: list[Path]) -> None:
    made = ensemble(pair, out=tmp_path / "both")
    code = (
        "import sys, medmamba; medmamba.load(sys.argv[1], device='cpu'); print({'timm', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(made)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_heat_maps_are_the_mean_of_the_members_and_mirrored_back(tmp_path: Path, pair: list[Path]) -> None:
    targets = np.array([0, 1, 0, 1, 0])
    turned = np.ascontiguousarray(PIXELS[..., ::-1])
    single = [medmamba.load(folder, device="cpu") for folder in pair]
    mappers = [HeatMapper(each.bundle, network_of(each), method="gradcam", layers=["stages.0"]) for each in single]
    expected = [layer for mapper in mappers for layer in mapper.raw(PIXELS, targets)]
    back = [layer[..., ::-1] for mapper in mappers for layer in mapper.raw(turned, targets)]
    for mirror, layers in ((False, expected), (True, [expected[0], back[0], expected[1], back[1]])):
        made = medmamba.load(ensemble(pair, out=tmp_path / f"mirror-{mirror}", mirror=mirror), device="cpu")
        names = ["members.0.stages.0", "members.1.stages.0"]
        mapper = HeatMapper(made.bundle, network_of(made), method="gradcam", layers=names)
        raw = mapper.raw(PIXELS, targets)
        assert len(raw) == len(layers)
        for mine, theirs in zip(raw, layers, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5)
        by_default = HeatMapper(made.bundle, network_of(made))
        assert {name.split(".")[1] for name in by_default.layers} == {"0", "1"}
        assert by_default.methods == HeatMapper(single[0].bundle, network_of(single[0])).methods
    maps = mapper.maps(turned, targets)  # a mirrored picture has the mirrored map
    np.testing.assert_allclose(maps[..., ::-1], mapper.maps(PIXELS, targets), atol=1e-4)


def test_weights_are_randomised_in_all_networks_alike(tmp_path: Path, pair: list[Path]) -> None:
    made = medmamba.load(ensemble(pair, out=tmp_path / "both"), device="cpu")
    model = network_of(made)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    steps = []
    for _, changed in randomised(model, seed=0):
        steps.append({name for name, value in changed.state_dict().items() if not torch.equal(value, before[name])})
    assert steps[0] == {"members.0.head.fc.weight", "members.1.head.fc.weight"}
    assert all(a < b for a, b in pairwise(steps))
    assert {name.removeprefix("members.0.") for name in steps[2] if "members.0." in name} == {
        name.removeprefix("members.1.") for name in steps[2] if "members.1." in name
    }


def test_networks_of_two_kinds_each_have_their_own_maps(tmp_path: Path) -> None:
    folders = [save(tmp_path / "nano"), save(tmp_path / "resnet", 1, model="test_resnet", model_args={})]
    made = medmamba.load(ensemble(folders, out=tmp_path / "both"), device="cpu")
    mapper = HeatMapper(made.bundle, network_of(made))
    assert "gradcam" in mapper.methods
    maps = mapper.maps(PIXELS, np.zeros(5, dtype=int))
    assert maps.shape == (5, 32, 32)
    with pytest.raises(InputError, match=r"there is no layer 'stages\.0' with a map"):
        HeatMapper(made.bundle, network_of(made), layers=["stages.0"])


@pytest.mark.parametrize(("format", "mirror"), [("onnx", True), ("pt2", False)])
def test_an_exported_ensemble_answers_the_same(tmp_path: Path, format: str, mirror: bool) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    from medmamba.export import export

    task = Task.MULTILABEL if mirror else Task.MULTICLASS
    folders = [save(tmp_path / f"{seed}", seed, task, model_args={"depths": [1], "widths": [8]}) for seed in (0, 1)]
    made = ensemble(folders, out=tmp_path / "both", mirror=mirror)
    path, found = export(made, format=format, images=2)
    assert found.passed
    record = json.loads((tmp_path / "both" / f"model.{format}.json").read_text())
    assert [each["seed"] for each in record["bundle"]["provenance"]["members"]] == [0, 1]
    assert (
        record["complexity"]["parameters"]
        == 2 * complexity(load_bundle(folders[0]).build_model(), (32, 32), 1)["parameters"]
    )
    if format == "onnx":
        file, network = medmamba.load(path), medmamba.load(made, device="cpu")
        np.testing.assert_allclose(file.probabilities(PIXELS), network.probabilities(PIXELS), atol=1e-5)
        assert file.bundle.members == network.bundle.members


def test_the_command_and_the_verbs_after_it(
    tmp_path: Path, pair: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    both, words = tmp_path / "both", [str(folder) for folder in pair]
    assert main(["ensemble", *words, "--out", str(both), "--mirror"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(both)
    assert main(["ensemble", *words, "--out", str(both)]) == 2
    assert "is there already and not empty" in capsys.readouterr().err
    assert main(["ensemble", words[0], "--out", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()
    assert main(["info", "--checkpoint", str(both)]) == 0
    assert "mirrored ensemble of 2 x medmamba_nano" in capsys.readouterr().out
    data, quick = "phantoms:60", ["--device", "cpu"]
    assert main(["calibrate", str(both), data, *quick]) == 0
    assert main(["evaluate", str(both), data, "--resamples", "0", *quick]) == 0
    assert main(["compare", words[0], str(both), data, "--resamples", "100", *quick]) == 0
    figures = json.loads((both / "evaluation-test" / "metrics.json").read_text())
    assert figures["model"]["name"] == "mirrored ensemble of 2 x medmamba_nano"
    assert main(["embed", str(both), data, *quick]) == 0
    assert (
        main(
            [
                "train",
                data,
                "--out",
                str(tmp_path / "t"),
                "--model",
                "medmamba_nano",
                "--init",
                str(both),
                "--image-size",
                "32",
                "32",
                *quick,
            ]
        )
        == 2
    )
    assert "start from a bundle of the same model" in capsys.readouterr().err


def test_a_report_and_a_check_of_its_maps(tmp_path: Path, pair: list[Path], phantoms: Dataset) -> None:
    made = medmamba.load(ensemble(pair, out=tmp_path / "both", mirror=True), device="cpu")
    checked = medmamba.check_heat_maps(made, phantoms, n=3)
    assert all(checked[part] is not None for part in ("randomisation", "removal", "pointing"))
    medmamba.write_report(made, phantoms, out=tmp_path / "report", resamples=100)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "mirrored ensemble of 2 x medmamba_nano" in page
    assert "0, 1" in page
