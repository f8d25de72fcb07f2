"""MedViT: the published numbers, its sizes, its checkpoints, and its way through the product."""

import argparse
import json

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from torch import nn

from medmamba.bundle import Bundle, load_model
from medmamba.cli import main
from medmamba.data.preprocessing import Preprocessing
from medmamba.errors import InputError
from medmamba.evaluation import complexity
from medmamba.explain.layers import default_layers, find_layers
from medmamba.export import export
from medmamba.models import MedViT, create_model, load_published
from medmamba.models.medvit import VARIANTS, build, smallest_side
from medmamba.models.medvit_blocks import ECB, ESA, LTB, Embed, round32
from medmamba.models.official import from_published, load_with_report, to_published
from medmamba.network import for_inference
from medmamba.network.packed import PackedConv2d
from medmamba.tasks import Task

MINI = {
    "stem_widths": (16, 8, 24),
    "depths": (2, 2, 5, 2),
    "widths": ((32,), (96, 128), (64, 160), (64, 128)),
    "head_dim": 16,
}
# the least that has every part
SMALL = {
    "stem_widths": (8, 8, 16),
    "depths": (1, 1, 5, 1),
    "widths": ((16,), (16, 128), (16, 128), (16, 128)),
    "head_dim": 16,
}


def trained(**arguments):
    """As after training: no tensor is what it begins with."""
    torch.manual_seed(0)
    model = MedViT(**(SMALL | arguments))
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif tensor.ndim == 1:
            tensor.add_(0.3 * torch.randn_like(tensor))
        elif tensor.is_floating_point():
            tensor.normal_(std=tensor[0].numel() ** -0.5)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return trained(num_classes=3)


@pytest.fixture(scope="module")
def published(golden_folder):
    return torch.load(golden_folder / "medvit_mini.pth", weights_only=True)


@pytest.mark.parametrize("case", ["0", "1"])
def test_parity_in_float64(golden_folder, published, case):
    golden = np.load(golden_folder / "medvit_mini.npz")
    net = load_published(published).double()
    assert isinstance(net, MedViT)
    assert sum(p.numel() for p in net.parameters()) == 789_411
    image = torch.tensor(golden[f"{case}.input"], dtype=torch.float64, requires_grad=True)
    logits = net(image)
    loss = nn.functional.cross_entropy(logits, torch.tensor(golden[f"{case}.target"]))
    loss.backward()
    for name, value in (("logits", logits), ("loss", loss), ("grad_input", image.grad)):
        assert np.abs(value.detach().numpy() - golden[f"{case}.{name}"]).max() < 1e-9, name


@pytest.mark.slow
def test_the_bias_of_the_keys_has_no_influence(published):
    net = load_published(published).double()
    net(torch.randn(1, 3, 25, 25, dtype=torch.float64)).sum().backward()
    biases = [p.grad for name, p in net.named_parameters() if name.endswith("attention.k.bias")]
    assert len(biases) == 3
    assert all(gradient.abs().max() < 1e-12 for gradient in biases)


@pytest.mark.parametrize(
    ("name", "parameters", "entries", "giga", "giga_with_products"),
    [
        ("medvit_tiny", (31_142_590, 31_146_690, 32_161_440), 832, 5.823, 5.857),
        ("medvit_small", (44_412_122, 44_416_222, 45_430_972), 1232, 8.308, 8.356),
        ("medvit_large", (57_681_654, 57_685_754, 58_700_504), 1632, 10.792, 10.855),
    ],
)
def test_parameters_operations_and_entries_of_the_published_sizes(name, parameters, entries, giga, giga_with_products):
    with torch.device("meta"):
        counts = tuple(sum(p.numel() for p in build(name, num_classes=n).parameters()) for n in (6, 10, 1000))
        net = timm.create_model(name, num_classes=6)
    assert counts == parameters
    assert len(net.state_dict()) == entries
    found = complexity(net, (224, 224), 3)
    assert found["macs_conv_linear"] / 1e9 == pytest.approx(giga, abs=5e-4)
    assert found["flops_total"] / 2e9 == pytest.approx(giga_with_products, abs=5e-4)


