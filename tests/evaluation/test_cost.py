"""Counts against numbers worked out by hand, the paper's, and timm models that are awkward to count."""

import pytest
import timm
import torch
from torch import nn

import medmamba.models  # noqa: F401  registers the names with timm
from medmamba.evaluation import complexity


class Small(nn.Module):
    """One grouped convolution and a linear layer that runs twice."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(4, 6, (3, 5), groups=2, padding="same")
        self.norm = nn.BatchNorm2d(6)
        self.linear = nn.Linear(6, 6)

    def forward(self, x):
        x = self.norm(self.convolution(x)).mean(dim=(2, 3))
        return self.linear(self.linear(x))


def test_counts_by_hand():
    model = Small().train()
    model.norm.eval()
    found = complexity(model, (7, 9), 4)
    convolution = 6 * 7 * 9 * 2 * 3 * 5
    assert found["macs_conv_linear"] == convolution + 2 * 36
    assert found["flops_total"] == 2 * (convolution + 2 * 36)
    assert found["flops_scan"] == 0
    assert found["parameters"] == 6 * 2 * 15 + 6 + 12 + 42
    assert (found["image_size"], found["channels"]) == ([7, 9], 4)


def test_the_model_is_left_as_it_was():
    model = Small().train()
    model.convolution.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    complexity(model, (7, 9), 4)
    assert (model.training, model.convolution.training, model.norm.training) == (True, False, True)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("name", "giga"),
    [
        ("medmamba_tiny", 2.01),
        ("medmamba_small", 2.73),
        ("medmamba_small12", 3.46),
        ("medmamba_base", 6.13),
        ("medmamba_base16", 7.42),
    ],
)
def test_multiply_adds_are_those_of_the_paper(name, giga):
    model = timm.create_model(name, num_classes=1000).to("meta")  # shapes alone: nothing is computed
    found = complexity(model, (224, 224), 3)
    assert found["macs_conv_linear"] / 1e9 == pytest.approx(giga, abs=0.005)
    assert found["flops_total"] > 2 * found["macs_conv_linear"] + found["flops_scan"], (
        "x and dt projections are missing"
    )
    assert found["flops_scan"] > 0.02 * found["flops_total"], "the scan has no formula"


def test_the_scan_grows_with_the_image():
    model = timm.create_model("medmamba_nano", num_classes=2)
    small, large = (complexity(model, (side, side), 3) for side in (32, 64))
    assert large["flops_scan"] == pytest.approx(4 * small["flops_scan"], rel=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_of_the_input(channels):
    model = timm.create_model("resnet10t", num_classes=2, in_chans=channels)
    assert complexity(model, (64, 64), channels)["channels"] == channels


def test_attention_is_in_the_full_count_alone():
    found = complexity(timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=0), (64, 64), 3)
    tokens, width = 17, 192
    linear = 2 * tokens * 12 * width**2 + 16 * 16 * 16 * 3 * width  # two blocks, patch embedding
    assert found["macs_conv_linear"] == linear
    assert found["flops_total"] == 2 * (linear + 2 * 2 * tokens**2 * width)  # two blocks, two products each


def test_class_tokens_that_are_expanded_parameters():
    # the counter's module hooks stumble over them without care
    model = timm.create_model("cait_xxs24_224", num_classes=2, img_size=32, depth=1)
    assert complexity(model, (32, 32), 3)["flops_total"] > 7e6
