"""What timm and its users expect of every registered name."""

import re
import subprocess
import sys

import pytest
import timm
import torch

import medmamba.models
from medmamba.models import model_names

NAMES = model_names()
LIGHT = [name for name in NAMES if not name.endswith(("base", "base16", "small", "small12", "large"))]  # any depth

# parameters at 6 and at 1000 classes: the design's integers
PARAMETERS = {
    "medmamba_nano": (1_785_990, 2_041_448),
    "medmamba_tiny": (14_457_222, 15_221_608),
    "medmamba_small": (18_625_158, 19_389_544),
    "medmamba_base": (39_864_838, 40_883_688),
    "medmamba_small12": (22_793_094, 23_557_480),
    "medmamba_base16": (47_126_022, 48_144_872),
    "medmamba_tiny_scan": (16_148_646, 16_913_032),
    "medmamba_tiny_sum": (51_552_486, 52_316_872),
    "medmamba_tiny_split": (14_457_222, 15_221_608),
    "medmamba_tiny_shuffle": (14_457_222, 15_221_608),
    "vmamba_tiny": (22_129_062, 22_893_448),
    "vmamba_small": (43_653_030, 44_417_416),
    "vmamba_base": (75_235_206, 76_254_056),
    "medvit_tiny": (31_142_590, 32_161_440),
    "medvit_small": (44_412_122, 45_430_972),
    "medvit_large": (57_681_654, 58_700_504),
}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_every_variant(name):
    """f028: what a name means is pinned to the unit."""
    with torch.device("meta"):
        counts = tuple(
            sum(p.numel() for p in timm.create_model(name, num_classes=classes).parameters()) for classes in (6, 1000)
        )
    assert counts == PARAMETERS[name]


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    """One of each, with five classes."""
    torch.manual_seed(0)
    return timm.create_model(request.param, num_classes=5, drop_path_rate=0.2).eval()


def test_forward_head_and_classifier(model):
    image = torch.randn(2, 3, 40, 32)
    with torch.no_grad():
        features = model.forward_features(image)
        channels_last = model.output_fmt == "NHWC"
        assert channels_last == isinstance(model, medmamba.models.MedMamba)
        assert features.shape == ((2, 2, 1, model.num_features) if channels_last else (2, model.num_features, 2, 1))
        pooled = model.forward_head(features, pre_logits=True)
        assert pooled.shape == (2, model.head_hidden_size)
        torch.testing.assert_close(pooled, features.mean(dim=(1, 2) if channels_last else (2, 3)))
        logits = model(image)
        torch.testing.assert_close(logits, model.forward_head(features))
        assert logits.shape == (2, 5)
        assert model.get_classifier().out_features == 5
        model.reset_classifier(0)
        assert model(image).shape == (2, model.num_features)
        model.reset_classifier(5, "avg")
        assert model.num_classes == 5
        assert model(image).shape == (2, 5)