def test_parameters_of_the_parts():
    with torch.device("meta"):
        net = build("medvit_tiny")
    blocks = [block for stage in net.stages for block in stage]
    sizes = {k: sum(p.numel() for p in blocks[k].parameters()) for k in (0, 1, 6, 11, 19)}
    assert sizes == {0: 104_835, 1: 98_499, 6: 456_450, 11: 1_764_866, 19: 6_936_066}
    assert sum(p.numel() for p in net.stem.parameters()) == 75_904


@pytest.mark.parametrize(
    ("number", "rounded"), [(1, 32), (47, 64), (48, 64), (79, 96), (80, 96), (192, 192), (120, 128), (111, 128)]
)
def test_rounding_to_32(number, rounded):
    """47 has 32 as its nearest, which is less than 0.9 of it; 111 has 96."""
    assert round32(number) == rounded


def test_a_key_is_the_mean_of_a_run_along_rows_and_the_rest_is_dropped():
    torch.manual_seed(0)
    attention = ESA(16, head_dim=8, ratio=2).double().eval()
    attention.norm.running_mean.normal_()
    x = torch.randn(2, 16, 3, 5, dtype=torch.float64)  # 15 cells: three keys of four, three cells are none
    y = torch.empty_like(x)
    for b in range(2):
        cells = [x[b, :, i, j] for i in range(3) for j in range(5)]
        runs = torch.stack([sum(cells[k * 4 : k * 4 + 4]) / 4 for k in range(3)])
        runs = (runs - attention.norm.running_mean) / (attention.norm.running_var + 1e-5).sqrt()
        k, v = attention.k(runs), attention.v(runs)
        for place, cell in enumerate(cells):
            q, heads = attention.q(cell), []
            for j in (slice(0, 8), slice(8, 16)):
                weights = (k[:, j] @ q[j] / 8**0.5).softmax(0)
                heads.append(weights @ v[:, j])
            y[b, :, place // 5, place % 5] = attention.proj(torch.cat(heads))
    torch.testing.assert_close(attention(x), y, rtol=1e-12, atol=1e-12)


def test_embedding_pools_only_what_is_there_and_may_be_nothing():
    embed = Embed(2, 4, stride=2)
    x = torch.arange(2 * 9, dtype=torch.float32).reshape(1, 2, 3, 3)
    assert embed.pool(x)[0, 0].tolist() == [[2.0, 3.5], [6.5, 8.0]]
    nothing = Embed(4, 4)
    assert not list(nothing.parameters())
    assert nothing(x) is x
    assert list(Embed(2, 4)._modules) == ["conv", "norm"]


def test_drop_path_rises_over_the_blocks_and_is_shared_in_a_transformer_block():
    net = MedViT(**(MINI | {"drop_path_rate": 0.4}))
    blocks = [block for stage in net.stages for block in stage]
    assert [type(block) for block in blocks] == [ECB] * 3 + [LTB] + [ECB] * 4 + [LTB] + [ECB, LTB]
    for k, block in enumerate(blocks):
        rate = 0.4 * k / 10
        if isinstance(block, ECB):
            assert block.drop_path.drop_prob == pytest.approx(rate)
        else:
            assert block.attention_drop_path.drop_prob == pytest.approx(0.75 * rate)
            assert block.mhca_drop_path.drop_prob == pytest.approx(0.25 * rate)
    rates = {row.drop_path_rate for row in VARIANTS.values()}
    assert rates == {0.1, 0.2}


def test_initialisation():
    torch.manual_seed(0)
    net = MedViT(**MINI)
    weights = torch.cat([m.weight.flatten() for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)])
    assert weights.detach().std() == pytest.approx(0.02, rel=0.01)
    assert not any(m.bias.any() for m in net.modules() if isinstance(m, nn.Linear | nn.BatchNorm2d))
    assert all(m.bias is None for m in net.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("size", [(25, 25), (28, 28), (33, 47), (16, 64), (64, 64)], ids=str)
def test_sizes(model, size):
    with torch.no_grad():
        assert model.forward_features(torch.randn(2, 3, *size)).shape == (2, 128, *(-(-side // 32) for side in size))
        assert model(torch.randn(2, 3, *size)).isfinite().all()


def test_sizes_that_are_too_small_are_refused_in_words(model):
    assert smallest_side() == 25
    with pytest.raises(ValueError, match=r"24 x 40 .* 16 cells of 8 x 8 pixels, so square ones at least 25 a side"):
        model(torch.randn(1, 3, 24, 40))
    with pytest.raises(InputError, match=r"medvit_tiny cannot take images of 24 x 24 pixels: .*; choose another size"):
        create_model("medvit_tiny", 2, image_size=(24, 24), **SMALL)
    features = timm.create_model("medvit_tiny", features_only=True, **SMALL)
    with pytest.raises(ValueError, match="a key is made of 16 cells and the map has 4; give larger images"):
        features(torch.randn(1, 3, 16, 16))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"depths": (1, 1, 4, 1)}, "third a multiple of 5"),
        ({"depths": (1, 1, 1)}, "four entries each"),
        ({"widths": ((16,), (64,), (16, 64), (16, 64))}, "one number for the first stage and two"),
        ({"ratios": (8, 4, 0, 1)}, "ratios .* 1 or more"),
        ({"mix": 1.0}, "128 for attention and 0 for convolution"),
        ({"head_dim": 48}, "no whole number of heads of 48"),
    ],
)
def test_arguments_that_make_no_network_are_named(arguments, words):
    with pytest.raises(InputError, match=words):
        create_model("medvit_tiny", 2, **(SMALL | arguments))


