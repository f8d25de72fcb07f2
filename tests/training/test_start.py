from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from noise import make_data

import medmamba
from medmamba.bundle import load_bundle, read_weights
from medmamba.errors import InputError
from medmamba.training import TrainConfig
from medmamba.training.lesson import describe_model
from medmamba.training.start import head_names, start_from


@pytest.fixture
def trained(short_fit: Callable[..., Path]) -> Path:
    return short_fit("trained", make_data(classes=3), epochs=1)


def test_f041_another_number_of_classes_gets_a_new_head_and_all_the_rest(
    trained: Path, short_fit: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run = short_fit("five", make_data(classes=5), epochs=1, init=str(trained))
    net = load_bundle(run).build_model()
    total, head = len(net.state_dict()), len(head_names(net))
    assert f"{total - head} of {total} tensors from {trained}" in caplog.text
    assert "the head is new (5 classes" in caplog.text
    assert load_bundle(run).provenance["start"].startswith("start: ")


def test_f018_fine_tuning_at_another_size_takes_every_tensor(trained: Path) -> None:
    config = TrainConfig(model="test_resnet", image_size=(48, 48))
    bundle = describe_model(make_data(classes=3), config)
    net = bundle.build_model()
    sentence = start_from(net, bundle.model, bundle.classes, str(trained))
    assert f"{len(net.state_dict())} of {len(net.state_dict())} tensors" in sentence
    given = read_weights(trained)
    assert all(torch.equal(tensor, given[name]) for name, tensor in net.state_dict().items())


def test_the_same_number_of_other_classes_gets_a_new_head(trained: Path) -> None:
    bundle = load_bundle(trained)
    net = bundle.build_model()
    before = net.state_dict()["fc.weight"].clone()
    assert "the head is new" in start_from(net, bundle.model, ("x", "y", "z"), str(trained))
    assert torch.equal(net.state_dict()["fc.weight"], before)


def test_f019_a_grey_model_from_a_colour_bundle_answers_grey_images_the_same(trained: Path) -> None:
    colour = medmamba.load(trained, device="cpu")
    config = TrainConfig(model="test_resnet", image_size=(32, 32), channels=1)
    bundle = describe_model(make_data(classes=3), config)
    net = bundle.build_model()
    assert "summed over 3 channels" in start_from(net, bundle.model, bundle.classes, str(trained))
    grey = np.random.default_rng(0).integers(0, 255, (4, 1, 32, 32), dtype=np.uint8)
    x = torch.from_numpy(bundle.preprocessing.normalise(grey))
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(x), colour.model(x.repeat(1, 3, 1, 1)), rtol=0, atol=1e-4)


def test_a_bundle_of_another_model_or_shape_is_refused(trained: Path) -> None:
    bundle = load_bundle(trained)
    with pytest.raises(InputError, match="holds test_resnet, not test_vit"):
        start_from(bundle.build_model(), "test_vit", bundle.classes, str(trained))
    other = describe_model(make_data(classes=3), TrainConfig(model="resnet10t", image_size=(32, 32))).build_model()
    with pytest.raises(InputError, match=r"tensors of .* do not fit"):
        start_from(other, "test_resnet", bundle.classes, str(trained))
