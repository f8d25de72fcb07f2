"""Whole runs, seconds long."""

import csv
import json
import logging
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from noise import SHORT, make_data, make_images
from PIL import Image
from torch import Tensor

import medmamba
from medmamba.bundle import load_bundle, read_weights
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.settings import Reading
from medmamba.errors import InputError
from medmamba.tasks import Task
from medmamba.training import TrainConfig, TrainingError, fit, resume
from medmamba.training.checkpoint import load_checkpoint
from medmamba.training.keeper import Keeper
from medmamba.training.module import Trainee

Fit = Callable[..., Path]


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def equal(one: Path, other: Path) -> bool:
    first, second = read_weights(one), read_weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def cut_after(epochs: int, run: Callable[[], Path]) -> None:
    """Break off a run, as a power cut would, once so many epochs are saved."""
    save = Keeper.save

    def save_and_die(self: Keeper, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]
        if len(self.history) == epochs:
            raise ConnectionError("power cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "save", save_and_die)
        with pytest.raises(ConnectionError):
            run()


def test_a_run_leaves_a_complete_bundle_that_predicts(short_fit: Fit) -> None:
    run = short_fit()
    names = {path.name for path in run.iterdir()}
    assert names == {
        "bundle.json", "card.md", "curves.png", "history.csv", "log.txt", "resume.ckpt", "resume.previous.ckpt",
        "weights.safetensors",
    }  # fmt: skip
    classifier = medmamba.load(run, device="cpu")
    assert classifier.scores(make_images(5)).shape == (5, 2)
    provenance = load_bundle(run).provenance
    assert provenance["ended"] == "finished"
    assert provenance["validation"]["n"] == 11
    assert provenance["epochs"] == 2


def test_the_kept_weights_are_those_whose_validation_auc_is_recorded(short_fit: Fit) -> None:
    run = short_fit(epochs=4, lr=0.02)
    bundle = load_bundle(run)
    images = make_images(11, 1)
    area = medmamba.metrics.auc(bundle.task, medmamba.load(run, device="cpu").scores(images), images.targets, 1)
    best = max(float(row["val_auc"]) for row in rows(run))
    assert bundle.provenance["validation"]["auc"] == area == best


def test_an_epoch_of_the_last_part_is_kept_where_the_recipe_says_so(short_fit: Fit, tmp_path: Path) -> None:
    recipe = tmp_path / "late.yaml"
    recipe.write_text("{lr: 0.05, choose_from: 0.75}")  # at this rate the last epoch is not the best by itself
    run = short_fit(recipe=str(recipe), epochs=4, lr=0.05)
    assert [row["settled"] for row in rows(run)] == ["False", "False", "False", "True"]
    assert load_bundle(run).provenance["best_epoch"] == 4


def test_c05_the_test_split_is_never_opened(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            dark = 7 * (split == "val") + 3 * (name == "b")
            for index in range(4):
                file = tmp_path / "data" / split / name / f"{index}.png"
                if split == "test":
                    file.write_bytes(b"nobody may read this")
                else:
                    Image.fromarray(np.full((8, 8), index * 20 + dark, np.uint8)).save(file)
    run = fit(tmp_path / "data", out=tmp_path / "run", config=SHORT)
    assert len(rows(run)) == 2


def test_f021_seventeen_images_in_batches_of_sixteen(short_fit: Fit, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run = short_fit(data=make_data(17), model="medmamba_nano", batch_size=16, epochs=1)
    assert rows(run)[0]["images"] == "17"
    assert "17 images" in caplog.text
    assert medmamba.load(run, device="cpu").scores(make_images(17), batch_size=16).shape == (17, 2)


def test_f010_the_backend_is_in_the_log_and_in_the_record(short_fit: Fit, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run = short_fit(epochs=1)
    backend = load_bundle(run).provenance["backend"]
    assert f"scan backend {backend} on cpu" in caplog.text
    assert f"scan backend {backend} on cpu" in (run / "log.txt").read_text()


def test_f008_a_backend_that_does_not_exist_is_refused_before_data_is_read(tmp_path: Path) -> None:
    with (
        pytest.raises(medmamba.ops.BackendError),
        medmamba.ops.use_backend("mamba_ssm"),
    ):
        fit(tmp_path / "no data", out=tmp_path / "run", config=SHORT)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cuda:99"}, "cuda:99"),
        ({"device": "toaster"}, "toaster"),
        ({"precision": "16-mixed"}, "16-mixed needs a CUDA device"),
        ({"recipe": "quik"}, "did you mean 'quick'"),
        ({"batch_size": 3, "devices": 2}, "batch size 3 is too small for 2 processes"),
        ({"frame": "all"}, "one frame a file, not on all"),
        ({"window": "lungs"}, "did you mean 'lung'"),
    ],
)
def test_what_is_impossible_is_refused_before_data_is_read(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    def unread() -> ImageSet:
        raise AssertionError("data was read")

    data = make_data(splits={"train": unread, "val": unread})
    with pytest.raises(InputError, match=words):
        fit(data, out=tmp_path / "run", config=SHORT, **options)
    assert not (tmp_path / "run").exists()


def test_an_unreadable_image_leaves_nothing_behind(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(8):
            (tmp_path / "data" / name / f"{index}.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"\.png"):
        fit(tmp_path / "data", out=tmp_path / "run", config=SHORT)
    assert not (tmp_path / "run").exists()


def test_made_splits_are_written_and_are_a_table_that_opens_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(12):
            Image.fromarray(np.full((8, 8), index + 20 * (name == "b"), np.uint8)).save(
                tmp_path / "data" / name / f"{index}.png"
            )
    run = fit(tmp_path / "data", out=tmp_path / "run", config=SHORT, epochs=1)
    again = medmamba.open_data(run / "splits.csv", allow=("outside-folder",))
    first = medmamba.open_data(tmp_path / "data", seed=SHORT.seed)
    assert np.array_equal(again.split("train").targets, first.split("train").targets)
    assert "made here, seed 0" in load_bundle(run).provenance["data"]["splits"]


def test_a_folder_in_use_is_refused(short_fit: Fit) -> None:
    short_fit(epochs=1)
    with pytest.raises(InputError, match="holds a run already"):
        short_fit(epochs=1)


def test_no_labels_of_rare_classes_pass_unmentioned(short_fit: Fit, caplog: pytest.LogCaptureFixture) -> None:
    train = make_images(24)
    train = ImageSet(train.names, np.array([0] * 22 + [1] * 2), array=train.array)
    data = make_data(splits={"train": lambda: train, "val": lambda: make_images(4, 1)})
    run = short_fit(data=data, epochs=1)
    assert "unbalanced: 2 images of malignant, 22 of benign" in caplog.text
    assert load_bundle(run).provenance["data"]["counts"]["train"] == {"benign": 22, "malignant": 2}


def test_without_an_auc_the_loss_decides_and_the_log_says_so(short_fit: Fit, caplog: pytest.LogCaptureFixture) -> None:
    one_class = ImageSet(("a", "b"), np.array([0, 0]), array=make_images(2, 1).array)
    data = make_data(splits={"train": lambda: make_images(24), "val": lambda: one_class})
    run = short_fit(data=data)
    assert "define no AUC" in caplog.text
    losses = [float(row["val_loss"]) for row in rows(run)]
    assert load_bundle(run).provenance["best_epoch"] == 1 + losses.index(min(losses))
    assert load_bundle(run).provenance["validation"]["auc"] is None


def test_multi_label_data_trains(short_fit: Fit) -> None:
    def split(n: int, seed: int) -> ImageSet:
        targets = np.random.default_rng(seed).integers(0, 2, (n, 3))
        return ImageSet(tuple(map(str, range(n))), targets, array=make_images(n, seed).array)

    splits = {"train": lambda: split(16, 0), "val": lambda: split(8, 1)}
    data = make_data(classes=3, task=Task.MULTILABEL, splits=splits)
    run = short_fit(data=data)
    assert medmamba.load(run, device="cpu").scores(split(4, 2)).shape == (4, 3)


def test_f075_how_files_are_read_is_kept_with_the_model(short_fit: Fit) -> None:
    run = short_fit(window="-650,1500", frame="middle", max_pixels=10**6)
    assert load_bundle(run).preprocessing.reading == Reading("-650,1500", "middle", 10**6)


def test_f017_height_and_width_keep_their_order(short_fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    step = Trainee.training_step

    def watch(self: Trainee, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        seen.append(tuple(batch[0].shape[1:]))
        return step(self, batch, index)

    monkeypatch.setattr(Trainee, "training_step", watch)
    run = short_fit(image_size=(32, 64), epochs=1)
    assert set(seen) == {(3, 32, 64)}
    shape = load_bundle(run).preprocessing
    assert (shape.height, shape.width) == (32, 64)


def test_f013_one_seed_gives_one_result_and_another_seed_another(short_fit: Fit) -> None:
    runs = [short_fit(str(i), model="medmamba_nano", epochs=1, deterministic=i < 2, seed=i // 2) for i in range(3)]
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])
    assert not torch.are_deterministic_algorithms_enabled()


def test_early_stopping_waits_for_the_patience(short_fit: Fit, tmp_path: Path) -> None:
    recipe = tmp_path / "impatient.yaml"
    recipe.write_text("{epochs: 50, batch_size: 8, lr: 1.0e-12, patience: 2}")
    run = short_fit(recipe=str(recipe), epochs=50)
    provenance = load_bundle(run).provenance
    assert len(rows(run)) == provenance["best_epoch"] + 2 < 50
    assert provenance["ended"].startswith("finished early")


def test_a_resumed_run_equals_an_undisturbed_one(short_fit: Fit) -> None:
    options = {"config": TrainConfig(**{**SHORT.__dict__, "recipe": "small", "epochs": 3, "augment": "light"})}
    whole = short_fit("whole", **options)
    cut_after(1, lambda: short_fit("cut", **options))
    cut = whole.parent / "cut"
    assert load_bundle(cut).provenance["ended"] == "not finished"  # and yet a usable bundle
    assert resume(cut, data=make_data()) == cut
    assert [row["epoch"] for row in rows(cut)] == ["1", "2", "3"]
    assert (cut / "history.csv").read_text() == (whole / "history.csv").read_text()
    assert equal(whole, cut)
    states = [load_checkpoint(run) for run in (whole, cut)]
    assert all(torch.equal(states[0]["net"][name], states[1]["net"][name]) for name in states[0]["net"])
    assert "resuming after epoch 1" in (cut / "log.txt").read_text()


def test_a_run_killed_in_its_first_epoch_can_be_resumed(short_fit: Fit) -> None:
    whole = short_fit("whole")
    cut_after(0, lambda: short_fit("cut"))
    cut = short_fit("cut", resume=True)
    assert equal(whole, cut)


def test_a_run_that_saves_seldom_saves_the_best_epoch_and_resumes_from_it(
    short_fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"epochs": 6, "lr": 0.05}
    whole = short_fit("whole", **options)
    best = load_bundle(whole).provenance["best_epoch"]
    assert best < 5, "the test needs epochs after the best one"

    def end(tensor: Tensor) -> Tensor:
        signal.raise_signal(signal.SIGTERM)
        return tensor

    with monkeypatch.context() as patch:
        break_step(patch, 3 * 5 + 1, end)  # 3 steps an epoch: in the last one
        cut = short_fit("cut", save_seconds=1000, **options)
    assert len(rows(cut)) == 5
    assert len(load_checkpoint(cut)["history"]) == best
    assert equal(short_fit("cut", resume=True, **options), whole)
    assert (cut / "history.csv").read_text() == (whole / "history.csv").read_text()
    assert len(load_checkpoint(cut)["history"]) == 6


def test_resuming_with_other_options_or_data_is_refused_by_name(short_fit: Fit) -> None:
    run = short_fit()
    with pytest.raises(InputError, match="seed was 0 and is 1"):
        short_fit(resume=True, seed=1)
    with pytest.raises(InputError, match="fingerprint of the data was"):
        short_fit(resume=True, data=make_data(25))
    with pytest.raises(InputError, match="give it again as data="):
        resume(run)
    short_fit(resume=True, workers=1)  # finished, and workers change nothing


def test_resuming_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no resume\.ckpt"):
        resume(tmp_path)


def break_step(monkeypatch: pytest.MonkeyPatch, at: int, action: Callable[[Tensor], Tensor]) -> None:
    """Change the loss of step `at`, counted from 1 over the run."""
    step, count = Trainee.training_step, iter(range(1, 10_000))

    def broken(self: Trainee, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        if next(count) == at:
            for parameter in self.net.parameters():
                parameter.data = action(parameter.data)
        return step(self, batch, index)

    monkeypatch.setattr(Trainee, "training_step", broken)


def test_f012_a_loss_that_is_not_finite_stops_with_the_step_and_keeps_the_best(
    short_fit: Fit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    break_step(monkeypatch, 5, lambda tensor: tensor * torch.nan)  # 3 steps an epoch: step 5 is in epoch 2
    with pytest.raises(TrainingError, match=r"nan at step 5 \(epoch 2\); .* keeps the weights of epoch 1"):
        short_fit()
    run = tmp_path / "run"
    assert all(torch.isfinite(tensor).all() for tensor in read_weights(run).values() if tensor.is_floating_point())
    assert "nan at step 5" in load_bundle(run).provenance["ended"]
    assert "NaN" not in (run / "bundle.json").read_text()


def test_f012_in_the_first_epoch_there_is_nothing_to_keep(short_fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    break_step(monkeypatch, 2, lambda tensor: tensor * torch.inf)
    with pytest.raises(TrainingError, match="before the first epoch was finished"):
        short_fit()


@pytest.mark.parametrize(("number", "words"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")], ids=str)
def test_a_run_that_is_told_to_end_leaves_a_bundle_that_says_so_and_can_be_resumed(
    number: signal.Signals,
    words: str,
    short_fit: Fit,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with it ignored
    whole = short_fit("whole")

    def press(tensor: Tensor) -> Tensor:
        signal.raise_signal(number)
        return tensor

    with monkeypatch.context() as patch:
        break_step(patch, 5, press)
        run = short_fit("cut")
    assert f"stopped by {words}" in caplog.text
    assert load_bundle(run).provenance["ended"] == f"stopped by {words}"
    assert len(rows(run)) == 1
    medmamba.load(run, device="cpu")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert equal(short_fit("cut", resume=True), whole)


def test_ctrl_c_in_the_first_epoch_keeps_nothing(short_fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(tensor: Tensor) -> Tensor:
        raise KeyboardInterrupt

    break_step(monkeypatch, 1, press)
    with pytest.raises(TrainingError, match="stopped by Ctrl-C before the first epoch"):
        short_fit()


def test_the_log_is_quiet_about_lightning(short_fit: Fit, capfd: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger("medmamba").level
    short_fit(epochs=1, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "GPU available" not in err
    assert "Tip" not in err
    assert logging.getLogger("medmamba").level == before


def test_a_path_is_resumed_without_naming_the_data_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(12):
            Image.fromarray(np.full((8, 8), index + 20 * (name == "b"), np.uint8)).save(
                tmp_path / "data" / name / f"{index}.png"
            )
    monkeypatch.chdir(tmp_path)
    cut_after(1, lambda: fit("data", out="run", config=SHORT))
    monkeypatch.chdir("/")
    assert len(rows(resume(tmp_path / "run", progress=False))) == 2


def test_f006_training_and_prediction_work_on_the_cpu(tmp_path: Path) -> None:
    data = make_data(40, 10)
    run = fit(data, out=tmp_path / "run", config=SHORT, model="medmamba_nano", image_size=(64, 64), epochs=2)
    assert all(np.isfinite(float(row["train_loss"])) for row in rows(run))


def test_bundle_json_holds_no_name_of_this_machine(short_fit: Fit) -> None:
    import socket

    text = (short_fit(epochs=1) / "bundle.json").read_text()
    assert json.loads(text)["provenance"]["versions"]["medmamba"] == medmamba.__version__
    assert socket.gethostname() not in text


def test_f005_auto_falls_back_to_the_cpu_when_mps_fails(short_fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = short_fit("cpu", epochs=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr("medmamba.training.plan.scan_backend", lambda device: "chunked")
    run = short_fit("auto", epochs=1, device="auto")
    assert load_bundle(run).provenance["device"] == "cpu"
    assert equal(run, expected)


def test_a_data_set_without_a_validation_split_is_refused(tmp_path: Path) -> None:
    data: Dataset = make_data(splits={"train": lambda: make_images(8)})
    with pytest.raises(InputError, match="no split 'val'"):
        fit(data, out=tmp_path / "run", config=SHORT)


def test_each_epoch_has_an_order_of_its_own(short_fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    orders: dict[int, list[int]] = {}
    step = Trainee.training_step

    def watch(self: Trainee, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        orders.setdefault(self.epoch, []).extend(batch[2].tolist())
        return step(self, batch, index)

    monkeypatch.setattr(Trainee, "training_step", watch)
    short_fit(epochs=3)
    assert [sorted(order) for order in orders.values()] == [list(range(24))] * 3
    assert len({tuple(order) for order in orders.values()}) == 3


@pytest.mark.parametrize("channels", [1, 3])
def test_f019_grey_images_train_with_one_channel_and_with_three(short_fit: Fit, channels: int) -> None:
    run = short_fit(channels=channels, epochs=1)
    assert read_weights(run)["conv1.0.weight"].shape[1] == channels
    assert medmamba.load(run, device="cpu").scores(make_images(3)).shape == (3, 2)


def test_validation_images_that_are_in_train_stop_a_run_unless_they_are_few_or_allowed(
    short_fit: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train, val = make_images(40), make_images(40, 1, name="val")

    def leaking(count: int) -> Dataset:
        array = val.array.copy()
        array[:count] = train.array[:count]
        return make_data(splits={"train": lambda: train, "val": lambda: ImageSet(val.names, val.targets, array=array)})

    with pytest.raises(InputError, match=r"3 of 40 validation images are byte for byte .* --allow leaked-images"):
        short_fit(data=leaking(3), epochs=1)
    assert not (tmp_path / "run").exists()
    run = short_fit(data=leaking(3), epochs=1, allow=["leaked-images"])
    assert "**Trained in spite of: leaked-images: 3 of 40 validation images" in (run / "card.md").read_text()
    assert "2 of 40 validation images" not in caplog.text
    run = short_fit("other", data=leaking(2), epochs=1)
    assert "2 of 40 validation images" in caplog.text
    assert "in spite of" not in (run / "card.md").read_text()
