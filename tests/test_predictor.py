import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import medmamba
from medmamba.bundle import Bundle
from medmamba.data.dataset import ImageSet
from medmamba.data.preprocessing import Preprocessing
from medmamba.data.settings import Reading
from medmamba.errors import InputError
from medmamba.predictor import Classifier
from medmamba.tasks import Task

BUNDLE = Bundle(
    model="test_resnet",
    task=Task.MULTICLASS,
    classes=("zebra", "ant", "bee"),
    preprocessing=Preprocessing(height=32, width=32),
)


def save(folder: Path, bundle: Bundle = BUNDLE) -> Path:
    torch.manual_seed(0)
    model = bundle.build_model()
    torch.nn.init.normal_(model.get_classifier().weight, std=2.0)  # type: ignore[operator]
    bundle.save(folder, model.state_dict())
    return folder


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    return medmamba.load(save(tmp_path / "run"), device="cpu")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    files = [tmp_path / "pictures" / f"{index}.png" for index in range(7)]
    files[0].parent.mkdir()
    for file in files:
        Image.fromarray(rng.integers(0, 255, (20, 30), dtype=np.uint8)).save(file)
    return files


def test_f058_files_folders_globs_and_lists(classifier: Classifier, pictures: list[Path], tmp_path: Path) -> None:
    nested = tmp_path / "nested" / "deep"
    nested.mkdir(parents=True)
    for file in pictures:
        (nested / file.name).write_bytes(file.read_bytes())
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join([*map(str, pictures), str(tmp_path / "missing.png")]))
    assert len(classifier.predict([pictures[0].parent])) == 7
    assert len(classifier.predict([tmp_path / "nested"])) == 7
    assert len(classifier.predict(pictures[0])) == 1
    assert len(classifier.predict([f"{pictures[0].parent}/*.png"])) == 7
    from_list = classifier.predict([listing])
    assert [answer.error is None for answer in from_list] == [True] * 7 + [False]
    assert "missing.png" in str(from_list[-1].error)


def test_rows_come_in_the_order_given_whatever_the_batch_size(classifier: Classifier, pictures: list[Path]) -> None:
    broken = pictures[0].parent / "broken.png"
    broken.write_bytes(b"no picture")
    order = [pictures[3], broken, pictures[0], pictures[6], pictures[3]]
    runs = [classifier.predict(order, batch_size=size) for size in (1, 2, 3, 100)]
    for answers in runs:
        assert [answer.file for answer in answers] == [str(path) for path in order]
        assert answers[1].label is None
        assert answers[1].probabilities == {}
        assert "broken.png" in str(answers[1].error)
        for answer, expected in zip(answers, runs[0], strict=True):
            assert answer.label == expected.label
            assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    good = runs[0][0]
    assert list(good.probabilities) == ["zebra", "ant", "bee"]
    assert sum(good.probabilities.values()) == pytest.approx(1)
    assert good.label == max(good.probabilities, key=good.probabilities.__getitem__)


def test_only_unreadable_images_are_only_error_rows(classifier: Classifier, tmp_path: Path) -> None:
    answers = classifier.predict([tmp_path / "a.png", tmp_path / "b.png"])
    assert [answer.label for answer in answers] == [None, None]


def test_scores_of_a_split_are_those_of_its_files(classifier: Classifier, pictures: list[Path]) -> None:
    images = ImageSet(tuple(path.name for path in pictures), np.zeros(7, np.int64), files=tuple(pictures))
    seen: list[tuple[int, int]] = []
    scores = classifier.scores(images, batch_size=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 7), (6, 7), (7, 7)]
    rows = [list(answer.probabilities.values()) for answer in classifier.predict(pictures)]
    np.testing.assert_allclose(scores, rows, atol=1e-5)
    assert len(np.unique(scores[:, 0])) == 7


def test_an_unreadable_image_of_a_split_is_named(classifier: Classifier, tmp_path: Path) -> None:
    images = ImageSet(("gone.png",), np.zeros(1, np.int64), files=(tmp_path / "gone.png",))
    with pytest.raises(InputError, match=r"gone\.png"):
        classifier.scores(images)


