"""The CUDA kernels without a card: their text, run lane by lane on the CPU, against the float64 reference."""

from functools import cache
from importlib import resources

import pytest
import torch
import warp_emulator
from scan_cases import cross_scan_case, relative_error
from warp_emulator import EmulatedKernels, poisoned

from medmamba.ops import chunked, cuda, cuda_conv, cuda_module, reference

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}  # as on the card

pytestmark = pytest.mark.skipif(warp_emulator.COMPILER is None, reason="needs g++")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    return cache(lambda source, macros: EmulatedKernels(folder, source, macros))


@pytest.fixture
def card(build, monkeypatch):
    """The kernels of `cuda` and `cuda_conv` are emulated, and every new tensor is full of NaN."""
    for module in (cuda, cuda_conv):
        monkeypatch.setattr(module, "load", lambda source, macros, device: build(source, macros))
    monkeypatch.setattr(torch, "empty", poisoned(torch.empty))
    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned(torch.Tensor.new_empty))


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
        ("state[e] += first[e]", "state[e] += 0.f"),  # what earlier segments add in the backward
        ("float turn = g[e] * before[i][e]", "float turn = g[e] * state[e]"),  # one gradient
        ("inside && i + first < steps);", "inside);"),  # what comes after the end
    ],
)
def test_a_fault_would_be_seen(tmp_path, card, right, wrong, monkeypatch):
    break_kernels(tmp_path, monkeypatch, cuda_module.SCAN, right, wrong)
    monkeypatch.setattr(cuda, "FEWEST", 16)
    with pytest.raises(AssertionError):
        check({name: t.float() for name, t in cross_scan_case(1, 7, 11, 8, n=4, r=2).items()})


def break_kernels(folder, monkeypatch, source, right, wrong):
    """Let `cuda` and `cuda_conv` run kernels with a fault."""
    for name in (cuda_module.SHARED[-1], source.file):
        text = (resources.files("medmamba.ops") / name).read_text()
        if name == source.file:
            assert text.count(right) == 1
        (folder / name).write_text(text.replace(right, wrong))
    monkeypatch.setattr(warp_emulator.resources, "files", lambda package: folder)
    for module in (cuda, cuda_conv):
        monkeypatch.setattr(module, "load", lambda source, macros, device: EmulatedKernels(folder, source, macros))


def conv_case(b, h, w, d, *, part=1, dtype=torch.float64):
    """Arguments of the convolution; the map is one of `part` parts of a wider one."""
    generator = torch.Generator().manual_seed(0)
    wide, weight, bias, grad = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((b, h, w, part * d), (d, 1, 3, 3), (d,), (b, h, w, d))
    )
    return wide.to(dtype).chunk(part, dim=-1)[-1], weight.float(), bias.float(), grad.to(dtype)


def check_conv(x, weight, bias, grad):
    exact = [t.double() for t in (x, weight, bias)]
    expected = [reference.conv_silu(*exact), *chunked.conv_silu_backward(grad.double(), *exact)]
    actual = [cuda_conv.conv_silu(x, weight, bias), *cuda_conv.conv_silu_backward(grad, x, weight, bias)]
    for value, truth, like in zip(actual, expected, (x, x, weight, bias), strict=True):
        assert value.dtype == like.dtype
        assert value.shape == truth.shape
        assert value.is_contiguous()
        assert relative_error(value, truth) < TOLERANCE[x.dtype]


def test_the_plain_gradients_are_those_of_autograd():
    *case, grad = conv_case(2, 3, 5, 4, part=2)
    leaves = [t.double().detach().requires_grad_() for t in case]
    expected = torch.autograd.grad(reference.conv_silu(*leaves), leaves, grad)
    for value, truth in zip(chunked.conv_silu_backward(grad, *leaves), expected, strict=True):
        assert relative_error(value.detach(), truth) < 1e-12


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("shape", "part"), [((2, 3, 19, 8), 1), ((1, 4, 1, 36), 2), ((1, 1, 8, 4), 2)], ids=str)
def test_convolution_and_every_gradient(card, shape, part, dtype):
    check_conv(*conv_case(*shape, part=part, dtype=dtype))


def test_a_map_that_lies_oddly_is_copied(card):
    x, *others = conv_case(1, 5, 6, 4, dtype=torch.bfloat16)
    check_conv(x.transpose(1, 2), *others[:2], others[2].transpose(1, 2))


def test_few_threads_share_the_sums(card, monkeypatch):
    monkeypatch.setattr(cuda_conv, "PARTS", 6)
    check_conv(*conv_case(2, 5, 9, 8, dtype=torch.float32))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("(adjoint ? 8 - i : i) * d", "i * d"),
        ("(1.f + out * (1.f - gate))", "1.f"),
        ("min(s.w, first + s.strip)", "min(s.w, first + 4)"),
        ("shift[c] += dy[c]", "shift[c] = dy[c]"),
    ],
)
def test_a_fault_of_the_convolution_would_be_seen(tmp_path, card, right, wrong, monkeypatch):
    break_kernels(tmp_path, monkeypatch, cuda_module.CONV, right, wrong)
    with pytest.raises(AssertionError):
        check_conv(*conv_case(2, 3, 11, 4, dtype=torch.float32))
