"""Phantoms: reproducible, balanced, and hard enough."""

import numpy as np
import pytest

from medmamba.data import open_data
from medmamba.data.phantoms import CLASSES, make_phantoms, phantom
from medmamba.errors import InputError


def test_an_image_depends_on_seed_and_index_alone() -> None:
    image, label, lesion = phantom(7, 3)
    again = phantom(7, 3)
    assert (image == again[0]).all()
    assert (lesion == again[2]).all()
    assert label == again[1] == 1
    assert (image != phantom(7, 4)[0]).mean() > 0.5
    assert (image != phantom(9, 3)[0]).mean() > 0.5
    images, labels, lesions = make_phantoms(3, seed=3, start=6)
    assert (images[1] == image).all()
    assert (lesions[1] == lesion).all()
    assert labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize("size", [28, 64, 97])
def test_form_at_any_size(size: int) -> None:
    images, labels, lesions = make_phantoms(12, size)
    assert (images.shape, images.dtype) == ((12, size, size), np.uint8)
    assert (lesions.shape, lesions.dtype) == ((12, size, size), bool)
    assert labels.dtype == np.int64
    assert ((lesions.mean(axis=(1, 2)) > 0.02) & (lesions.mean(axis=(1, 2)) < 0.3)).all()
    assert (images.std(axis=(1, 2)) > 15).all()
    assert (images == 255).mean() < 0.01


def test_lesions_are_darker_than_tissue() -> None:
    images, _, lesions = make_phantoms(60)
    darker = [image[lesion].mean() < image[~lesion].mean() for image, lesion in zip(images, lesions, strict=True)]
    assert np.mean(darker) > 0.95


def test_size_and_brightness_do_not_give_the_class_away() -> None:
    images, labels, lesions = make_phantoms(400)
    for value in (images.mean(axis=(1, 2)), lesions.mean(axis=(1, 2))):
        higher = (value[labels == 1][:, None] > value[labels == 0][None]).mean()  # the AUC of that number alone
        assert 0.4 < higher < 0.6


def test_splits_are_as_documented_and_share_no_image() -> None:
    data = open_data("phantoms:84")
    assert (data.classes, data.positive, data.size) == (CLASSES, 1, (64, 64))
    splits = {name: data.split(name) for name in data.splits}
    assert {name: len(images) for name, images in splits.items()} == {"train": 48, "val": 12, "test": 24}
    assert all(images.targets.mean() == 0.5 for images in splits.values())
    every = {images.read(row).tobytes() for images in splits.values() for row in range(len(images))}
    assert len(every) == 84
    assert (splits["val"].read(0) == phantom(48)[0]).all()
    assert splits["val"].names[0] == "seed0/48"
    assert data.fingerprint() != open_data("phantoms:84", seed=1).fingerprint()


@pytest.mark.parametrize("spec", ["phantoms:", "phantoms:x", "phantoms:-4", "phantoms:13"])
def test_other_numbers_are_refused(spec: str) -> None:
    with pytest.raises(InputError, match="write phantoms:N with N from 14"):
        open_data(spec)


@pytest.mark.slow
def test_a_forest_on_thumbnails_is_clearly_worse_than_a_good_model() -> None:
    ensemble, metrics = pytest.importorskip("sklearn.ensemble"), pytest.importorskip("sklearn.metrics")
    data = open_data("phantoms")

    def thumbnails(split: str) -> tuple[np.ndarray, np.ndarray]:
        images = data.split(split)
        assert images.array is not None
        return images.array.reshape(len(images), 16, 4, 16, 4).mean(axis=(2, 4)).reshape(
            len(images), -1
        ), images.targets

    forest = ensemble.RandomForestClassifier(300, random_state=0).fit(*thumbnails("train"))
    pixels, targets = thumbnails("test")
    assert metrics.roc_auc_score(targets, forest.predict_proba(pixels)[:, 1]) < 0.8
