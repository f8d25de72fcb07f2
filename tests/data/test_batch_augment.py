"""Augmentations of batches do what torchvision does image by image, and only what their numbers say."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from medmamba.data.augment import AUGMENTATIONS
from medmamba.data.batch_augment import BATCH_AUGMENTATIONS, light, trivial_grey
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


def one_operation(image: torch.Tensor, operation: int, m: float) -> torch.Tensor:
    """The operation of `trivial_grey` with this number by torchvision; m is its strength, from -1 to 1."""
    angle, shift, size, shear = 0.0, [0, 0], 1.0, [0.0, 0.0]
    if operation == 1:
        shear = [math.degrees(math.atan(0.3 * m)), 0.0]
    elif operation == 2:
        shear = [0.0, math.degrees(math.atan(0.3 * m))]
    elif operation == 3:
        angle = 30 * m
    elif operation == 4:
        shift = [round(0.2 * m * WIDTH), 0]
    elif operation == 5:
        shift = [0, round(0.2 * m * HEIGHT)]
    elif operation == 6:
        size = 1.25**m
    elif operation == 7:
        return v2.adjust_brightness(image, 1 + 0.5 * m)
    elif operation == 8:
        return v2.adjust_contrast(image, 1 + 0.5 * m)
    elif operation == 9:
        return v2.adjust_sharpness(image, 1 + 0.9 * m)
    bilinear = InterpolationMode.BILINEAR
    return image if operation == 0 else v2.affine(image, angle, shift, size, shear, interpolation=bilinear, fill=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", range(10))
def test_trivial_grey_is_torchvisions_up_to_rounding(operation: int, channels: int) -> None:
    images, strengths = pictures(8, channels), torch.linspace(0, 0.999, 8)
    numbers = torch.stack([torch.full((8,), 0.9), torch.full((8,), (operation + 0.5) / 10), strengths], dim=1)
    changed = trivial_grey(images, numbers)
    pairs = zip(images, (2 * strengths.double() - 1).tolist(), strict=True)
    expected = torch.stack([one_operation(image, operation, m) for image, m in pairs])
    difference = (changed.int() - expected.int()).abs()
    assert (difference > 1).double().mean() < 0.002
    assert (difference > 0).double().mean() < 0.02
    assert torch.equal(changed, images) == (operation == 0)
    numbers[:, 0] = 0.1  # the same of the mirrored pictures
    assert torch.equal(trivial_grey(images.flip(-1), numbers), changed)


def test_trivial_grey_never_turns_pictures_upside_down() -> None:
    half = torch.zeros(400, 1, 64, 64, dtype=torch.uint8)
    half[:, :, 32:] = 200
    changed = trivial_grey(half, torch.rand(400, 3, generator=torch.Generator().manual_seed(0))).float()
    above, below = changed[..., 8:24, 16:48].mean((1, 2, 3)), changed[..., 40:52, 16:48].mean((1, 2, 3))
    assert (below > above + 40).all()


def test_an_image_is_changed_alike_in_any_batch() -> None:
    images, numbers = pictures(6, 3), torch.rand(6, 8)
    together = light(images, numbers)
    alone = torch.cat([light(images[i : i + 1], numbers[i : i + 1]) for i in range(6)])
    assert (together.int() - alone.int()).abs().max() <= 1


def test_every_row_is_an_augmentation_of_the_loader_and_keeps_the_form() -> None:
    assert set(BATCH_AUGMENTATIONS) <= set(AUGMENTATIONS)
    for name, augmentation in BATCH_AUGMENTATIONS.items():
        numbers = torch.rand(2, augmentation.numbers, generator=torch.Generator().manual_seed(1))
        changed = augmentation.change(pictures(2, 3), numbers)
        assert changed.shape == (2, 3, HEIGHT, WIDTH)
        assert changed.dtype == torch.uint8
        assert np.array_equal(changed, pictures(2, 3)) == (name == "none")
