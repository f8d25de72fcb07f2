"""Random changes to training images, on uint8 tensors before normalisation. A new one is a function and a row here.

Randomness is torch's own generator, so that a seeded loader gives the same images again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Augmentation = Callable[["Tensor"], "Tensor"]


def no_change() -> Augmentation:
    """Leave images as they are."""
    from torchvision.transforms import v2

    return v2.Identity()


def light() -> Augmentation:
    """Left-right flips, turns to 10 degrees, shifts to 6 %, sizes 0.9 to 1.1, brightness and contrast to 20 %.

    Not upside down: up and down carry meaning in x-rays and ultrasound.
    """
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine((-10, 10), (0.06, 0.06), (0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR),
            v2.ColorJitter(brightness=0.2, contrast=0.2),
        ]
    )


def autoaugment() -> Augmentation:
    """AutoAugment with the policy found for ImageNet (Cubuk et al. 2019), as MedMamba-X uses."""
    from torchvision.transforms import v2

    return v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET)


def trivial() -> Augmentation:
    """Left-right flips, then one operation of any strength: TrivialAugment, wide (Mueller & Hutter 2021).

    It is that of natural images: it turns by up to 135 degrees, solarises, posterises, equalises and changes colours.
    What comes from outside the image is 0.
    """
    from torchvision.transforms import v2

    return v2.Compose([v2.RandomHorizontalFlip(), v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)])


def trivial_grey() -> Augmentation:
    """TrivialAugment for grey images, with the operations that `batch_augment.trivial_grey` lists: a batch of one."""
    import torch

    from medmamba.data.batch_augment import BATCH_AUGMENTATIONS

    batches = BATCH_AUGMENTATIONS["trivial-grey"]
    return lambda image: batches.change(image[None], torch.rand(1, batches.numbers))[0]


AUGMENTATIONS: Mapping[str, Callable[[], Augmentation]] = {
    "none": no_change,
    "light": light,
    "autoaugment": autoaugment,
    "trivial": trivial,
    "trivial-grey": trivial_grey,
}
