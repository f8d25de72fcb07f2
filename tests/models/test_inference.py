"""A network made ready for inference: the same function, fewer operations and copies, and only where that is exact."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from medmamba.network import build, for_inference
from medmamba.network.inference import fold_batch_norms
from medmamba.network.packed import FOLLOWING, PackedConv2d, can_pack


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = build("medmamba_nano", num_classes=3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training, not the identity it begins with
            for tensor in (module.running_mean, module.weight, module.bias):
                nn.init.normal_(tensor)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()


@torch.no_grad()
def test_the_function_stays(net):
    image = torch.randn(2, 3, 45, 64)
    expected = net(image)
    torch.testing.assert_close(for_inference(net)(image), expected, rtol=1e-4, atol=1e-4)


def test_only_the_norm_before_the_first_convolution_is_left(net):
    def norms():
        return [name for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)]

    assert len(norms()) == 3 * 10
    fold_batch_norms(net)
    assert len(norms()) == 10
    assert all(name.endswith("conv.0") for name in norms())


def test_a_network_in_training_is_refused(net):
    with pytest.raises(ValueError, match="training mode"):
        fold_batch_norms(net.train())


@torch.no_grad()
def test_a_norm_that_also_activates_is_left_alone():
    from timm.layers import BatchNormAct2d

    net = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4)).eval()
    image = torch.randn(1, 3, 8, 8)
    expected = net(image)
    assert torch.equal(fold_batch_norms(net)(image), expected)


@torch.no_grad()
def test_no_weight_is_copied_in_a_call(net):
    image = torch.randn(1, 3, 64, 64)
    for_inference(net)(image)  # warm
    with torch.profiler.profile(record_shapes=True) as profile:
        net(image)
    shapes = {tuple(weight.shape) for weight in net.parameters() if weight.numel() > 1000}
    shapes |= {(shape[0], *shape[:0:-1]) for shape in shapes}  # and turned, as the scan takes them
    copied = [event.input_shapes[0] for event in profile.events() if event.name == "aten::copy_"]
    assert copied
    assert not shapes.intersection(tuple(shape) for shape in copied)


def test_packed_convolutions_are_the_same_at_every_size_and_batch(net):
    plain = copy.deepcopy(net)
    for_inference(net)
    assert sum(isinstance(module, PackedConv2d) for module in net.modules()) == 4 * 10  # three a branch, one a scan
    for shape in ((1, 3, 64, 64), (3, 3, 64, 64), (1, 3, 33, 50), (1, 3, 64, 64)):
        image = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(net(image), plain(image), rtol=1e-4, atol=1e-4)


def test_a_packed_convolution_computes_itself_and_its_activation():
    torch.manual_seed(0)
    for activation in FOLLOWING:
        conv = nn.Conv2d(16, 16, 3, stride=2, padding=1, dilation=2, groups=4)
        packed = PackedConv2d(conv, activation())
        x = torch.randn(1, 16, 9, 11)
        expected = activation()(conv(x))
        with torch.inference_mode(), torch.profiler.profile() as profile:
            torch.testing.assert_close(packed(x), expected)
        assert any("_convolution_pointwise" in event.name for event in profile.events())
        torch.testing.assert_close(packed(x), expected)  # with gradients it is plain torch
        packed(x).sum().backward()
        assert conv.weight.grad is not None


@torch.no_grad()
def test_changed_weights_and_copies_are_packed_anew(net):
    image = torch.randn(1, 3, 32, 32)
    before = for_inference(net)(image)
    other = copy.deepcopy(net)
    torch.testing.assert_close(other(image), before)
    for module in other.modules():
        if isinstance(module, PackedConv2d):
            module.weight.mul_(1.5)
    plain = copy.deepcopy(other)
    changed = other(image)
    assert (changed - before).abs().max() > 1e-3
    with torch.enable_grad():  # plain convolutions
        torch.testing.assert_close(changed, plain(image), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(net(image), before)
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(image), before)


@torch.inference_mode()
def test_four_threads_with_images_of_different_sizes_share_packed_convolutions(net):
    images = [torch.randn(1, 3, 32 + 8 * i, 48) for i in range(4)]
    expected = [net(image) for image in images]
    for_inference(net)

    def ask(i):
        with torch.inference_mode():
            return [net(images[i]) for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        for i, answers in enumerate(pool.map(ask, range(4))):
            for answer in answers:
                torch.testing.assert_close(answer, expected[i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "other",
    [nn.Conv2d(3, 4, 3, padding="same"), nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.Linear(3, 4)],
)
def test_what_onednn_would_compute_otherwise_is_left_alone(other):
    assert not can_pack(other)
    assert not can_pack(nn.Conv2d(3, 4, 3, dtype=torch.float64))
