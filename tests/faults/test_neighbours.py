"""An answer depends on its picture alone: not on the batch, its order or its other pictures; and not on the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import extreme_pictures, phantoms, save_mirrored_pair, save_model

import medmamba
from medmamba.predictor import Classifier

CLOSE = 1e-5  # of a probability: float32 sums in another order
ACROSS = 1e-4  # two kinds of machine have no sum in common; what these firm models make of TF32 is 4e-3
Answer = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles by name."""
    place = tmp_path_factory.mktemp("models")
    return {
        "small": save_model(place / "small", "medmamba_nano", depths=[1], widths=[16]),
        "nano": save_model(place / "nano", "medmamba_nano"),
        "tiny": save_model(place / "tiny", "medmamba_tiny"),
        "mirrored pair": save_mirrored_pair(place / "pair"),
    }


def exported(folder: Path) -> Classifier:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from medmamba.export import export

    path, found = export(folder, images=2)
    assert found.passed
    return medmamba.load(path)


def spread(scores: np.ndarray) -> float:
    """How far answers are from being all the same, without which closeness means nothing."""
    return float(np.ptp(scores, axis=0).max())


def largest_change(answer: Answer, pixels: np.ndarray) -> float:
    """Of any probability, over batch sizes, orders and neighbours."""
    alone = np.concatenate([answer(pixels[row : row + 1]) for row in range(len(pixels))])
    assert spread(alone) > 0.05
    changes = []
    for size in (2, 5, len(pixels)):
        parts = [answer(pixels[start : start + size]) for start in range(0, len(pixels), size)]
        changes.append(np.abs(np.concatenate(parts) - alone).max())
    order = np.random.default_rng(0).permutation(len(pixels))
    changes.append(np.abs(answer(pixels[order]) - alone[order]).max())
    strangers = extreme_pictures()
    among = answer(np.concatenate([strangers, pixels, strangers]))[len(strangers) : -len(strangers)]
    changes.append(np.abs(among - alone).max())
    same = answer(np.repeat(pixels[:1], 4, axis=0))
    changes.append(np.abs(same - alone[:1]).max())
    return float(max(changes))


@pytest.mark.parametrize("name", ["nano", "tiny", "mirrored pair"])
def test_an_answer_depends_on_its_picture_alone(folders: dict[str, Path], name: str) -> None:
    assert largest_change(medmamba.load(folders[name], device="cpu").probabilities, phantoms(7)) < CLOSE


@pytest.mark.parametrize(
    "name", ["small", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nano", "tiny", "mirrored pair"))]
)
def test_an_exported_file_answers_alike_also_for_extreme_pictures(folders: dict[str, Path], name: str) -> None:
    network, file = medmamba.load(folders[name], device="cpu"), exported(folders[name])
    assert largest_change(file.probabilities, phantoms(7)) < CLOSE
    pixels = extreme_pictures()
    expected = network.probabilities(pixels)
    assert np.isfinite(expected).all()
    assert spread(expected) > 0.2
    np.testing.assert_allclose(file.probabilities(pixels), expected, atol=CLOSE)


def test_the_measure_sees_an_answer_that_depends_on_its_neighbours() -> None:
    """A network in training normalises by its batch: that must not pass."""

    def answer(pixels: np.ndarray) -> np.ndarray:
        means = pixels.mean(axis=(1, 2, 3)) / 255
        shifted = means - 1e-3 * means.mean()
        return np.stack([shifted, 1 - shifted, 5 * shifted], axis=1)

    assert largest_change(answer, phantoms(7)) > CLOSE


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["nano", "tiny", "mirrored pair"])
def test_on_the_card_answers_are_those_of_the_processor(folders: dict[str, Path], name: str) -> None:
    card, processor = (medmamba.load(folders[name], device=device) for device in ("cuda", "cpu"))
    assert largest_change(card.probabilities, phantoms(7)) < CLOSE
    pixels = np.concatenate([extreme_pictures(), phantoms(7)])
    scores, expected = card.probabilities(pixels), processor.probabilities(pixels)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, expected, atol=ACROSS)


@pytest.mark.gpu
def test_on_the_card_products_of_tf32_are_not_for_answers(folders: dict[str, Path]) -> None:
    torch.set_float32_matmul_precision("high")
    try:
        assert largest_change(medmamba.load(folders["tiny"], device="cuda").probabilities, phantoms(7)) < CLOSE
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["nano", "tiny", "mirrored pair"])
def test_on_the_card_the_same_pictures_have_the_same_answers(folders: dict[str, Path], name: str) -> None:
    """What docs/how-to/fast-training.md says of predictions: bit for bit, in one process and in another model of it."""
    pixels = np.concatenate([extreme_pictures(), phantoms(7)])
    one, two = (medmamba.load(folders[name], device="cuda") for _ in range(2))
    first = one.probabilities(pixels)
    assert all(np.array_equal(model.probabilities(pixels), first) for model in (one, two, one))