def test_features_and_intermediates(model):
    image = torch.randn(1, 3, 48, 64)
    with torch.device("meta"):
        backbone = timm.create_model(
            model.default_cfg["architecture"], features_only=True, out_indices=(0, 2, 3)
        ).eval()
    state = {re.sub(r"^(stages|stem)\.", r"\1_", name): t for name, t in model.state_dict().items()}
    assert not backbone.load_state_dict(state, strict=False, assign=True).missing_keys
    assert backbone.feature_info.channels() == [model.feature_info[i]["num_chs"] for i in (0, 2, 3)]
    assert backbone.feature_info.reduction() == [4, 16, 32]
    with torch.no_grad():
        maps = backbone(image)
        final, channels_last = model.forward_intermediates(image, indices=[0, 2, 3], output_fmt="NHWC")
        torch.testing.assert_close(final, model.forward_features(image))
        channels_first = model.forward_intermediates(image, indices=[0, 2, 3], intermediates_only=True)
        for reduction, one, two, three in zip((4, 16, 32), maps, channels_last, channels_first, strict=True):
            torch.testing.assert_close(one, two if model.output_fmt == "NHWC" else three)
            torch.testing.assert_close(two, three.permute(0, 2, 3, 1))
            assert three.shape[2:] == (-(-48 // reduction), 64 // reduction)
        assert len(model.forward_intermediates(image, indices=2, intermediates_only=True, stop_early=True)) == 2
    with pytest.raises(ValueError, match="output_fmt is 'CHW'"):
        model.forward_intermediates(image, output_fmt="CHW")


@pytest.mark.parametrize("name", LIGHT)
def test_pruned_model_runs(name):
    model = timm.create_model(name).eval()
    assert model.prune_intermediate_layers([1]) == [1]
    assert len(model.stages) == 2
    maps = model.forward_intermediates(torch.randn(1, 3, 32, 32), indices=[1], intermediates_only=True)
    assert maps[0].shape == (1, model.feature_info[1]["num_chs"], 4, 4)


@pytest.mark.parametrize("name", NAMES)
def test_description_and_parameter_groups(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    config = model.default_cfg
    assert config["input_size"] == (3, 224, 224)
    ours = isinstance(model, medmamba.models.MedMamba)
    assert config["mean"] == ((0.5, 0.5, 0.5) if ours else (0.485, 0.456, 0.406))
    assert config["std"] == ((0.5, 0.5, 0.5) if ours else (0.229, 0.224, 0.225))
    assert not config["fixed_input_size"]
    assert model.get_submodule(config["first_conv"]).in_channels == 3
    assert model.get_submodule(config["classifier"]) is model.get_classifier()
    names = dict(model.named_parameters())
    decayless = model.no_weight_decay()
    assert decayless <= names.keys()
    assert len(decayless) == (2 * sum(len(stage.blocks) for stage in model.stages) if ours else 0)
    assert all(name.rsplit(".")[-1] in ("A_log", "D") for name in decayless)
    groups = timm.models.group_parameters(model, model.group_matcher())
    assert sorted(name for group in groups.values() for name in group) == sorted(names)
    assert len(groups) >= (len(decayless) // 2 if ours else 10)


@pytest.mark.parametrize("name", LIGHT)
def test_every_parameter_gets_a_gradient_and_checkpointing_changes_none(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3, drop_path_rate=0.0)
    image = torch.randn(3, 3, 64, 32)

    def gradients():
        model.zero_grad()
        model(image).square().sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters()}

    plain = gradients()
    assert all(g.isfinite().all() for g in plain.values())
    model.set_grad_checkpointing(True)
    for parameter, gradient in gradients().items():
        torch.testing.assert_close(gradient, plain[parameter], rtol=1e-4, atol=1e-5)


def test_drop_path_is_on_the_scan_branch_alone_and_rises_linearly():
    model = timm.create_model("medmamba_tiny", drop_path_rate=0.3)
    rates = [block.drop_path.drop_prob for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx(torch.linspace(0, 0.3, 10).tolist())
    block = model.stages[0].blocks[1]
    block.drop_path.drop_prob = 1.0 - 1e-9
    x = torch.randn(2, 4, 4, 96)
    block.train()
    change = (block(x) - x).unflatten(-1, (48, 2))
    assert change[..., 0].abs().sum() > 0
    assert change[..., 1].abs().sum() == 0


def test_timm_knows_our_names_once_the_models_are_imported():
    command = "import timm, medmamba.models; print(timm.create_model('medmamba_nano', num_classes=2).num_classes)"
    run = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "2"
    assert set(NAMES) <= set(timm.list_models())
    assert medmamba.models.MedMamba.__module__ == "medmamba.network.medmamba"


def test_a_greyscale_model_is_a_colour_model_with_summed_stem():
    """f019: timm's own conversion of the first convolution applies to ours."""
    colour = timm.create_model("medmamba_nano", num_classes=2).eval()
    state = colour.state_dict()
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].sum(dim=1, keepdim=True)
    grey = timm.create_model("medmamba_nano", num_classes=2, in_chans=1).eval()
    grey.load_state_dict(state)
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(grey(image), colour(image.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)