def test_f038_all_frames_are_a_row_each_and_one_of_their_mean(
    classifier: Classifier, tmp_path: Path, pictures: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(1)
    pages = [Image.fromarray(rng.integers(0, 255, (20, 30), dtype=np.uint8)) for _ in range(5)]
    cine, broken = tmp_path / "cine.tif", tmp_path / "broken.png"
    pages[0].save(cine, save_all=True, append_images=pages[1:])
    broken.write_bytes(b"no picture")
    done: list[tuple[int, int]] = []
    with caplog.at_level(logging.WARNING):
        answers = classifier.predict(
            [pictures[0], cine, broken], frame="all", batch_size=2, progress=lambda *now: done.append(now)
        )
    assert caplog.messages == [f"{cine} has 5 frames or pages: all are used"]
    assert done == [(1, 3), (2, 3), (3, 3)]
    names = [str(pictures[0]), *(f"{cine}#{number}" for number in range(1, 6)), str(cine), str(broken)]
    assert [answer.file for answer in answers] == names
    for name in classifier.classes:
        of_frames = [answer.probabilities[name] for answer in answers[1:6]]
        assert answers[6].probabilities[name] == pytest.approx(np.mean(of_frames))
    assert answers[6].label == max(classifier.classes, key=answers[6].probabilities.__getitem__)
    assert "broken.png is not an image" in str(answers[7].error)
    for frame, row in {"first": 1, "middle": 3, "5": 5}.items():
        (answer,) = classifier.predict(cine, frame=frame)
        assert answer.probabilities == pytest.approx(answers[row].probabilities, abs=1e-6)
    (answer,) = classifier.predict(cine)
    assert answer.probabilities == pytest.approx(answers[1].probabilities, abs=1e-6)


def test_a_frame_that_cannot_be_read_spoils_its_file(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    Image.new("L", (8, 8)).save(path, save_all=True, append_images=[Image.new("L", (60, 60))] * 2)
    (answer,) = classifier.predict(path, frame="all", max_pixels=100)
    assert answer.file == str(path)
    assert "60 x 60 pixels, more than 100" in str(answer.error)


def test_f075_predict_reads_as_the_model_was_trained(tmp_path: Path) -> None:
    units = np.linspace(-1400, 3000, 32 * 32, dtype=np.float32).reshape(32, 32)
    Image.fromarray(units).save(tmp_path / "ct.tif")
    answers = {}
    for window in ("file", "-650,1500"):
        shape = Preprocessing(height=32, width=32, reading=Reading(window=window))
        classifier = medmamba.load(save(tmp_path / f"run{window}", replace(BUNDLE, preprocessing=shape)), device="cpu")
        (answer,) = classifier.predict(tmp_path / "ct.tif")
        low, high = (-1400, 3000) if window == "file" else (-1400, 100)
        shown = np.rint(np.clip((units - low) / (high - low) * 255, 0, 255)).astype(np.uint8)
        expected = classifier.probabilities(shape.pixels(shown)[None])[0]
        assert list(answer.probabilities.values()) == pytest.approx(expected, abs=1e-6)
        answers[window] = answer.probabilities["ant"]
    assert abs(answers["file"] - answers["-650,1500"]) > 1e-3


def test_f063_the_limit_of_pixels_can_be_given(classifier: Classifier, pictures: list[Path]) -> None:
    (answer,) = classifier.predict(pictures[0], max_pixels=599)
    assert "30 x 20 pixels, more than 599; shrink it, or raise --max-pixels" in str(answer.error)
    assert classifier.predict(pictures[0], max_pixels=600)[0].error is None


@pytest.mark.parametrize(
    ("options", "words"), [({"frame": "last"}, "frame 'last'"), ({"max_pixels": 0}, "max pixels 0")]
)
def test_reading_that_is_not_possible_is_refused(
    classifier: Classifier, pictures: list[Path], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        classifier.predict(pictures, **options)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_f015_pixels_are_refused_in_one_sentence(classifier: Classifier, kind: type) -> None:
    for given in (np.zeros((20, 30, 3), kind), [np.zeros((20, 30), kind)]):
        with pytest.raises(
            InputError, match="images are named by paths, and an object of type ndarray was given; save pixels as PNG"
        ):
            classifier.predict(given)


def test_a_binary_model_answers_by_its_threshold(tmp_path: Path, pictures: list[Path]) -> None:
    for threshold, label in ((0.0, "bad"), (1.0, "good")):
        bundle = replace(BUNDLE, task=Task.BINARY, classes=("bad", "good"), positive=0, threshold=threshold)
        answers = medmamba.load(save(tmp_path / f"run{threshold}", bundle), device="cpu").predict(pictures)
        assert {answer.label for answer in answers} == {label}


def test_a_multi_label_model_joins_its_labels(tmp_path: Path, pictures: list[Path]) -> None:
    bundle = replace(BUNDLE, task=Task.MULTILABEL, threshold=0.0)
    answers = medmamba.load(save(tmp_path / "run", bundle), device="cpu").predict(pictures[0])
    assert answers[0].label == "zebra|ant|bee"


def test_a_batch_of_none_is_refused(classifier: Classifier, pictures: list[Path]) -> None:
    with pytest.raises(InputError, match="batch size 0"):
        classifier.predict(pictures, batch_size=0)


@pytest.mark.parametrize("device", ["cuda:99", "toaster", "meta", "xla"])
def test_a_device_that_is_not_there_is_refused(tmp_path: Path, device: str) -> None:
    with pytest.raises(InputError, match=device):
        medmamba.load(save(tmp_path / "run"), device=device)


def test_f005_auto_falls_back_to_the_cpu_when_mps_fails(
    tmp_path: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save(tmp_path / "run")
    expected = medmamba.load(folder, device="cpu").predict(pictures)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)  # and yet the first use of it fails
    with caplog.at_level(logging.WARNING):
        classifier = medmamba.load(folder, device="auto")
    assert classifier.device == "cpu"
    assert "runs on the CPU instead" in caplog.text
    assert classifier.predict(pictures) == expected


def test_predicting_loads_nothing_of_training(tmp_path: Path, pictures: list[Path]) -> None:
    code = (
        "import sys, medmamba; medmamba.load(sys.argv[1], device='cpu').predict(sys.argv[2]);"
        "print([m for m in ('lightning', 'sklearn', 'matplotlib', 'pydicom', 'medmamba.training') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(save(tmp_path / "run")), str(pictures[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_processor_takes_few_large_images_at_once_and_answers_the_same(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = classifier.bundle.preprocessing.height
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, side, side), dtype=np.uint8)
    whole, sizes = classifier.probabilities(pixels), []
    classifier.model.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    monkeypatch.setattr("medmamba.predictor.network.AT_ONCE", 2 * side * side)
    np.testing.assert_allclose(classifier.probabilities(pixels), whole, atol=1e-6)
    assert sizes == [2, 2, 1]
    features, answers = classifier.features_and_probabilities(pixels)
    np.testing.assert_allclose(answers, whole, atol=1e-6)
    assert len(features) == 5


@pytest.fixture
def convolutions() -> Iterator[Any]:
    """The switch of cuDNN's convolutions, put back afterwards."""
    switch = torch.backends.cudnn.conv
    before = switch.fp32_precision
    yield switch
    switch.fp32_precision = before


@pytest.mark.parametrize("ask", ["probabilities", "features_and_probabilities"])
@pytest.mark.parametrize("before", ["tf32", "ieee"])
def test_answers_are_of_whole_float32_and_the_switch_is_put_back(
    classifier: Classifier, convolutions: Any, before: str, ask: str
) -> None:
    convolutions.fp32_precision = before
    seen = []

    def look(module: nn.Module, inputs: Any) -> None:
        seen.append(convolutions.fp32_precision)
        if len(seen) == 2:
            raise RuntimeError("as out of memory")

    classifier.model.layer1.register_forward_pre_hook(look)
    pixels = np.zeros((1, 3, 32, 32), np.uint8)
    getattr(classifier, ask)(pixels)
    assert (seen, convolutions.fp32_precision) == (["ieee"], before)
    with pytest.raises(RuntimeError, match="as out of memory"):
        getattr(classifier, ask)(pixels)
    assert convolutions.fp32_precision == before


def test_a_thread_that_is_done_leaves_whole_float32_to_another(classifier: Classifier, convolutions: Any) -> None:
    convolutions.fp32_precision = "tf32"
    second_is_in, first_is_out = Event(), Event()
    seen = []

    def look(module: nn.Module, inputs: Any) -> None:
        if current_thread().name == "first":
            assert second_is_in.wait(60)
        else:
            second_is_in.set()
            assert first_is_out.wait(60)
            seen.append(convolutions.fp32_precision)

    classifier.model.layer1.register_forward_pre_hook(look)
    first, second = (
        Thread(target=classifier.probabilities, args=(np.zeros((1, 3, 32, 32), np.uint8),), name=name)
        for name in ("first", "second")
    )
    first.start()
    second.start()
    first.join(60)
    assert convolutions.fp32_precision == "ieee"
    first_is_out.set()
    second.join(60)
    assert (seen, convolutions.fp32_precision) == (["ieee"], "tf32")


@pytest.mark.parametrize(
    "asked",
    [
        "pass",
        "torch.set_float32_matmul_precision('high')",
        "torch.backends.cuda.matmul.allow_tf32 = True",
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
        "torch.backends.cudnn.conv.fp32_precision = 'tf32'",
        "torch.backends.cudnn.allow_tf32 = False",
        "torch.backends.fp32_precision = 'tf32'",
    ],
)
def test_whatever_was_asked_of_torch_holds_again_after_an_answer(asked: str) -> None:
    """In a process of its own: of some switches the first state cannot be had again."""
    program = f"""
import torch
from medmamba.device import WHOLE_FLOAT32

{asked}
products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv
before = products.fp32_precision, convolutions.fp32_precision
with WHOLE_FLOAT32:
    assert convolutions.fp32_precision == "ieee", convolutions.fp32_precision
    assert products.fp32_precision in ("ieee", "none"), products.fp32_precision
assert (products.fp32_precision, convolutions.fp32_precision) == before
"""
    ended = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
