"""Augmentations of batches do what torchvision does image by image, and only what their numbers say."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from medmamba.data.augment import AUGMENTATIONS
from medmamba.data.batch_augment import BATCH_AUGMENTATIONS, light
from medmamba.data.phantoms import make_phantoms

HEIGHT, WIDTH = 48, 64


def pictures(b: int, channels: int) -> torch.Tensor:
    """Phantoms, not square and with channels that differ."""
    images = torch.from_numpy(make_phantoms(b, WIDTH)[0])[:, None, :HEIGHT]
    return torch.cat([images, images.flip(-1), 255 - images][:channels], dim=1)


def one_by_one(image: torch.Tensor, numbers: list[float]) -> torch.Tensor:
    """The same change by torchvision's own functions, image by image, as `augment.light` composes them."""
    flip, turn, right, down, size, bright, contrast, order = numbers
    if flip < 0.5:
        image = v2.horizontal_flip(image)
    shift = [round((2 * right - 1) * 0.06 * WIDTH), round((2 * down - 1) * 0.06 * HEIGHT)]
    image = v2.affine(
        image,
        angle=(2 * turn - 1) * 10,
        translate=shift,
        scale=0.9 + 0.2 * size,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
        fill=0,
    )
    changes = [
        lambda x: v2.adjust_brightness(x, 0.8 + 0.4 * bright),
        lambda x: v2.adjust_contrast(x, 0.8 + 0.4 * contrast),
    ]
    for change in changes if order < 0.5 else reversed(changes):
        image = change(image)
    return image


@pytest.mark.parametrize("channels", [1, 3])
def test_light_is_torchvisions_up_to_rounding(channels: int) -> None:
    images, numbers = pictures(24, channels), torch.rand(24, 8, generator=torch.Generator().manual_seed(0))
    changed = light(images, numbers)
    assert changed.dtype == torch.uint8
    expected = torch.stack(
        [one_by_one(image, row) for image, row in zip(images, numbers.double().tolist(), strict=True)]
    )
    difference = (changed.int() - expected.int()).abs()
    assert difference.max() <= 2  # a rounding of the affine map, carried on by brightness and contrast
    assert (difference > 0).double().mean() < 0.01
    assert (changed != images).double().mean() > 0.5


def test_light_has_the_ranges_of_the_loaders_light() -> None:
    """Those that `one_by_one` above holds the batches to, read from the transforms themselves."""
    flip, affine, colour = AUGMENTATIONS["light"]().transforms  # type: ignore[attr-defined]
    assert flip.p == 0.5
    assert (affine.degrees, affine.translate, affine.scale) == ([-10, 10], (0.06, 0.06), (0.9, 1.1))
    assert (affine.interpolation, affine.fill, affine.shear) == (InterpolationMode.BILINEAR, 0, None)
    assert (colour.brightness, colour.contrast) == ((0.8, 1.2), (0.8, 1.2))
    assert (colour.saturation, colour.hue) == (None, None)


def test_an_image_is_changed_alike_in_any_batch() -> None:
    images, numbers = pictures(6, 3), torch.rand(6, 8)
    together = light(images, numbers)
    alone = torch.cat([light(images[i : i + 1], numbers[i : i + 1]) for i in range(6)])
    assert (together.int() - alone.int()).abs().max() <= 1


def test_every_row_is_an_augmentation_of_the_loader_and_keeps_the_form() -> None:
    assert set(BATCH_AUGMENTATIONS) <= set(AUGMENTATIONS)
    for name, augmentation in BATCH_AUGMENTATIONS.items():
        changed = augmentation.change(pictures(2, 3), torch.rand(2, augmentation.numbers))
        assert changed.shape == (2, 3, HEIGHT, WIDTH)
        assert changed.dtype == torch.uint8
        assert np.array_equal(changed, pictures(2, 3)) == (name == "none")
