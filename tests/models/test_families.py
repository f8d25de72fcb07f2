"""One model of each family that the paper compares with, at two sizes far from 224."""

import math

import pytest
import torch

from medmamba.errors import InputError
from medmamba.models import create_model

# names in timm of the paper's tables 3 to 6
FAMILIES = [
    "resnet18",
    "repvgg_a1",
    "mobilevitv2_200",
    "edgenext_base",
    "nest_tiny",
    "mobileone_s4",
    "cait_xxs36_224",
    "densenet169",
    "swin_tiny_patch4_window7_224",
    "convnext_tiny",
    "convformer_s18",
    "tnt_s_patch16_224",
    "caformer_s18",
    "pvt_v2_b2",
    "davit_tiny",
    "deit_small_patch16_224",
    "tf_efficientnetv2_s",
    "coat_small",
    "mvitv2_base",
    "efficientnet_b6",
    "focalnet_small_srf",
    "poolformer_m36",
    "xcit_small_24_p16_224",
    "gcvit_small",
    "twins_svt_base",
]


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_takes_small_images(name, size):
    model = create_model(name, 3, image_size=(size, size)).eval()
    with torch.no_grad():
        assert model(torch.randn(2, 3, size, size)).shape == (2, 3)


def test_a_size_that_a_model_cannot_take_is_refused_in_words():
    with pytest.raises(InputError, match=r"nest_tiny cannot be built for images of 50 x 50 pixels: .*; choose another"):
        create_model("nest_tiny", 3, image_size=(50, 50))
    with pytest.raises(InputError, match=r"coat_tiny cannot take images of 50 x 50 pixels: .*; choose another size"):
        create_model("coat_tiny", 3, image_size=(50, 50))


@pytest.mark.parametrize("argument", ["drop_rate", "drop_path_rate", "attn_drop_rate", "dropout", "proj_drop"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1, True, "0.1", [0.1, math.nan]], ids=str)
def test_a_share_to_be_dropped_that_timm_would_take_is_refused(argument, value):
    with pytest.raises(InputError, match=f"^{argument} .* is not possible; expected a number from 0 to 1$"):
        create_model("resnet18", 3, **{argument: value})


def test_shares_to_be_dropped_that_are_possible_are_taken():
    create_model("resnet10t", 3, drop_rate=1, drop_path_rate=0.5, drop_block_rate=None)
    create_model("densenet121", 3, growth_rate=8, drop_rate=0)
    assert create_model("vit_tiny_patch16_224", 3, proj_drop_rate=0.25, depth=1).blocks[0].mlp.drop1.p == 0.25


@pytest.mark.parametrize("name", ["densenet121", "hrnet_w18_small", "medmamba_tiny", "swin_tiny_patch4_window7_224"])
def test_an_argument_that_a_model_does_not_know_is_refused_in_words(name):
    with pytest.raises(InputError, match=f"{name} takes no argument 'depht'; leave it out, or take another model"):
        create_model(name, 3, image_size=(64, 64), depht=0.1)
