"""One backbone from several data sets: what is learnt, kept, passed on and refused."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from noise import SHORT, make_data, make_images
from PIL import Image
from torch import nn

import medmamba
from medmamba.backbone import Head, load_backbone
from medmamba.bundle import load_bundle, read_weights
from medmamba.cli import main
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.preprocessing import Preprocessing
from medmamba.errors import InputError
from medmamba.evaluation import evaluate
from medmamba.tasks import Task, loss
from medmamba.training import TrainConfig, loader, pretrain
from medmamba.training.imbalance import TrainingLoss
from medmamba.training.keeper import Keeper
from medmamba.training.mixture import MixedLoss, SetJudge, mix, shares
from medmamba.training.mixup import mixed_loss
from medmamba.training.order import EpochBatches
from medmamba.training.start import head_names

Make = Callable[..., Path]
NANO = TrainConfig(
    model="medmamba_nano", recipe="quick", image_size=(32, 32), epochs=1, batch_size=8, device="cpu", progress=False
)


def refuse() -> ImageSet:
    raise AssertionError("pre-training opened the test split")


def labels(n: int, seed: int) -> ImageSet:
    """Colour images with two labels: red, and bright below."""
    rng = np.random.default_rng(seed)
    targets = np.stack([np.arange(n) % 2, np.arange(n) // 2 % 2], axis=1)
    pixels = rng.integers(0, 60, (n, 20, 24, 3))
    pixels[..., 0] += 150 * targets[:, :1, None]
    pixels[:, 10:] += 40 * targets[:, 1, None, None, None]
    return ImageSet(tuple(f"chest/{i}" for i in range(n)), targets, array=pixels.astype(np.uint8))


def make_labels(train: int = 16, val: int = 8) -> Dataset:
    splits = {"train": lambda: labels(train, 0), "val": lambda: labels(val, 1), "test": refuse}
    return Dataset("chest", Task.MULTILABEL, ("red", "low"), splits, positive=1)


def make_files(folder: Path, *, images: int = 12, splits: tuple[str, ...] = ("",), seed: int = 0) -> Path:
    """Class folders of grey pictures, in split folders where these are named."""
    rng = np.random.default_rng(seed)
    for split in splits:
        for shade, name in enumerate(("benign", "malignant")):
            (folder / split / name).mkdir(parents=True)
            for index in range(images):
                pixels = rng.integers(0, 100, (16, 16), dtype=np.uint8) + np.uint8(100 * shade)
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")
    return folder


@pytest.fixture
def short_pretrain(tmp_path: Path) -> Make:
    def run(name: str = "backbone", data: list[Any] | None = None, **options: Any) -> Path:
        sets = [make_data(classes=3, name="noise"), make_labels()] if data is None else data
        return pretrain(sets, out=tmp_path / name, **{"config": SHORT, **options})

    return run


def equal(one: Path, other: Path) -> bool:
    first, second = read_weights(one), read_weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# the parts


def test_a_set_with_a_hundred_times_the_images_is_drawn_ten_times_as_often() -> None:
    assert shares([400, 4]) == pytest.approx([10 / 11, 1 / 11])
    numbers = np.repeat([0, 1], [400, 4])
    batches = EpochBatches(404, 32, seed=3, balance=numbers, shares=shares([400, 4]))
    drawn = np.array([key[1] for batch in batches for key in batch])
    assert len(drawn) == 404
    assert abs((drawn >= 400).sum() - 404 / 11) < 1
    small = Counter(drawn[drawn >= 400].tolist())
    assert max(small.values()) - min(small.values()) <= 1
    assert max(Counter(drawn[drawn < 400].tolist()).values()) == 1
    mixed = [len({int(numbers[key[1]]) for key in batch}) for batch in batches]
    assert mixed.count(2) > len(mixed) / 2  # a batch mixes the sets


def test_images_of_files_and_arrays_of_any_kind_are_one_set(tmp_path: Path) -> None:
    files = medmamba.open_data(make_files(tmp_path / "set", splits=("train", "val", "test"))).split("train")
    parts = [make_images(5), files, labels(4, 0)]
    mixture = mix(parts)
    assert len(mixture) == 5 + 24 + 4
    for index, (part, row) in {4: (0, 4), 5: (1, 0), 28: (1, 23), 29: (2, 0), 32: (2, 3)}.items():
        np.testing.assert_array_equal(mixture.read(index), parts[part].read(row))
        assert mixture.targets[index].tolist()[: 1 + np.size(parts[part].targets[row])] == [
            part,
            *np.atleast_1d(parts[part].targets[row]),
        ]
    grey = Preprocessing(height=8, width=8, channels=1)
    assert {grey.pixels(mixture.read(index)).shape for index in range(len(mixture))} == {(1, 8, 8)}


HEADS = (Head("a", Task.MULTICLASS, ("x", "y", "z")), Head("b", Task.MULTILABEL, ("red", "low")))


def test_each_image_is_answered_by_its_own_head_alone() -> None:
    mixture = mix([make_images(6, classes=3), labels(4, 0)])
    torch.manual_seed(0)
    logits = torch.randn(10, 5, dtype=torch.float64, requires_grad=True)
    criterion = MixedLoss(HEADS, [TrainingLoss(head.task, "none", [2] * len(head.classes), 6) for head in HEADS])
    values = criterion(logits, torch.from_numpy(mixture.targets))
    first = loss(Task.MULTICLASS, logits[:6, :3], torch.arange(6) % 3)
    second = loss(Task.MULTILABEL, logits[6:, 3:], torch.from_numpy(labels(4, 0).targets))
    torch.testing.assert_close(values, torch.cat([first, second]), rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert not gradient[:6, 3:].any()
    assert not gradient[6:, :3].any()
    assert gradient[:6, :3].all()
    assert gradient[6:, 3:].all()


def test_mixup_asks_the_head_of_each_of_the_two_images() -> None:
    heads = (Head("a", Task.BINARY, ("0", "1"), 1), Head("b", Task.MULTICLASS, ("x", "y", "z"), 1))
    criterion = MixedLoss(heads, [TrainingLoss(head.task, "none", [1] * len(head.classes), 9) for head in heads])
    logits, share = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)), 0.3
    targets = torch.tensor([[0, 1], [1, 2]])
    found = mixed_loss(criterion, logits, targets, torch.full((2,), share))
    for row, (own, other) in enumerate(((0, 1), (1, 0))):
        each = [
            nn.functional.cross_entropy(logits[row, :2], torch.tensor(1)),
            nn.functional.cross_entropy(logits[row, 2:], torch.tensor(2)),
        ]
        assert found[row] == pytest.approx(float(share * each[own] + (1 - share) * each[other]), rel=1e-6)


def test_the_rules_of_a_recipe_look_at_all_sets(short_pretrain: Make, tmp_path: Path) -> None:
    recipe = tmp_path / "rule.yaml"
    recipe.write_text(
        "epochs: {steps: 6, least: 1, most: 9}\nbatch_size: 8\nmixup: 0.2\naugment: {grey: none, colour: light}\n"
    )
    sets = [make_data(classes=3, name="noise"), make_labels()]
    images = sum(len(each.split("train")) for each in sets)
    folder = short_pretrain(data=sets, config=replace(SHORT, recipe=str(recipe), epochs=None, batch_size=None))
    kept = load_backbone(folder).provenance["recipe"]
    assert kept["epochs"] == round(6 / -(-images // 8))
    assert kept["augment"] in ("none", "light")


def test_one_wide_layer_is_a_linear_head_for_each_set() -> None:
    torch.manual_seed(0)
    wide, x = nn.Linear(7, 5), torch.randn(4, 7)
    first, second = nn.Linear(7, 3), nn.Linear(7, 2)
    first.load_state_dict({"weight": wide.weight[:3], "bias": wide.bias[:3]})
    second.load_state_dict({"weight": wide.weight[3:], "bias": wide.bias[3:]})
    torch.testing.assert_close(wide(x), torch.cat([first(x), second(x)], dim=1))


def test_the_figure_of_an_epoch_is_the_mean_over_the_sets_not_over_the_images() -> None:
    mixture = mix([make_images(30, classes=3), labels(4, 0)])
    logits = torch.zeros(34, 5, dtype=torch.float64)
    logits[range(30), torch.arange(30) % 3] = 9.0  # the large set is answered rightly, the small one not at all
    verdict = SetJudge(HEADS, mixture.targets).judge(logits)
    assert [row["auc"] for row in verdict.rows] == [1.0, 0.5]
    assert verdict.auc == 0.75
    assert verdict.loss == pytest.approx(np.mean([row["loss"] for row in verdict.rows]))
    assert [row["n"] for row in verdict.rows] == [30, 4]


# whole runs


def test_sets_of_other_tasks_and_channels_lower_the_loss_of_both(short_pretrain: Make) -> None:
    run = short_pretrain(config=NANO, epochs=2, lr=0.004)
    with (run / "history.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert int(first["images"]) == 24 + 16
    assert float(second["train_loss"]) < float(first["train_loss"])
    backbone = load_backbone(run)
    assert [(head.name, head.task, len(head.classes)) for head in backbone.heads] == [
        ("noise", Task.MULTICLASS, 3),
        ("chest", Task.MULTILABEL, 2),
    ]
    assert backbone.provenance["ended"] == "finished"
    rows = backbone.provenance["validation"]["per_set"]
    assert [row["name"] for row in rows] == ["noise", "chest"]
    assert backbone.provenance["validation"]["auc"] == pytest.approx(np.mean([row["auc"] for row in rows]))
    assert read_weights(run).keys() == backbone.build_model().state_dict().keys()


@pytest.mark.parametrize("channels", [1, 3])
def test_training_starts_from_every_tensor_but_the_head(
    short_pretrain: Make, short_fit: Make, caplog: pytest.LogCaptureFixture, channels: int
) -> None:
    caplog.set_level("INFO")
    run = short_pretrain(epochs=1, channels=channels)
    given = read_weights(run)
    tuned = short_fit("tuned", make_data(name="mine"), epochs=1, init=str(run), lr=1e-12, channels=channels)
    net = load_bundle(tuned).build_model()
    head = head_names(net)
    assert head
    assert f"{len(net.state_dict()) - len(head)} of {len(net.state_dict())} tensors from {run}" in caplog.text
    assert "the head is new (2 classes, others than the 5 before)" in caplog.text
    taken = read_weights(tuned)
    trained = {name for name, _ in net.named_parameters()} - head  # a rate of nearly nothing moves none of them
    assert all(torch.allclose(taken[name], given[name], atol=1e-6) for name in trained)
    assert load_bundle(tuned).provenance["start"].startswith("start: ")


def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(short_pretrain: Make) -> None:
    save = Keeper.save

    def save_and_die(self: Keeper, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]
        if len(self.history) == 1:
            raise ConnectionError("power cut")

    whole = short_pretrain("whole", epochs=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "save", save_and_die)
        with pytest.raises(ConnectionError):
            short_pretrain("cut", epochs=3)
    cut = short_pretrain("cut", epochs=3, resume=True)
    assert equal(whole, cut)
    assert (whole / "history.csv").read_text() == (cut / "history.csv").read_text()
    with pytest.raises(InputError, match="cannot be resumed with other options or data: fingerprint of the data"):
        short_pretrain("cut", [make_labels(), make_data(classes=3)], epochs=3, resume=True)


def test_going_on_with_the_same_sets_keeps_their_heads(short_pretrain: Make, caplog: pytest.LogCaptureFixture) -> None:
    run = short_pretrain(epochs=1)
    caplog.set_level("INFO")
    more = short_pretrain("more", epochs=1, init=str(run))
    total = len(read_weights(run))
    assert load_backbone(more).provenance["start"] == f"start: {total} of {total} tensors from {run}"
    assert seen(more) == ["noise", "chest"]


def test_images_that_do_not_fit_into_memory_are_read_in_every_epoch_with_the_same_result(
    tmp_path: Path, short_pretrain: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = medmamba.open_data(make_files(tmp_path / "set"))
    kept = short_pretrain("kept", [files, make_labels()])
    monkeypatch.setattr(loader, "MEMORY", 0)
    assert equal(kept, short_pretrain("read", [files, make_labels()]))


def test_c05_the_test_splits_are_never_read(tmp_path: Path) -> None:
    roots = []
    for seed, name in enumerate(("one", "two")):
        root = make_files(tmp_path / name, images=4 + seed, splits=("train", "val", "test"), seed=seed)
        for file in (root / "test").rglob("*.png"):
            file.write_bytes(b"nobody may read this")
        roots.append(root)
    run = pretrain(roots, out=tmp_path / "run", config=SHORT)
    assert load_backbone(run).provenance["data"]["name"] == "one + two"
    assert not list(run.glob("*splits*"))


# what is passed on


def seen(run: Path) -> list[str]:
    about = json.loads((run / ("bundle.json" if (run / "bundle.json").exists() else "backbone.json")).read_text())
    return [each["name"] for each in about["provenance"]["data"]["seen"]]


def test_what_a_backbone_has_seen_goes_with_every_model_that_starts_from_it(
    short_pretrain: Make, short_fit: Make, tmp_path: Path
) -> None:
    busi, noise, breast = make_data(name="busi256"), make_data(classes=3), make_data(name="breastmnist", train=26)
    run = short_pretrain(data=[busi, noise], epochs=1)
    assert seen(run) == ["busi256", "noise"]
    assert load_backbone(run).provenance["data"]["sources"] == ["BUSI"]
    with pytest.raises(InputError, match=r"breastmnist holds images of BUSI, and the start was trained on busi256"):
        short_fit("refused", breast, epochs=1, init=str(run))
    assert not (tmp_path / "refused").exists()
    allowed = short_fit("allowed", breast, epochs=1, init=str(run), allow=["related-data"])
    assert seen(allowed) == ["busi256", "noise", "breastmnist"]
    again = short_fit("again", busi, epochs=1, init=str(run))  # the same splits: its test images were not seen
    assert seen(again) == ["noise", "busi256"]
    other = short_fit("other", make_data(name="mine"), epochs=1, init=str(run))
    with pytest.raises(InputError, match="the model was trained on busi256, which does too"):
        evaluate(medmamba.load(other, device="cpu"), breast, "val", out=tmp_path / "no", resamples=0)


def test_the_other_way_round_and_side_by_side_are_refused_too(
    short_pretrain: Make, short_fit: Make, tmp_path: Path
) -> None:
    busi, noise, breast = make_data(name="busi256"), make_data(classes=3), make_data(name="breastmnist", train=26)
    start = short_fit("breast", breast, epochs=1)
    with pytest.raises(InputError, match=r"busi256 holds images of BUSI, and the start was trained on breastmnist"):
        short_pretrain(data=[noise, busi], epochs=1, init=str(start))
    with pytest.raises(InputError, match=r"breastmnist and busi256 both hold images of BUSI.*--allow related-data"):
        short_pretrain(data=[busi, noise, breast], epochs=1)
    assert not (tmp_path / "backbone").exists()
    run = short_pretrain(data=[busi, noise, breast], epochs=1, allow=["related-data"])
    (sentence,) = load_backbone(run).provenance["data"]["allowed"]
    assert sentence.startswith("related-data: breastmnist and busi256")
    assert "| trained in spite of | related-data: breastmnist and busi256" in (run / "card.md").read_text()


def test_another_cut_of_the_same_folder_is_refused(short_fit: Make, tmp_path: Path) -> None:
    one, two = (make_files(tmp_path / name, images=20 + seed, seed=seed) for seed, name in enumerate(("one", "two")))
    run = pretrain([one, two], out=tmp_path / "run", config=SHORT, epochs=1, seed=0)
    assert seen(short_fit("same", one, epochs=1, init=str(run), seed=0)) == ["two", "one"]
    with pytest.raises(InputError, match="the start was trained on one with other splits"):
        short_fit("other", one, epochs=1, init=str(run), seed=1)


# what is refused


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ([make_data()], "two or more data sets; for one, use train"),
        ([make_data(), make_labels(val=0)], "the validation split of chest has no image"),
        ([make_data(), make_data(name="one", train=1)], "one has 1 training images, all with the same class"),
        ([make_data(), make_labels(train=0)], "chest has 0 training images, all with the same labels"),
        ([make_data(), make_data(name="copy")], "copy has the image names and labels of noise, so"),
        ([make_data(), make_data(train=20)], "two data sets are called noise"),
    ],
    ids=["one set", "no val", "one class", "no image", "twice", "one name"],
)
def test_sets_that_cannot_be_learnt_from_are_refused(
    short_pretrain: Make, tmp_path: Path, sets: list[Dataset], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        short_pretrain(data=sets)
    assert not (tmp_path / "backbone").exists()


def test_balanced_sampling_is_refused_and_class_weights_are_each_sets_own(short_pretrain: Make) -> None:
    with pytest.raises(InputError, match="balanced-sampling is not possible with several data sets"):
        short_pretrain(imbalance="balanced-sampling")
    assert load_backbone(short_pretrain(imbalance="class-weights", epochs=1)).provenance["imbalance"]


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, run = str(make_files(tmp_path / "one", images=20)), str(tmp_path / "run")
    lonely, few = make_files(tmp_path / "lonely", images=20), make_files(tmp_path / "few", images=1)
    for file in (lonely / "malignant").iterdir():
        file.unlink()
    common = ["--model", "test_resnet", "--recipe", "quick", "--epochs", "1", "--image-size", "32", "32"]
    common += ["--device", "cpu", "--batch-size", "8", "--out", run]
    for bad in (lonely, few, tmp_path / "nowhere"):
        assert main(["pretrain", one, str(bad), *common]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("medmamba: ")
        assert bad.name in error
        assert not Path(run).exists()
    assert main(["pretrain", one, "phantoms:40", *common]) == 0
    assert capsys.readouterr().out.strip() == run
    assert main(["info", "--checkpoint", run]) == 0
    told = capsys.readouterr().out
    assert "phantoms, binary with 2 classes" in told
    assert "no classes of its own" in told
    picture = str(tmp_path / "one/benign/0.png")
    for verb in (["evaluate", run, one], ["predict", run, picture], ["export", run], ["calibrate", run, one]):
        assert main(verb) == 2
        assert "which has no classes of its own; train from it" in capsys.readouterr().err
    assert main(["train", one, "--init", run, *common[:-1], str(tmp_path / "tuned")]) == 0