def test_an_embedding_between_equal_widths_vanishes():
    net = MedViT(**(SMALL | {"mix": 0.5}))
    assert all(len(block.projection) == 0 for block in net.modules() if isinstance(block, LTB))


def test_other_pools_and_a_dropped_head(model):
    image = torch.randn(2, 3, 32, 32)
    net = create_model("medvit_tiny", 4, global_pool="catavgmax", drop_rate=0.1, **SMALL).eval()
    with torch.no_grad():
        assert net(image).shape == (2, 4)
        assert net.forward_head(net.forward_features(image), pre_logits=True).shape == (2, net.head_hidden_size)
    assert create_model("medvit_tiny", 0, global_pool="", **SMALL).eval()(image).shape == (2, 128, 1, 1)


@torch.no_grad()
def test_made_ready_for_inference_it_is_the_same(model):
    image = torch.randn(2, 3, 45, 64)
    expected = model(image)
    ready = for_inference(trained(num_classes=3))
    torch.testing.assert_close(ready(image), expected, rtol=1e-4, atol=1e-4)
    packed = [module for module in ready.modules() if isinstance(module, PackedConv2d)]
    assert len(packed) == sum(isinstance(module, nn.Conv2d) for module in model.modules())
    # left are the norms that nothing but an addition or attention stands before
    norms = [name for name, module in ready.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert {name.rpartition(".")[2] for name in norms} == {"norm", "norm1", "norm2"}
    assert len(norms) == 8 + 3 + 1


@pytest.mark.slow
def test_the_exported_network_computes_what_ours_does(model, tmp_path):
    """Also where maps are odd, and with every norm: the published code leaves some out of its export."""
    arguments = json.loads(json.dumps(SMALL))
    bundle = Bundle("medvit_tiny", Task.MULTICLASS, ("a", "b", "c"), Preprocessing(35, 46), model_args=arguments)
    bundle.save(tmp_path / "run", model.state_dict())
    path, found = export(tmp_path / "run", images=3)
    assert found.passed
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 35, 46), dtype=np.uint8)
    session = onnxruntime.InferenceSession(path)
    (answer,) = session.run(None, {session.get_inputs()[0].name: pixels})
    with torch.no_grad():
        expected = model(torch.tensor(pixels).float().div(255).sub(0.5).div(0.5)).softmax(1)
    torch.testing.assert_close(torch.tensor(answer), expected, rtol=1e-4, atol=1e-5)


def test_heat_maps_come_from_a_stage(model):
    found = find_layers(model, 3, (64, 64))
    assert default_layers(model, found, (64, 64)) == ("gradcam", ("stages.1",))
    assert found["stages.1"] == (128, 8, 8)


@pytest.mark.parametrize("size", [32, 64])
def test_it_trains(tmp_path, size):
    out = tmp_path / "run"
    arguments = [f"{name}={json.dumps(value)}" for name, value in SMALL.items()]
    command = [
        "train",
        "phantoms:24",
        "--out",
        str(out),
        "--model",
        "medvit_tiny",
        "--recipe",
        "quick",
        "--epochs",
        "1",
    ]
    assert main([*command, "--image-size", str(size), str(size), "--device", "cpu", "--model-args", *arguments]) == 0
    assert json.loads((out / "bundle.json").read_text())["model"] == "medvit_tiny"


