"""Any height and width from 16 pixels up."""

import math

import pytest
import timm
import torch

import medmamba.models  # registers our names
from medmamba.bundle import Bundle
from medmamba.data.preprocessing import Preprocessing
from medmamba.errors import InputError
from medmamba.models import create_model
from medmamba.tasks import Task


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return timm.create_model("medmamba_nano", num_classes=2).eval()


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (30, 30), (32, 32), (33, 33), (97, 131), (225, 225)], ids=str)
def test_c03_small_odd_and_large_sizes(model, size):
    with torch.no_grad():
        logits = model(torch.randn(2, 3, *size))
    assert logits.shape == (2, 2)
    assert logits.isfinite().all()


def test_f017_both_orientations(model):
    with torch.no_grad():
        assert model.forward_features(torch.randn(2, 3, 160, 256)).shape[1:3] == (5, 8)
        assert model.forward_features(torch.randn(2, 3, 256, 160)).shape[1:3] == (8, 5)


@pytest.mark.parametrize("size", [30, 28, 33])
def test_c04_the_last_row_and_column_count_and_nothing_is_printed(model, size, capfd):
    image = torch.randn(1, 3, size, size)
    changed = image.clone()
    changed[:, :, -1, :] += 1
    changed[:, :, :, -1] += 1
    with torch.no_grad():
        assert not torch.allclose(model(image), model(changed))
    assert capfd.readouterr() == ("", "")


def test_below_the_minimum_is_refused_in_words(model):
    with pytest.raises(ValueError, match="15 x 40 pixels came; both sides must be at least 16"):
        model(torch.randn(1, 3, 15, 40))


def test_f012_half_precision_of_large_inputs_stays_finite(model):
    image = torch.randn(2, 3, 64, 64) * 1e3
    with torch.no_grad():
        expected = model(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            actual = model(image)
    assert actual.isfinite().all()
    assert torch.equal(actual.argmax(1), expected.argmax(1))


def test_predictions_do_not_depend_on_the_neighbours(model):
    images = torch.randn(7, 3, 64, 64)
    with torch.no_grad():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


WRONG = {
    ("drop_rate", "drop_path_rate"): (math.nan, math.inf, -1, 1, True, "x", [0]),
    ("in_chans", "patch_size", "state_size"): (0, -1, 1.5, math.nan, True, 1e9),
    ("depths", "widths"): (3, "ab", [1, 0], [8, True], [[8], [8]], [1.5], [10**400, 8]),
    ("num_classes",): (-1, math.inf),
}
IMPOSSIBLE = [(name, value) for names, values in WRONG.items() for name in names for value in values]


@pytest.mark.parametrize("name", ["medmamba_nano", "vmamba_tiny", "medvit_tiny"])
@pytest.mark.parametrize(("argument", "value"), IMPOSSIBLE, ids=lambda each: str(each)[:20])
def test_a_number_that_makes_no_network_of_ours_is_refused(name, argument, value):
    if name == "medvit_tiny" and argument in ("patch_size", "state_size"):
        argument = "head_dim"
    if name == "medvit_tiny" and argument == "widths" and value == [[8], [8]]:
        value = [8, [8, 8], [8, 8], [8, 8]]
    with pytest.raises(InputError, match=f"^{argument} .* is not possible; expected"):
        create_model(name, **{argument: value})


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan, True, "0.1"], ids=repr)
def test_a_share_for_attention_is_a_number(value):
    with pytest.raises(InputError, match=r"mix .* must be a number from 0 to 1"):
        create_model("medvit_tiny", mix=value)


def test_what_no_memory_holds_is_refused():
    shape = Preprocessing(32, 32)
    wide = {"depths": [1], "widths": [2**20]}
    with pytest.raises(InputError, match=r"medmamba_nano cannot be built \(RuntimeError.*\); choose a smaller one"):
        Bundle("medmamba_nano", Task.BINARY, ("a", "b"), shape, wide).build_model()


def test_arguments_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"depths \(1, 1\) and widths"):
        medmamba.models.MedMamba(depths=(1, 1), widths=(8,))
    with pytest.raises(ValueError, match="there is no block 'conv'"):
        medmamba.models.MedMamba(block="conv")
    with pytest.raises(ValueError, match="33 is odd"):
        medmamba.models.MedMamba(depths=(1,), widths=(33,))
