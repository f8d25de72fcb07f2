import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from medmamba.training import batchnorm
from medmamba.training.batchnorm import SharedBatchNorm, average_running_statistics, synchronise

LAYERS = {
    "2d": lambda: nn.BatchNorm2d(3),
    "1d": lambda: nn.BatchNorm1d(3),
    "cumulative": lambda: nn.BatchNorm2d(3, momentum=None),
    "plain": lambda: nn.BatchNorm2d(3, affine=False, track_running_stats=False),
    "with activation": lambda: BatchNormAct2d(3),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_in_one_process_it_is_torchs_layer(kind: str, training: bool) -> None:
    torch.manual_seed(0)
    layer = LAYERS[kind]().double()
    shared = synchronise(copy.deepcopy(layer), "cpu")
    assert isinstance(shared, SharedBatchNorm)
    shape = (5, 3) if kind == "1d" else (5, 3, 4, 2)
    for _ in range(3):
        inputs = [torch.randn(shape, dtype=torch.float64).requires_grad_() for _ in range(2)]
        inputs[1].data.copy_(inputs[0].data)
        outputs = [module.train(training)(x) for module, x in zip((layer, shared), inputs, strict=True)]
        for output in outputs:
            output.square().cumsum(0).sum().backward()
        torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-10, atol=1e-10)
    expected = layer.state_dict()
    assert shared.state_dict().keys() == expected.keys()
    for name, tensor in shared.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-12, atol=1e-12)
    for one, other in zip(shared.parameters(), layer.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-10)


def test_names_of_a_models_tensors_stay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    names = list(model.state_dict())
    assert list(synchronise(model, "cpu").state_dict()) == names


def test_running_statistics_become_those_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), BatchNormAct2d(4)) for _ in range(2))
    for model in (mine, other):
        model(torch.randn(6, 3, 4, 4))
    layers = [[model[i] for i in (0, 2)] for model in (mine, other)]
    expected = {
        name: [(one + two) / 2 for one, two in zip(*([getattr(m, name) for m in part] for part in layers), strict=True)]
        for name in ("running_mean", "running_var")
    }
    theirs = torch.cat([t for layer in layers[1] for t in (layer.running_mean, layer.running_var)])
    monkeypatch.setattr(batchnorm.dist, "all_reduce", lambda t: t.add_(theirs))
    monkeypatch.setattr(batchnorm.dist, "get_world_size", lambda: 2)
    average_running_statistics(mine)
    for name, values in expected.items():
        for layer, value in zip(layers[0], values, strict=True):
            torch.testing.assert_close(getattr(layer, name), value)
    average_running_statistics(synchronise(nn.BatchNorm2d(3), "cpu"))  # nothing to do, and so no exchange
