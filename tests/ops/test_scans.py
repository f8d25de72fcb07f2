"""Every backend against the reference loop: forward and all gradients."""

import threading

import pytest
import torch
from scan_cases import cross_scan_case, operands, relative_error, selective_scan_case, with_gradients
from torch.utils.flop_counter import FlopCounterMode

from medmamba.network.ss2d import SS2D
from medmamba.ops import cross_scan, reference, selective_scan

BACKENDS = ["cpu", "chunked"]
FLOAT64 = 1e-11  # relative, of the whole tensor
FLOAT32 = 1e-5
HALF = {torch.bfloat16: 1e-2, torch.float16: 2e-3}  # the rounding of inputs and outputs themselves


def assert_all_close(actual, expected, tolerance):
    assert actual.keys() == expected.keys()
    for name in expected:
        assert actual[name].shape == expected[name].shape
        error = relative_error(actual[name], expected[name])
        assert error < tolerance, f"{name}: {error}"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("length", [1, 7, 49, 63, 196, 1000, 3136], ids="l{}".format)
def test_selective_scan_matches_reference(backend, length):
    case = selective_scan_case(b=1, length=length)
    expected = with_gradients(selective_scan, case, backend="reference")
    assert_all_close(with_gradients(selective_scan, case, backend=backend), expected, FLOAT64)
    single = {name: t.float() for name, t in case.items()}
    assert_all_close(with_gradients(selective_scan, single, backend=backend), expected, 20 * FLOAT32)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (2, 1, 7, 8), (1, 9, 1, 5), (1, 7, 7, 40), (3, 14, 14, 33)], ids=str)
def test_cross_scan_matches_reference(backend, shape):
    b, h, w, d = shape
    case = cross_scan_case(b, h, w, d)
    expected = with_gradients(cross_scan, case, backend="reference")
    assert_all_close(with_gradients(cross_scan, case, backend=backend), expected, FLOAT64)
    single = {name: t.float() for name, t in case.items()}
    assert_all_close(with_gradients(cross_scan, single, backend=backend), expected, FLOAT32)


