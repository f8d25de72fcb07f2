"""Augmentations change training images, keep their form, and follow torch's generator."""

import numpy as np
import pytest

from medmamba.data.augment import AUGMENTATIONS
from medmamba.data.phantoms import phantom

torch = pytest.importorskip("torch")


def picture(channels: int) -> "torch.Tensor":
    return torch.from_numpy(np.repeat(phantom(0)[0][None], channels, axis=0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_form_is_kept_and_the_seed_decides(name: str, channels: int) -> None:
    change = AUGMENTATIONS[name]()

    def run(seed: int) -> "torch.Tensor":
        torch.manual_seed(seed)
        return torch.stack([change(picture(channels)) for _ in range(8)])

    first = run(0)
    assert first.dtype == torch.uint8
    assert first.shape == (8, channels, 64, 64)
    assert torch.equal(first, run(0))
    assert torch.equal(first, run(1)) == (name == "none")
    assert torch.equal(first[0], picture(channels)) or name != "none"


def test_light_never_turns_images_upside_down() -> None:
    torch.manual_seed(0)
    half = torch.zeros(1, 64, 64, dtype=torch.uint8)
    half[:, 32:] = 200
    for _ in range(30):
        changed = AUGMENTATIONS["light"]()(half).float()
        assert changed[:, 40:56].mean() > changed[:, 8:24].mean() + 50