def test_names_go_there_and_back(published, model):
    there = from_published(published)
    assert list(to_published(there)) == list(published)
    assert all(torch.equal(value, published[name]) for name, value in to_published(there).items())
    assert from_published(to_published(model.state_dict())).keys() == model.state_dict().keys()
    expected = {
        "stem.3.norm.bias": "stem.3.norm.bias",
        "features.3.e_mhsa.norm.weight": "stages.1.1.attention.norm.weight",
        "features.3.projection.conv.weight": "stages.1.1.projection.conv.weight",
        "features.3.mhca.projection.weight": "stages.1.1.mhca.projection.weight",
        "features.9.conv.conv.6.fc.2.bias": "stages.3.0.lffn.gate.expand.bias",
        "proj_head.0.weight": "head.fc.weight",
    }
    for name, ours in expected.items():
        assert there[ours] is published[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_published_size_is_known_by_its_tensors(name):
    with torch.device("meta"):
        state = to_published(build(name, num_classes=7).state_dict())
        net, report = load_with_report({key: value.to("meta") for key, value in state.items()})
    assert not report.missing
    assert not report.unexpected
    assert [len(stage) for stage in net.stages] == list(VARIANTS[name].depths)
    assert {f"features.{sum(VARIANTS[name].depths) - 1}.e_mhsa.q.weight", "proj_head.0.bias", "norm.bias"} <= set(state)
    assert "features.1.patch_embed.conv.weight" not in state
    assert "features.6.patch_embed.conv.weight" not in state  # 192 channels come, and 192 are for attention


def test_import_of_a_published_checkpoint(published, tmp_path, capsys):
    torch.save({"model": published, "optimizer": {"state": {}}, "epoch": 3}, tmp_path / "medvit.pth")
    command = ["import", str(tmp_path / "medvit.pth"), "--image-size", "64", "64", "--out"]
    assert main([*command, str(tmp_path / "run")]) == 0
    assert "508 tensors loaded" in capsys.readouterr().out
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "run")(image), load_published(published)(image))
    assert main([*command, str(tmp_path / "other"), "--classes", "x", "y", "--new-head"]) == 0
    headless = {name: value for name, value in published.items() if not name.startswith("proj_head")}
    assert load_published(headless, num_classes=2)(image).shape == (1, 2)


def test_what_a_training_script_leaves_is_refused_in_one_sentence(published, tmp_path, capsys):
    state = {"model": published, "optimizer": {}, "args": argparse.Namespace(lr=0.1)}
    torch.save(state, tmp_path / "checkpoint.pth")
    assert main(["import", str(tmp_path / "checkpoint.pth"), "--out", str(tmp_path / "run")]) == 2
    words = capsys.readouterr().err
    assert "it also holds argparse.Namespace, a Python object; where you trust it, save the state dict" in words
    assert len(words.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features.3.e_mhsa.q.weight": None}, "2 have attention"),
        ({"features.5.mhca.norm.weight": None}, r"does not fit .* missing .*stages\.2\.1\.mhca\.norm\.weight"),
        ({"features.0.mhca.group_conv3x3.weight": None}, "lacks features.0.mhca.group_conv3x3.weight; it is not whole"),
        ({"features.5.conv.conv.0.weight": torch.zeros(3, 3)}, r"does not fit .*stages\.2\.1\.lffn\.expand\.weight"),
        ({"features.3.norm1.weight": torch.zeros(90)}, "90 of 128, 128 of 160, 96 of 128 channels for attention"),
        ({"features.10.e_mhsa.norm.weight": torch.zeros(96)}, "pools its keys, by a ratio that is not in the weights"),
        ({"features.0.norm.weight": torch.zeros(33)}, "33 channels has no whole number of heads of 16"),
    ],
)
def test_wrong_names_and_shapes_are_refused_in_one_sentence(published, change, words):
    state = {name: value for name, value in {**published, **change}.items() if value is not None}
    with pytest.raises(InputError, match=words) as refusal:
        load_published(state)
    assert "\n" not in str(refusal.value)
