"""Rare classes: weights, draws, and whole runs on 200 images of one class and 10 of the other (F052)."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from noise import SHORT, make_data, make_images
from sklearn.utils.class_weight import compute_class_weight

import medmamba
from medmamba.bundle import load_bundle, read_weights
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.preprocessing import Preprocessing
from medmamba.errors import InputError
from medmamba.tasks import Task
from medmamba.training import fit, history, keeper
from medmamba.training.checkpoint import load_checkpoint
from medmamba.training.imbalance import CAP, CHOICES, TrainingLoss, class_weights, log_imbalance, prior_logits
from medmamba.training.keeper import Keeper
from medmamba.training.loader import Images, make_loader
from medmamba.training.order import EpochBatches
from medmamba.training.recipe import load_recipe
from medmamba.training.resident import ResidentBatches

SHAPE = Preprocessing(height=16, width=16)
RARE = np.array([0] * 40 + [1] * 7 + [3] * 3)  # class 2 has no image
SHIFTING = ("class-weights", "balanced-sampling", "logit-adjustment")


def draw(epoch: int = 0, seed: int = 0, **options: int) -> list[list[tuple[int, ...]]]:
    return list(EpochBatches(len(RARE), 25, seed=seed, epoch=epoch, balance=RARE, **options))


def indices(batches: list[list[tuple[int, ...]]]) -> list[int]:
    return [key[1] for batch in batches for key in batch]


# what is computed from counts


def test_class_weights_are_scikit_learns_and_their_mean_is_one() -> None:
    counts = np.bincount(RARE, minlength=4)
    weights = class_weights(Task.MULTICLASS, counts, len(RARE))
    expected = compute_class_weight("balanced", classes=np.unique(RARE), y=RARE)
    np.testing.assert_allclose(weights[[0, 1, 3]], expected, rtol=1e-15)
    assert weights[2] == 0
    assert weights[RARE].mean() == pytest.approx(1)


def test_weights_of_labels_are_negatives_by_positives_up_to_a_cap() -> None:
    weights = class_weights(Task.MULTILABEL, [500, 100, 2, 0, 1000], 1000)
    np.testing.assert_allclose(weights, [1, 9, CAP, CAP, 1 / 1000])


def test_priors_are_logarithms_of_shares_and_never_infinite() -> None:
    np.testing.assert_allclose(prior_logits(Task.MULTICLASS, [6, 2, 0], 8), np.log([6 / 8, 2 / 8, 1 / 8]))
    labels = prior_logits(Task.MULTILABEL, [6, 2, 0, 8], 8)
    np.testing.assert_allclose(labels, np.log([6 / 2, 2 / 6, 1 / 7, 7 / 1]))


def test_tensors_of_the_loss_are_not_kept_with_the_weights() -> None:
    for choice in CHOICES:
        criterion = TrainingLoss(Task.BINARY, choice, [9, 1], 10)
        assert not criterion.state_dict()
        assert not list(criterion.parameters())
        assert len(list(criterion.buffers())) == (choice in ("class-weights", "logit-adjustment"))


@pytest.mark.parametrize(
    ("task", "counts", "choice", "words"),
    [
        (Task.BINARY, {"a": 100, "b": 10}, "none", None),
        (Task.BINARY, {"a": 100, "b": 9}, "none", "unbalanced: 9 images of b, 100 of a; .* consider --imbalance"),
        (Task.BINARY, {"a": 100, "b": 9}, "focal", None),
        (Task.MULTICLASS, {"a": 100, "b": 0, "c": 50}, "none", "no image of the class b"),
        (Task.MULTICLASS, {"a": 100, "b": 0, "c": 50}, "class-weights", "no image of the class b"),
        (Task.MULTILABEL, {"a": 10, "b": 9}, "none", "9 of 100 images carry b; .* consider --imbalance"),
        (Task.MULTILABEL, {"a": 90, "b": 10}, "none", None),
    ],
)
def test_rare_and_missing_classes_are_warned_of(
    task: Task, counts: dict[str, int], choice: str, words: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    log_imbalance(choice, task, counts, 100 if task is Task.MULTILABEL else sum(counts.values()))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (words is not None)
    assert words is None or re.search(words, warnings[0])


def test_the_weights_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    log_imbalance("class-weights", Task.BINARY, {"healthy": 200, "sick": 10}, 210)
    assert "class weights: healthy 0.525, sick 10.5" in caplog.text


# the order of a balanced epoch


def test_classes_and_the_images_of_each_are_drawn_equally_often() -> None:
    for epoch in range(5):
        drawn = indices(draw(epoch))
        assert len(drawn) == len(RARE)
        per_class = Counter(RARE[drawn].tolist())
        assert set(per_class) == {0, 1, 3}
        assert max(per_class.values()) - min(per_class.values()) <= 1
        for name in per_class:
            of_each = Counter(index for index in drawn if RARE[index] == name)
            times = [of_each.get(int(index), 0) for index in np.flatnonzero(name == RARE)]
            assert max(times) - min(times) <= 1
    assert len({index for epoch in range(30) for index in indices(draw(epoch))}) == len(
        RARE
    )  # none is left out for good
    most = {Counter(RARE[indices(draw(epoch))].tolist()).most_common()[-1][0] for epoch in range(30)}
    assert most == {0, 1, 3}  # 50 = 17 + 17 + 16, and the 16 goes round


def test_a_balanced_order_depends_on_seed_and_epoch_alone() -> None:
    batches = EpochBatches(len(RARE), 25, seed=3, balance=RARE)
    list(batches)
    torch.rand(100)
    batches.epoch = 4
    assert list(batches) == draw(4, 3)
    assert draw(4, 3) != draw(5, 3)
    assert indices(draw(4, 3)) != indices(draw(5, 3))
    assert indices(draw(4, 3)) != indices(draw(4, 2))


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_and_parts_share_the_draws_of_one_process(processes: int) -> None:
    alone = draw()
    shares = [draw(rank=rank, processes=processes, parts=2) for rank in range(processes)]
    assert len(shares[0]) == 2 * len(alone)
    for number, batch in enumerate(alone):
        assert sorted(batch) == sorted(key for share in shares for key in [*share[2 * number], *share[2 * number + 1]])


def test_no_two_draws_of_an_epoch_share_random_numbers() -> None:
    keys = [key for batch in draw() for key in batch]
    assert sorted(key[-1] for key in keys) == list(range(len(RARE)))
    first = {key[1] for key in keys if len(key) == 2}
    assert first == {key[1] for key in keys}  # the first draw of an image has its own


@pytest.mark.parametrize("on_gpu", [False, True], ids=["loader", "resident"])
def test_an_image_that_is_drawn_again_is_augmented_anew(on_gpu: bool) -> None:
    source = make_images(len(RARE), side=16)
    source = ImageSet(source.names, RARE, array=source.array)

    def seen(batches: EpochBatches) -> dict[int, set[bytes]]:
        images = Images(source, SHAPE, augment="light", seed=1)
        assert images.cache is not None
        made = (
            ResidentBatches(images.cache, images.targets, batches, augment="light", seed=1)
            if on_gpu
            else make_loader(images, batches, workers=0, pinned=False)
        )
        pictures: dict[int, set[bytes]] = {}
        for pixels, targets, rows in made:
            assert targets.tolist() == RARE[rows].tolist()
            for image, row in zip(pixels, rows.tolist(), strict=True):
                pictures.setdefault(row, set()).add(image.numpy().tobytes())
        return pictures

    batches = EpochBatches(len(RARE), 25, seed=3, epoch=2, balance=RARE)
    pictures = seen(batches)
    times = Counter(indices(list(batches)))
    assert max(times.values()) > 4
    assert {row: len(images) for row, images in pictures.items()} == dict(times)
    assert seen(batches) == pictures


# what a run does with it


def rare_split(negatives: int, positives: int, seed: int) -> ImageSet:
    """Noise, and for positives brighter noise."""
    targets = np.array([0] * negatives + [1] * positives)
    pixels = np.random.default_rng(seed).integers(0, 120, (len(targets), 16, 16)) + 60 * targets[:, None, None]
    return ImageSet(tuple(f"{seed}/{i}" for i in range(len(targets))), targets, array=pixels.astype(np.uint8))


def rare_data() -> Dataset:
    splits = {"train": lambda: rare_split(200, 10, 0), "val": lambda: rare_split(40, 10, 1)}
    return make_data(splits=splits, classes=2)


def rare_run(folder: Path, choice: str, epochs: int = 4) -> Path:
    """The smallest sibling of nano, with a seed for which a plain run of four epochs finds no positive."""
    small = {"model": "medmamba_nano", "model_args": {"depths": (1, 1), "widths": (32, 64)}, "batch_size": 32}
    shape = {"image_size": (16, 16), "channels": 1, "epochs": epochs, "seed": 2}
    return fit(rare_data(), out=folder / choice, config=SHORT, imbalance=choice, **small, **shape)


def test_f052_a_plain_run_warns_and_says_how_each_class_fared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run = rare_run(tmp_path, "none", epochs=1)
    assert "unbalanced: 10 images of malignant, 200 of benign" in caplog.text
    assert "consider --imbalance class-weights" in caplog.text
    assert "train: benign 200, malignant 10" in caplog.text
    rows = load_bundle(run).provenance["validation"]["per_class"]
    assert [(row["name"], row["n"]) for row in rows] == [("benign", 40), ("malignant", 10)]
    scores = medmamba.load(run, device="cpu").scores(rare_split(40, 10, 1))
    found = (scores[40:, 1] >= 0.5).mean()
    assert rows[1]["sensitivity"] == found
    assert f"malignant {found:.2f} (n 10)" in caplog.text
    assert f"| malignant | 10 | 10 | {found:.2f} |" in (run / "card.md").read_text()
    assert "rare classes" not in (run / "card.md").read_text()


@pytest.mark.parametrize("choice", SHIFTING)
def test_f052_with_an_option_held_out_positives_are_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, choice: str
) -> None:
    run = rare_run(tmp_path, choice)
    assert "unbalanced" not in caplog.text
    scores = medmamba.load(run, device="cpu").scores(rare_split(40, 20, 2))
    assert (scores[40:, 1] >= 0.5).mean() >= 0.8
    assert (scores[:40, 1] < 0.5).mean() >= 0.8
    assert load_bundle(run).provenance["imbalance"] == f"{choice}: {CHOICES[choice]}"
    assert CHOICES[choice] in (run / "card.md").read_text()


def test_f052_the_focal_loss_finds_them_with_more_epochs(tmp_path: Path) -> None:
    """It looks at what is hard, rare or not, and so does not shift the decision by itself."""
    scores = medmamba.load(rare_run(tmp_path, "focal", 8), device="cpu").scores(rare_split(40, 20, 2))
    assert (scores[40:, 1] >= 0.5).mean() >= 0.8


def test_the_validation_loss_is_the_plain_one_whatever_is_trained(short_fit: Callable[..., Path]) -> None:
    runs = {
        choice: np.genfromtxt(
            short_fit(choice, rare_data(), imbalance=choice, lr=1e-12, epochs=1) / "history.csv",
            delimiter=",",
            names=True,
        )
        for choice in ("none", "class-weights", "focal", "logit-adjustment")
    }
    plain = runs.pop("none")
    for choice, row in runs.items():
        assert row["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-6), choice
        assert abs(row["train_loss"] / plain["train_loss"] - 1) > 0.01, choice


def cut_after_one_epoch(run: Callable[[], Path]) -> None:
    save = Keeper.save

    def save_and_die(self: Keeper, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]
        if len(self.history) == 1:
            raise ConnectionError("power cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "save", save_and_die)
        with pytest.raises(ConnectionError):
            run()


@pytest.mark.parametrize("choice", list(CHOICES)[1:])
@pytest.mark.parametrize("on_gpu", [False, True], ids=["loader", "resident"])
def test_a_resumed_run_equals_an_undisturbed_one(
    short_fit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, choice: str, on_gpu: bool
) -> None:
    if on_gpu:
        monkeypatch.setattr(Images, "resident", property(lambda self: self.cache is not None))
    train = ImageSet(make_images(24).names, np.array([0] * 20 + [1] * 4), array=make_images(24).array)
    data = make_data(splits={"train": lambda: train, "val": lambda: make_images(11, 1)})
    options = {"data": data, "augment": "light", "epochs": 3, "imbalance": choice}
    cut_after_one_epoch(lambda: short_fit("cut", **options))
    whole, cut = short_fit("whole", **options), short_fit("cut", resume=True, **options)
    states = [load_checkpoint(run)["net"] for run in (whole, cut)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    weights = [read_weights(run) for run in (whole, cut)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_figures_of_the_best_epoch_survive_a_resume_that_brings_no_better_one(
    short_fit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (keeper, history):
        monkeypatch.setattr(module, "is_better", lambda new, old: old is None)
    cut_after_one_epoch(lambda: short_fit("cut"))
    runs = [short_fit("whole"), short_fit("cut", resume=True)]
    kept = [load_bundle(run).provenance["validation"]["per_class"] for run in runs]
    assert [row["n"] for row in kept[0]] == [6, 5]
    assert kept[0] == kept[1]


def test_resuming_with_another_choice_is_refused(short_fit: Callable[..., Path]) -> None:
    short_fit(epochs=1)
    with pytest.raises(InputError, match=r"recipe\.imbalance was 'none' and is 'focal'"):
        short_fit(epochs=1, resume=True, imbalance="focal")


def test_a_recipe_may_choose_and_an_option_overrules_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("imbalance: class-weights")
    assert load_recipe(str(file)).imbalance == "class-weights"
    assert load_recipe(str(file), imbalance="none").imbalance == "none"
    with pytest.raises(InputError, match=r"imbalance 'class-weight' is unknown; .* did you mean 'class-weights'"):
        load_recipe("quick", imbalance="class-weight")


def test_several_labels_are_not_drawn_equally_often_and_nothing_is_read(tmp_path: Path) -> None:
    def unread() -> ImageSet:
        raise AssertionError("data was read")

    data = make_data(classes=3, task=Task.MULTILABEL, splits={"train": unread, "val": unread})
    with pytest.raises(InputError, match=r"balanced-sampling .* choose class-weights, focal or logit-adjustment"):
        fit(data, out=tmp_path / "run", config=SHORT, imbalance="balanced-sampling")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("choice", ["class-weights", "focal", "logit-adjustment"])
def test_labels_train_with_each_other_choice(short_fit: Callable[..., Path], choice: str) -> None:
    def split(n: int, seed: int) -> ImageSet:
        targets = (np.random.default_rng(seed).random((n, 3)) < 0.2).astype(np.int64)
        return ImageSet(tuple(map(str, range(n))), targets, array=make_images(n, seed).array)

    splits = {"train": lambda: split(16, 0), "val": lambda: split(8, 1)}
    run = short_fit(data=make_data(classes=3, task=Task.MULTILABEL, splits=splits), imbalance=choice, epochs=1)
    rows = load_bundle(run).provenance["validation"]["per_class"]
    assert [row["n"] for row in rows] == split(8, 1).targets.sum(axis=0).tolist()
