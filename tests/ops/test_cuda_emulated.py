"""The CUDA kernels without a card: their text, run lane by lane on the CPU, against the float64 reference."""

from functools import cache

import pytest
import torch
import warp_emulator
from scan_cases import cross_scan_case, relative_error
from warp_emulator import EmulatedKernels, poisoned

from medmamba.ops import cuda, reference

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}  # as on the card

pytestmark = pytest.mark.skipif(warp_emulator.COMPILER is None, reason="needs g++")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    return cache(lambda *macros: EmulatedKernels(folder, *macros))


@pytest.fixture
def card(build, monkeypatch):
    """`cuda` on emulated kernels, with every new tensor full of NaN; the kernels that were used."""
    used = []

    def load(dtype, rank, states, unit, device):
        used.append(build(dtype, rank, states, unit))
        return used[-1]

    monkeypatch.setattr(cuda, "load", load)
    monkeypatch.setattr(torch, "empty", poisoned(torch.empty))
    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned(torch.Tensor.new_empty))
    return used


def gradient(case):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(case["x"].shape, generator=generator, dtype=torch.float64).to(case["x"].dtype)


def truth(case, grad):
    """y and every gradient by the reference loop, in float64."""
    leaves = {name: t.detach().double().requires_grad_() for name, t in case.items()}
    y = reference.cross_scan(**leaves)
    gradients = torch.autograd.grad(y, list(leaves.values()), grad.double())
    return {"y": y.detach(), **dict(zip(leaves, gradients, strict=True))}


def found(case, grad):
    gradients = cuda.cross_scan_backward(grad, *case.values())
    return {"y": cuda.cross_scan(**case), **dict(zip(case, gradients, strict=True))}


def check(case, tolerance=None):
    grad = gradient(case)
    expected, actual = truth(case, grad), found(case, grad)
    for name, value in actual.items():
        assert value.dtype == case["x"].dtype
        assert relative_error(value, expected[name]) < (tolerance or TOLERANCE[value.dtype]), name
    return actual


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("shape", "n", "r"),
    [((2, 3, 7, 33), 16, 3), ((1, 1, 1, 4), 4, 2), ((1, 5, 4, 40), 5, 6)],
    ids=str,
)
def test_forward_and_every_gradient(card, shape, n, r, dtype):
    check({name: t.to(dtype) for name, t in cross_scan_case(*shape, n=n, r=r).items()})


def test_states_are_taken_in_turns(card):
    check({name: t.float() for name, t in cross_scan_case(1, 3, 5, 6, n=20, r=3).items()})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_segments_link_up(card, dtype, monkeypatch):
    monkeypatch.setattr(cuda, "FEWEST", 16)
    case = {name: t.to(dtype) for name, t in cross_scan_case(1, 7, 11, 34, n=16, r=3).items()}
    assert cuda._Case(*case.values()).segments > 2
    check(case)


def test_the_order_of_the_lanes_does_not_matter(card, monkeypatch):
    case = {name: t.float() for name, t in cross_scan_case(1, 5, 5, 33, n=16, r=3).items()}
    grad = gradient(case)
    up = found(case, grad)
    monkeypatch.setattr(EmulatedKernels, "descending", True)
    down = found(case, grad)
    assert all(torch.equal(up[name], down[name]) for name in up)


@pytest.mark.parametrize("step", [-20.0, 20.0])
def test_extreme_steps(card, step):
    case = cross_scan_case(1, 3, 4, 8, n=16, r=3)
    case["dt_bias"].fill_(step)
    case = {name: t.float() for name, t in case.items()}
    grad = gradient(case)
    expected = truth(case, grad)
    for name, value in found(case, grad).items():
        assert value.isfinite().all(), name
        if expected[name].norm() > 1e-12:
            assert relative_error(value, expected[name]) < 1e-4, name


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("u = k < 2 ? t", "u = k < 1 ? t"),  # a direction
        ("carried = alone + decay * carried", "carried = alone"),  # the link between segments
        ("float turn = g[e] * before[i][e]", "float turn = g[e] * state[e]"),  # one gradient
        ("inside && i + first < steps);", "inside);"),  # what comes after the end
    ],
)
def test_a_fault_would_be_seen(tmp_path, card, right, wrong, monkeypatch):
    from importlib import resources

    text = (resources.files("medmamba.ops") / "cuda_kernels.cu").read_text()
    assert text.count(right) == 1
    (tmp_path / "cuda_kernels.cu").write_text(text.replace(right, wrong))
    monkeypatch.setattr(warp_emulator.resources, "files", lambda package: tmp_path)
    monkeypatch.setattr(cuda, "FEWEST", 16)
    monkeypatch.setattr(cuda, "load", lambda *macros: EmulatedKernels(tmp_path, *macros[:-1]))
    with pytest.raises(AssertionError):
        check({name: t.float() for name, t in cross_scan_case(1, 7, 11, 8, n=4, r=2).items()})
