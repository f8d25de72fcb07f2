"""Preprocessing: sizes, channels, fits, normalisation, storage."""

import json

import numpy as np
import pytest
from PIL import Image

from medmamba.data import Preprocessing
from medmamba.errors import InputError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (30, 50), dtype=np.uint8)
RGB = RNG.integers(0, 256, (30, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(160, 256), (256, 160), (7, 1)])
@pytest.mark.parametrize("fit", ["squash", "letterbox"])
def test_f017_height_comes_before_width(height: int, width: int, fit: str) -> None:
    assert Preprocessing(height, width, fit=fit).pixels(RGB).shape == (3, height, width)
    assert Preprocessing(height, width, 1, fit=fit).pixels(GREY).shape == (1, height, width)


def test_f019_grey_becomes_three_equal_channels_and_colour_becomes_itu_grey() -> None:
    three = Preprocessing(30, 50).pixels(GREY)
    assert (three == GREY).all()
    assert three.shape == (3, 30, 50)
    one = Preprocessing(30, 50, channels=1).pixels(RGB)
    expected = RGB.astype(float) @ [0.299, 0.587, 0.114]
    assert one.shape == (1, 30, 50)
    assert np.abs(one[0] - expected).max() <= 0.6


def test_f019_a_grey_picture_is_the_same_stored_as_grey_or_as_rgb() -> None:
    for channels in (1, 3):
        preprocessing = Preprocessing(64, 48, channels)
        assert (preprocessing.pixels(GREY) == preprocessing.pixels(np.stack([GREY] * 3, axis=2))).all()


def test_an_image_of_the_right_size_is_not_changed() -> None:
    assert (Preprocessing(30, 50).pixels(RGB) == RGB.transpose(2, 0, 1)).all()


def test_resizing_is_antialiased_and_bilinear() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    shrunk = Preprocessing(16, 16, 1).pixels(stripes)
    assert np.abs(shrunk.astype(int) - 127).max() <= 12  # without antialiasing it would be 0 or 255 somewhere
    grown = Preprocessing(1, 4, 1).pixels(np.array([[0, 100]], np.uint8))
    assert grown.ravel().tolist() == [0, 25, 75, 100]
    by_pillow = np.array(Image.fromarray(RGB).resize((20, 10), Image.Resampling.BILINEAR))
    assert (Preprocessing(10, 20).pixels(RGB) == by_pillow.transpose(2, 0, 1)).all()


def test_letterbox_keeps_the_aspect_ratio_in_the_middle_of_black() -> None:
    white = np.full((6, 600), 255, np.uint8)
    pixels = Preprocessing(224, 224, 1, fit="letterbox").pixels(white)[0]
    rows = np.flatnonzero(pixels.any(axis=1))
    assert rows.tolist() == [111, 112]
    assert (pixels[rows] == 255).all()
    tall = Preprocessing(10, 21, 1, fit="letterbox").pixels(white.T[:100])[0]
    assert np.flatnonzero(tall.any(axis=0)).tolist() == [10]


def test_normalise_gives_the_same_for_numpy_and_torch() -> None:
    torch = pytest.importorskip("torch")
    preprocessing = Preprocessing(4, 4, mean=0.4, std=0.2)
    pixels = np.arange(256, dtype=np.uint8).reshape(2, 8, 4, 4)
    ours, theirs = preprocessing.normalise(pixels), preprocessing.normalise(torch.from_numpy(pixels))
    assert ours.dtype == np.float32
    assert theirs.dtype == torch.float32
    assert ours.shape == tuple(theirs.shape) == pixels.shape
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=5e-7)
    np.testing.assert_allclose(ours, (pixels / 255 - 0.4) / 0.2, rtol=0, atol=5e-7)
    assert Preprocessing(4, 4).normalise(pixels).min() == -1
    assert Preprocessing(4, 4).normalise(pixels).max() == 1


def test_settings_go_through_json_and_back() -> None:
    preprocessing = Preprocessing(160, 256, 1, "letterbox", 0.1, 0.3)
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"height": 8, "width": 8, "crop": 1}, "unknown preprocessing settings crop"),
        ({"height": 8}, "lacks width"),
        ({"height": 0, "width": 8}, "height 0 is no image size"),
        ({"height": 8, "width": 8.0}, "width 8.0 is no image size"),
        ({"height": 8, "width": 8, "channels": 4}, "4 channels"),
        ({"height": 8, "width": 8, "fit": "leterbox"}, "did you mean 'letterbox'"),
        ({"height": 8, "width": 8, "std": 0.0}, "std more than 0"),
        ({"height": 8, "width": 8, "mean": float("nan")}, "must be finite"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Preprocessing.from_dict(settings)


@pytest.mark.parametrize("image", [RGB[..., :2], GREY.astype(np.uint16), np.zeros((0, 4), np.uint8), GREY[0]])
def test_other_arrays_are_no_images(image: np.ndarray) -> None:
    with pytest.raises(InputError, match="an image must be uint8"):
        Preprocessing(8, 8).pixels(image)


def test_a_larger_picture_is_shrunk_to_the_detail_of_the_training_images_first():
    shape = Preprocessing(56, 56, channels=1, detail=28)
    small = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    plain = Preprocessing(56, 56, channels=1)
    assert (shape.pixels(small) == plain.pixels(small)).all()  # which is no larger
    large = np.asarray(Image.fromarray(small).resize((280, 140), Image.Resampling.NEAREST))
    shrunk = np.asarray(Image.fromarray(large).resize((28, 28), Image.Resampling.BILINEAR))
    assert (shape.pixels(large) == plain.pixels(shrunk)).all()
    assert (shape.pixels(large) != plain.pixels(large)).any()
    boxed = Preprocessing(56, 56, channels=1, fit="letterbox", detail=28)
    assert boxed.pixels(np.full((140, 280), 200, np.uint8))[0].tolist() == (
        [[0] * 56] * 14 + [[200] * 56] * 28 + [[0] * 56] * 14
    )


def test_the_detail_is_stored_only_where_there_is_one():
    plain, shape = Preprocessing(56, 56), Preprocessing(56, 56, detail=28)
    assert "detail" not in plain.to_dict()
    assert [Preprocessing.from_dict(each.to_dict()) for each in (plain, shape)] == [plain, shape]
    assert "from at most 28 pixels a side" in str(shape)
    with pytest.raises(InputError, match="detail 0 is no image size"):
        Preprocessing(56, 56, detail=0)
