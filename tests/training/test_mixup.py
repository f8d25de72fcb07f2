"""Mixup: what is mixed, what is minimised, and that a run with it repeats and resumes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from noise import make_data, make_images

from medmamba.bundle import load_bundle
from medmamba.data.dataset import ImageSet
from medmamba.data.preprocessing import Preprocessing
from medmamba.tasks import Task
from medmamba.training.checkpoint import load_checkpoint
from medmamba.training.imbalance import TrainingLoss
from medmamba.training.keeper import Keeper
from medmamba.training.mixup import draw_shares, mixed, mixed_loss
from medmamba.training.module import Trainee
from medmamba.training.order import EpochBatches
from medmamba.training.recipe import parse_recipe

Fit = Callable[..., Path]


@pytest.fixture
def mix(tmp_path: Path) -> dict[str, Any]:
    """Options of a run with much mixup."""
    (tmp_path / "mix.yaml").write_text("{lr: 0.01, mixup: 1.0, augment: light}")
    return {"recipe": str(tmp_path / "mix.yaml"), "epochs": 3}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_shares_are_a_function_of_seed_epoch_step_and_rank() -> None:
    where = {"seed": 3, "epoch": 2, "rank": 0}
    shares = draw_shares(0.2, 50, 40, **where)
    assert (shares.dtype, shares.shape) == (torch.float32, (50, 40))
    assert torch.equal(shares, draw_shares(0.2, 50, 40, **where))
    for other in ({"seed": 4}, {"epoch": 3}, {"rank": 1}):
        assert not torch.equal(shares, draw_shares(0.2, 50, 40, **where | other))
    assert len(shares.unique(dim=0)) == 50  # a row of its own for each step
    # of Beta(0.2, 0.2): mean 1/2, variance 1 / (4 (2 alpha + 1))
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.04)
    assert float(shares.var()) == pytest.approx(1 / 5.6, abs=0.02)
    assert 0 <= shares.min() <= shares.max() <= 1


def test_an_image_is_mixed_with_the_one_before_it_and_a_lone_one_with_none() -> None:
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    made = mixed(images, torch.tensor([1.0, 0.25, 0.5]))
    assert made.shape == images.shape
    assert made[:, 0, 0, 0].tolist() == [0.0, 0.25, 1.5]
    assert torch.equal(mixed(images[1:2], torch.tensor([0.3])), images[1:2])


@pytest.mark.parametrize("choice", ["none", "class-weights", "logit-adjustment"])
def test_the_loss_of_mixed_classes_is_that_of_mixed_targets(choice: str) -> None:
    loss = TrainingLoss(Task.MULTICLASS, choice, [5, 20, 75], 100, label_smoothing=0.1)
    generator = torch.Generator().manual_seed(0)
    logits, targets, shares = torch.randn(5, 3, generator=generator), torch.tensor([2, 0, 1, 1, 2]), torch.rand(5)
    partners = targets[[4, 0, 1, 2, 3]]
    made = mixed_loss(loss, logits, targets, shares)
    if choice == "none":
        soft = shares[:, None] * F.one_hot(targets) + (1 - shares)[:, None] * F.one_hot(partners)
        expected = F.cross_entropy(logits, soft, reduction="none", label_smoothing=0.1)
    else:
        expected = shares * loss(logits, targets) + (1 - shares) * loss(logits, partners)
    torch.testing.assert_close(made, expected)


@pytest.mark.parametrize("choice", ["none", "class-weights", "logit-adjustment"])
def test_the_loss_of_mixed_labels_is_that_of_mixed_targets(choice: str) -> None:
    loss = TrainingLoss(Task.MULTILABEL, choice, [5, 20, 75], 100)
    generator = torch.Generator().manual_seed(0)
    logits, shares = torch.randn(4, 3, generator=generator), torch.rand(4)
    targets = torch.randint(0, 2, (4, 3), generator=generator)
    soft = shares[:, None] * targets + (1 - shares)[:, None] * targets[[3, 0, 1, 2]]
    torch.testing.assert_close(mixed_loss(loss, logits, targets, shares), loss(logits, soft))


@pytest.mark.parametrize(("choice", "parts"), [("none", 2), ("balanced-sampling", 1), ("focal", 2)])
def test_a_resumed_run_equals_an_undisturbed_one(short_fit: Fit, mix: dict[str, Any], choice: str, parts: int) -> None:
    """21 images in batches of 8, so that batches, parts of them and the last one have odd sizes too."""
    save = Keeper.save

    def save_and_die(self: Keeper, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]
        if len(self.history) == 1:
            raise ConnectionError("power cut")

    options = {"data": make_data(21), "imbalance": choice, "accumulate": parts, **mix}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "save", save_and_die)
        with pytest.raises(ConnectionError):
            short_fit("cut", **options)
    whole, cut = short_fit("whole", **options), short_fit("cut", resume=True, **options)
    assert same(load_checkpoint(whole)["net"], load_checkpoint(cut)["net"])
    assert (whole / "history.csv").read_text() == (cut / "history.csv").read_text()


def test_alpha_decides_and_is_recorded(short_fit: Fit, mix: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text("{lr: 0.01, augment: light}")
    some, none = short_fit("some", **mix), short_fit("none", **{**mix, "recipe": str(tmp_path / "plain.yaml")})
    assert not same(load_checkpoint(some)["net"], load_checkpoint(none)["net"])
    assert load_bundle(some).provenance["recipe"]["mixup"] == 1.0
    assert "mixup" not in load_bundle(none).provenance["recipe"]  # as in records of before there was any
    assert "mixup 1.0" in (some / "log.txt").read_text()


def test_several_labels_are_mixed_too(short_fit: Fit, mix: dict[str, Any]) -> None:
    def split(n: int, seed: int) -> ImageSet:
        targets = (np.random.default_rng(seed).random((n, 3)) < 0.4).astype(np.int64)
        return ImageSet(tuple(map(str, range(n))), targets, array=make_images(n, seed).array)

    splits = {"train": lambda: split(17, 0), "val": lambda: split(8, 1)}
    run = short_fit(data=make_data(classes=3, task=Task.MULTILABEL, splits=splits), **{**mix, "epochs": 1})
    assert load_bundle(run).provenance["epochs"] == 1


def test_a_step_minimises_the_loss_of_the_mixed_images() -> None:
    net = timm.create_model("test_vit", num_classes=2, img_size=32).eval()
    module = Trainee(
        net,
        recipe=parse_recipe("mixup: 0.5", name="x"),
        training_loss=TrainingLoss(Task.BINARY, "none", [3, 2], 5),
        preprocessing=Preprocessing(height=32, width=32),
        order=EpochBatches(5, 5, seed=0),
        seed=0,
    )
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    targets, shares = torch.tensor([0, 1, 0, 0, 1]), torch.tensor([1.0, 0.9, 0.5, 0.2, 0.0])
    before = [4, 0, 1, 2, 3]
    mix = shares[:, None, None, None] * pixels + (1 - shares)[:, None, None, None] * pixels[before]
    logits = net((mix / 255 - 0.5) / 0.5)
    soft = shares[:, None] * F.one_hot(targets) + (1 - shares)[:, None] * F.one_hot(targets[before])
    expected = F.cross_entropy(logits, soft, reduction="none")
    torch.testing.assert_close(module._batch_losses(pixels, targets, shares), expected, atol=1e-5, rtol=1e-4)
