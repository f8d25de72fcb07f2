"""The published model's numbers, and its checkpoints."""

import json

import numpy as np
import pytest
import torch

from medmamba.errors import InputError
from medmamba.models import MedMamba, create_model, load_published
from medmamba.models.medmamba_checkpoint import variant_name
from medmamba.models.official import from_published, load_with_report, to_published
from medmamba.ops import use_backend

BACKENDS = ["cpu", "chunked", "reference"]


def relative(actual, expected):
    actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    return np.abs(actual - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("case", ["0", "1"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_parity_in_float64(golden_folder, backend, case):
    golden = np.load(golden_folder / "mini.npz")
    model = load_published(golden_folder / "mini.pth").double()
    image = torch.tensor(golden[f"{case}.input"], dtype=torch.float64, requires_grad=True)
    with use_backend(backend):
        features = model.forward_features(image)
        logits = model.forward_head(features)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(golden[f"{case}.target"]))
        loss.backward()
    assert relative(features.detach(), golden[f"{case}.features"]) < 1e-9
    assert relative(logits.detach(), golden[f"{case}.logits"]) < 1e-9
    assert relative(loss.item(), golden[f"{case}.loss"]) < 1e-9
    assert relative(image.grad, golden[f"{case}.grad_input"]) < 1e-9
    norms = to_published({name: p.grad for name, p in model.named_parameters()})
    prefix = f"{case}.grad_norm."
    expected = {name.removeprefix(prefix): golden[name] for name in golden.files if name.startswith(prefix)}
    assert norms.keys() == expected.keys()
    for name, gradient in norms.items():
        assert relative(gradient.norm().item(), expected[name]) < 1e-9, name


@pytest.mark.parametrize("name", ["mini", "vmamba_mini"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_logits_of_both_families(golden_folder, backend, name):
    golden = np.load(golden_folder / f"{name}.npz")
    model = load_published(golden_folder / f"{name}.pth")
    for case in ("0", "1"):
        image = torch.tensor(golden[f"{case}.input"])
        with use_backend(backend), torch.no_grad():
            assert relative(model.float()(image), golden[f"{case}.logits"]) < 1e-5
            assert relative(model.double()(image.double()), golden[f"{case}.logits"]) < 1e-9


@pytest.mark.parametrize("name", ["mini", "vmamba_mini"])
def test_round_trip_is_exact(golden_folder, name):
    state = torch.load(golden_folder / f"{name}.pth", weights_only=True)
    there_and_back = to_published(from_published(state))
    assert there_and_back.keys() == state.keys()
    assert all(torch.equal(there_and_back[key], state[key]) for key in state)
    model = load_published(state)
    again = to_published(model.state_dict())
    assert all(torch.equal(again[key], state[key]) for key in state)


def test_f033_tiny_has_the_published_names_and_shapes(golden_folder):
    shapes = json.loads((golden_folder / "official_state_dict_shapes.json").read_text())["depths_2_2_4_2_dims_96"]
    torch.manual_seed(0)
    state = {name: 0.05 * torch.rand(shape) if shape else torch.tensor(0) for name, shape in shapes.items()}
    model, report = load_with_report(state)
    assert not report.missing
    assert not report.unexpected
    assert {k: list(v.shape) for k, v in to_published(model.state_dict()).items()} == {
        k: list(v) for k, v in shapes.items()
    }
    ours = create_model("medmamba_tiny", num_classes=model.num_classes).eval()
    ours.load_state_dict(from_published(state))
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert model(image).isfinite().all()
        assert torch.equal(model(image), ours(image))


def test_f033_unknown_names_are_listed_and_a_poor_match_is_an_error(golden_folder):
    state = torch.load(golden_folder / "mini.pth", weights_only=True)
    _, report = load_with_report({**state, "decoder.weight": torch.zeros(2)})
    assert report.unexpected == ("decoder.weight",)
    assert "1 unexpected (decoder.weight)" in str(report)
    poor = {k: v for k, v in state.items() if "in_proj" not in k}
    with pytest.raises(InputError, match=r"does not fit .* missing .*in_proj"):
        load_published(poor)
    with pytest.raises(InputError, match="no checkpoint of the published"):
        load_published({"conv1.weight": torch.zeros(1)})


@pytest.mark.parametrize("wrapper", ["state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_f042_wrappers_and_prefixes_come_off(golden_folder, tmp_path, wrapper, prefix):
    state = torch.load(golden_folder / "mini.pth", weights_only=True)
    saved = {prefix + name: value for name, value in state.items()}
    torch.save({wrapper: saved, "epoch": 3} if wrapper else saved, tmp_path / "checkpoint.pth")
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = load_published(golden_folder / "mini.pth")(image)
        assert torch.equal(load_published(tmp_path / "checkpoint.pth")(image), expected)


class Payload:
    def __reduce__(self):
        import os

        return os.system, ("touch executed",)


def test_nothing_in_a_checkpoint_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"patch_embed.proj.weight": Payload()}, "evil.pth")
    with pytest.raises(InputError, match="cannot be read as plain weights"):
        load_published("evil.pth")
    assert not (tmp_path / "executed").exists()
    with pytest.raises(InputError, match="there is no file"):
        load_published("absent.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(InputError, match=r"text\.pth cannot be read"):
        load_published("text.pth")


def test_a_new_head_on_request(golden_folder):
    model = load_published(golden_folder / "mini.pth", num_classes=3)
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"depths": (1, 2), "widths": (8, 16), "patch_size": 2, "state_size": 4, "in_chans": 1},
        {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64), "block": "sum"},
        {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64), "block": "scan", "final_norm": True},
    ],
)
def test_the_network_is_read_off_the_tensors(arguments):
    torch.manual_seed(0)
    model = MedMamba(num_classes=4, **arguments).eval()
    again = load_published(to_published(model.state_dict()))
    image = torch.randn(1, arguments.get("in_chans", 3), 32, 48)
    with torch.no_grad():
        assert torch.equal(again(image), model(image))


def test_a_published_size_is_known_by_name():
    row = {"depths": (2, 2, 8, 2), "widths": (96, 192, 384, 768), "block": "split", "final_norm": False}
    assert variant_name(row) == "medmamba_small"
    assert variant_name({**row, "depths": (1, 1, 1, 1)}) == "medmamba_nano"


def test_unknown_models_get_a_suggestion():
    with pytest.raises(InputError, match=r"no model 'medmamba_tinny'; did you mean 'medmamba_tiny'\?"):
        create_model("medmamba_tinny")