@pytest.mark.parametrize("backend", BACKENDS)
def test_cross_scan_matches_reference_on_a_long_map(backend):
    case = cross_scan_case(b=1, h=56, w=56, d=8)
    expected = with_gradients(cross_scan, case, backend="reference")
    assert_all_close(with_gradients(cross_scan, case, backend=backend), expected, FLOAT64)


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_keeps_the_state_in_float32(backend, dtype):
    case = cross_scan_case(h=7, w=7, dtype=dtype)
    expected = reference.cross_scan(**{name: t.double() for name, t in case.items()})
    actual = cross_scan(**case, backend=backend)
    assert actual.dtype == dtype
    assert relative_error(actual, expected) < HALF[dtype]


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
@pytest.mark.parametrize("step", [-20.0, 20.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_extreme_steps_stay_finite_and_right(backend, step, dtype):
    case = selective_scan_case(length=196)
    case["dt"] = torch.full_like(case["dt"], step)
    case["dt_bias"] = torch.zeros_like(case["dt_bias"])
    expected = with_gradients(selective_scan, case, backend="reference")
    actual = with_gradients(selective_scan, {k: t.to(dtype) for k, t in case.items()}, backend=backend)
    for name, value in actual.items():
        assert value.isfinite().all(), name
        if expected[name].norm() > 1e-12:  # exp(-20 |A|) times something is no number to compare digits of
            assert relative_error(value, expected[name]) < (FLOAT64 if dtype == torch.float64 else 1e-4), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_zero_decay_does_not_poison_what_follows(backend):
    """Where one step is so large that all is forgotten, nothing may be divided by that decay."""
    case = selective_scan_case(length=64)
    case["dt"][:, :, 20] = 1e4
    assert_all_close(
        with_gradients(selective_scan, {k: t.float() for k, t in case.items()}, backend=backend),
        with_gradients(selective_scan, case, backend="reference"),
        1e-4,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_decays_that_float32_can_and_cannot_hold_lie_side_by_side(backend):
    """A kernel may compute the two in different ways: here some tokens and channels are of either kind."""
    case = cross_scan_case(h=6, w=7, d=40, n=16)
    case["A"] = -torch.arange(1.0, 17, dtype=torch.float64).expand(4, 40, 16).contiguous()
    case["dt_bias"] += torch.linspace(-3, 12, 40, dtype=torch.float64)  # 16 times the step: from under 1 to over 200
    assert_all_close(
        with_gradients(cross_scan, {k: t.float() for k, t in case.items()}, backend=backend),
        with_gradients(cross_scan, case, backend="reference"),
        1e-5,
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FC00001, 0x7FFFFFFF], ids=hex)
def test_a_nan_is_not_hidden(backend, bits):
    case = cross_scan_case(dtype=torch.float32)
    case["A"].view(torch.int32)[0, 0, 0] = bits
    assert case["A"][0, 0, 0].isnan()
    assert cross_scan(**case, backend=backend)[..., 0].isnan().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_non_contiguous_inputs(backend):
    case = cross_scan_case(h=5, w=3)
    expected = with_gradients(cross_scan, case, backend="reference")
    strided = {name: torch.stack([t, t], dim=-1)[..., 0] for name, t in case.items()}
    strided["x"] = case["x"].permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert not strided["x"].is_contiguous()
    leaves = {name: t.detach().requires_grad_() for name, t in strided.items()}
    y = cross_scan(**leaves, backend=backend)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = torch.autograd.grad(y, list(leaves.values()), grad.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1))
    assert_all_close({"y": y, **dict(zip(leaves, gradients, strict=True))}, expected, FLOAT64)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("left_out", [(), ("D",), ("dt_bias",), ("D", "dt_bias")], ids=str)
def test_gradcheck_of_the_one_dimensional_scan(backend, left_out):
    case = selective_scan_case(b=2, g=2, d=2, n=2, length=5)
    case = {name: t.requires_grad_() for name, t in case.items() if name not in left_out}
    names = list(case)

    def function(*tensors):
        return selective_scan(**dict(zip(names, tensors, strict=True)), backend=backend)

    assert torch.autograd.gradcheck(function, tuple(case.values()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck_of_the_cross_scan(backend):
    case = [t.requires_grad_() for t in cross_scan_case(b=2, h=2, w=3, d=3, n=2, r=1).values()]
    assert torch.autograd.gradcheck(lambda *tensors: cross_scan(*tensors, backend=backend), case)


@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck(backend):
    torch.library.opcheck(torch.ops.medmamba.cross_scan.default, (*operands(cross_scan_case()), backend))
    one = [t.requires_grad_() for t in selective_scan_case().values()]
    torch.library.opcheck(torch.ops.medmamba.selective_scan.default, (*one, backend))
    torch.library.opcheck(torch.ops.medmamba.selective_scan.default, (*one[:5], None, None, backend))


def test_autocast_leaves_the_recurrence_in_float32():
    """f012: a scan that runs in half precision under autocast overflows."""
    case = cross_scan_case(h=7, w=7, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = cross_scan(**case)
    assert torch.equal(actual, cross_scan(**case))


@pytest.mark.parametrize("backend", BACKENDS)
def test_flops_count_the_scan_by_its_formula(backend):
    case = cross_scan_case(b=2, h=3, w=5, d=8, n=4, r=2, dtype=torch.float32)
    with FlopCounterMode(display=False) as counter:
        cross_scan(**case, backend=backend)
    tokens = 2 * 3 * 5 * 4
    assert counter.get_total_flops() == 9 * tokens * 8 * 4 + 2 * tokens * 8 * (2 + 1)


def test_shapes_that_do_not_fit_are_named():
    case = cross_scan_case()
    with pytest.raises(ValueError, match=r"D is \(4, 7\)"):
        cross_scan(**{**case, "D": case["D"][:, :7]})
    line = selective_scan_case()
    with pytest.raises(ValueError, match="groups of B"):
        selective_scan(**{**line, "B": line["B"].repeat(1, 2, 1, 1)})


def test_concurrent_callers_get_the_same_numbers():
    case = cross_scan_case(h=14, w=14, d=64, dtype=torch.float32)
    expected = cross_scan(**case, backend="cpu")
    results = [None] * 4

    def call(i):
        results[i] = [cross_scan(**case, backend="cpu") for _ in range(5)]

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(y, expected) for ys in results for y in ys)


def test_the_number_of_threads_does_not_change_the_output():
    case = cross_scan_case(b=1, h=14, w=14, d=64, dtype=torch.float32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        single = cross_scan(**case, backend="cpu")
        torch.set_num_threads(2)
        assert torch.equal(cross_scan(**case, backend="cpu"), single)
    finally:
        torch.set_num_threads(before)


def test_a_rank_that_is_made_even_changes_nothing():
    torch.manual_seed(0)
    ss2d = SS2D(16).double()
    assert ss2d.rank == 1
    x, A = torch.randn(2, 3, 4, 32, dtype=torch.float64), -torch.exp(ss2d.A_log)
    y = []
    for x_proj, dt_weight in ((ss2d.x_proj_weight, ss2d.dt_weight), ss2d._even_rank()):
        proj = (x @ x_proj.flatten(0, 1).T).unflatten(-1, (4, -1))
        y.append(cross_scan(x, proj, dt_weight, ss2d.dt_bias, A, ss2d.D, backend="reference"))
    assert dt_weight.shape[-1] == 2
    assert relative_error(y[1], y[0]) < 1e-14
