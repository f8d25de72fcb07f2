"""The scans where softplus has its ends: steps that are nothing, steps that forget all, and both side by side."""

import pytest
import torch
from scan_cases import cross_scan_case, relative_error, selective_scan_case, with_gradients

from medmamba.ops import cross_scan, selective_scan

BACKENDS = ["cpu", "chunked", "reference"]
BIASES = [-1000.0, -100.0, -50.0, -20.0, 20.0, 50.0, 100.0, 1000.0]
FLOAT64 = 3e-9  # the loop takes torch's softplus, which is its argument itself from 20 on: up to exp(-20) off
FLOAT32 = 1e-5
NOTHING = 1e-12  # of which float32 keeps no digits: exp(-50) times something
SCANS = {"selective": selective_scan, "cross": cross_scan}


def case_of(name):
    return selective_scan_case(length=49) if name == "selective" else cross_scan_case(h=5, w=7, d=12, n=16, r=2)


def assert_right(name, case, backend):
    """Finite and right, forward and every gradient, in float64 and in float32, against the loop in float64."""
    expected = with_gradients(SCANS[name], case, backend="reference")
    for dtype, tolerance in {torch.float64: FLOAT64, torch.float32: FLOAT32}.items():
        actual = with_gradients(SCANS[name], {key: tensor.to(dtype) for key, tensor in case.items()}, backend=backend)
        for key, value in actual.items():
            assert value.isfinite().all(), key
            if expected[key].norm() > NOTHING:
                assert relative_error(value, expected[key]) < tolerance, key
            else:
                assert value.abs().max() <= NOTHING, key


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("name", SCANS)
def test_every_step_at_one_end(name, bias, backend):
    case = case_of(name)
    case["dt_bias"].fill_(bias)
    assert_right(name, case, backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SCANS)
def test_both_ends_side_by_side(name, backend):
    """Channels from one end to the other."""
    case = case_of(name)
    bias = case["dt_bias"]
    bias.copy_(torch.linspace(-100, 100, bias.shape[-1], dtype=bias.dtype).expand_as(bias))
    assert_right(name, case, backend)


@pytest.mark.gpu
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("backend", ["cuda", "triton"])
def test_every_step_at_one_end_on_the_card(backend, bias):
    case = cross_scan_case(h=9, w=11, d=40, n=16, r=4)
    case["dt_bias"].fill_(bias)
    expected = with_gradients(cross_scan, case, backend="reference")
    actual = with_gradients(cross_scan, {key: tensor.float().cuda() for key, tensor in case.items()}, backend=backend)
    for key, value in actual.items():
        assert value.isfinite().all(), key
        if expected[key].norm() > NOTHING:
            assert relative_error(value.cpu(), expected[key]) < 1e-4, key
