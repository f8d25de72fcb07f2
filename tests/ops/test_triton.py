"""The Triton kernels: under Triton's interpreter, compiled for cards that are not here, and on one that is."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from scan_cases import cross_scan_case, operands, relative_error

from medmamba.ops import backend, cross_scan

FLOAT32 = 1e-5  # relative, of the whole tensor
EXTREME = 1e-4  # exp(x) of a large x in float32 has the rounding of x in it
HALF = {torch.bfloat16: 1e-2, torch.float16: 2e-3}  # the rounding of inputs and outputs themselves
PARAMETERS = ("dt_weight", "dt_bias", "A", "D")


def extreme(step, **sizes):
    case = cross_scan_case(**sizes)
    return {**case, "dt_bias": torch.full_like(case["dt_bias"], step)}


def mixed(dtype, **sizes):
    """As under autocast: map and projections in half precision, parameters in float32."""
    case = cross_scan_case(**sizes)
    return {name: t.to(torch.float32 if name in PARAMETERS else dtype) for name, t in case.items()}


def forgotten(**sizes):
    """One step so large that its decay is zero; nothing may be divided by that."""
    case = cross_scan_case(**sizes)
    case["proj"][:, 1, 1, :, 0] = 1e4
    return {**case, "dt_weight": case["dt_weight"].abs()}


# a token takes the interpreter about ten milliseconds
SMALL = {"b": 1, "h": 2, "w": 2, "d": 5, "n": 3, "r": 2}
CASES = {
    "one token": cross_scan_case(b=2, h=1, w=1, d=3, n=4, r=1),
    "a row, many states, two tiles": cross_scan_case(b=1, h=1, w=7, d=9, n=20, r=24),
    "a column, one state, two tiles": cross_scan_case(b=2, h=3, w=1, d=35, n=1, r=1),
    "a map": cross_scan_case(b=1, h=3, w=5, d=7, n=5, r=3),
    "tiny steps": extreme(-20.0, **SMALL),
    "large steps": extreme(20.0, **SMALL),
    "a zero decay": forgotten(**SMALL),
}
HALVES = {str(dtype): mixed(dtype, **SMALL) for dtype in HALF}
FAULTS = {  # in a kernel, and the case that must show it
    "position": (cross_scan_case(**SMALL), None),
    "softplus": (CASES["tiny steps"], None),
    "place": (cross_scan_case(b=1, h=1, w=1, d=5), 4),
}
NOT_A_NUMBER = {**cross_scan_case(b=1, h=1, w=1, d=5, n=3), "A": torch.full((4, 5, 3), float("nan"))}


def gradient(case):
    """One fixed gradient of the output."""
    g = torch.Generator().manual_seed(1)
    return torch.randn(case["x"].shape, generator=g, dtype=torch.float64).to(case["x"])


def job(case, tile=None, fault=None):
    single = {name: t.float() if t.dtype == torch.float64 else t for name, t in case.items()}
    return {"case": single, "grad": gradient(single), "tile": tile, "fault": fault}


def with_gradients(case, grad, name):
    """The output of a backend, as "y", and the gradient of every argument."""
    leaves = {name: t.detach().clone().requires_grad_() for name, t in case.items()}
    y = cross_scan(**leaves, backend=name)
    return {"y": y.detach(), **dict(zip(leaves, torch.autograd.grad(y, list(leaves.values()), grad), strict=True))}


def truth(case, name="reference"):
    """The same in float64, from the same rounded numbers."""
    return with_gradients({name: t.double() for name, t in case.items()}, gradient(case).double(), name)


def assert_all_close(actual, expected, tolerance):
    assert actual.keys() == expected.keys()
    for name in expected:
        assert actual[name].shape == expected[name].shape
        if expected[name].norm() > 1e-12:  # exp(-20 |A|) times something is no number to compare digits of
            error = relative_error(actual[name], expected[name])
            assert error < tolerance, f"{name}: {error}"
        else:
            assert actual[name].norm() < 1e-11, name


def assert_as_exact_as_the_dtypes(actual, case, expected):
    """Each gradient in the dtype of its argument, and no worse than that dtype."""
    for dtype in {t.dtype for t in case.values()}:
        names = [name for name in expected if case.get(name, case["x"]).dtype == dtype]
        assert all(actual[name].dtype == dtype for name in names)
        part, whole = ({name: values[name] for name in names} for values in (actual, expected))
        assert_all_close(part, whole, HALF.get(dtype, FLOAT32))


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """What the interpreter makes of all cases, in one process of its own."""
    pytest.importorskip("triton")
    folder = tmp_path_factory.mktemp("triton")
    jobs = {name: job(case) for name, case in {**CASES, **HALVES, "not a number": NOT_A_NUMBER}.items()}
    jobs |= {f"broken {fault}": job(case, tile, fault) for fault, (case, tile) in FAULTS.items()}
    torch.save(jobs, folder / "jobs.pt")
    command = [sys.executable, Path(__file__).with_name("triton_interpreter.py"), folder / "jobs.pt", folder / "out.pt"]
    done = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "out.pt")


@pytest.mark.parametrize("name", CASES)
def test_the_interpreted_kernels_match_the_reference(interpreted, name):
    assert_all_close(interpreted[name], truth(CASES[name]), EXTREME if "steps" in name else FLOAT32)


@pytest.mark.parametrize("name", HALVES)
def test_half_precision_keeps_the_state_in_float32(interpreted, name):
    assert_as_exact_as_the_dtypes(interpreted[name], HALVES[name], truth(HALVES[name]))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_kernel_is_seen(interpreted, fault):
    """The comparison can fail: wrong directions, tiny steps rounded to zero, channels that nobody writes."""
    case, _ = FAULTS[fault]
    with pytest.raises(AssertionError):
        assert_all_close(interpreted[f"broken {fault}"], truth(case), 1e-2)


def test_a_nan_is_not_hidden(interpreted):
    assert interpreted["not a number"]["y"].isnan().all()


def test_the_backend_passes_its_self_test(interpreted):
    assert interpreted["self-test"] == [None, None]


def test_the_cpu_is_not_offered_the_interpreter():
    assert backend.why_not("triton", "cpu") == "it runs on cuda, xpu, not on cpu"


def test_a_missing_triton_is_said_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "medmamba.ops.triton_kernels", raising=False)
    monkeypatch.delitem(sys.modules, "medmamba.ops.triton_scan", raising=False)
    reason = backend._self_test(backend.BACKENDS["triton"], torch.device("cpu"), "forward")
    assert reason is not None
    assert reason.startswith("ImportError: Triton cannot be imported; it comes with torch's builds for GPUs on Linux")


@pytest.mark.parametrize("kernel", ["forward", "backward"])
@pytest.mark.parametrize("target", [("cuda", 90, 32), ("hip", "gfx942", 64)], ids=["nvidia", "amd"])
def test_the_kernels_compile_without_a_card(target, kernel, tmp_path, monkeypatch):
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget

    from medmamba.ops import triton_kernels, triton_scan

    if not any(row.compiler.supports_target(GPUTarget(*target)) for row in triton.backends.backends.values()):
        pytest.skip(f"this triton has no compiler for {target[0]}")
    if not isinstance(triton_kernels.forward, triton.JITFunction):
        pytest.skip("TRITON_INTERPRET is set")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    function = getattr(triton_kernels, kernel)
    _, sizes = triton_scan._launch(images=1, channels=96, states=16, rank=3)
    warps = sizes.pop("num_warps")
    kinds = dict.fromkeys(triton_kernels.SIZES, "i32") | dict.fromkeys(sizes, "constexpr")
    kinds |= dict.fromkeys(("grad", "x", "proj"), "*bf16")
    source = triton.compiler.ASTSource(
        function, {name: kinds.get(name, "*fp32") for name in function.arg_names}, constexprs=sizes
    )
    compiled = triton.compile(source, target=GPUTarget(*target), options={"num_warps": warps})
    assert {"cuda": "cubin", "hip": "hsaco"}[target[0]] in compiled.asm


@contextmanager
def poisoned():
    """Every new tensor is full of NaN, so that what is not written shows."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("sizes", [(16, 3), (5, 1), (20, 24)], ids=str)
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 4), (2, 1, 7, 8), (1, 9, 1, 5), (3, 14, 14, 33), (2, 9, 31, 160), (1, 56, 56, 96)], ids=str
)
def test_triton_matches_float64_on_the_card(shape, sizes, dtype):
    n, r = sizes
    case = {name: t.cuda() for name, t in mixed(dtype, **dict(zip("bhwd", shape, strict=True)), n=n, r=r).items()}
    with poisoned():
        actual, again = (with_gradients(case, gradient(case), "triton") for _ in range(2))
    for name, value in actual.items():
        assert torch.equal(value, again[name]), f"{name} differs from run to run"
    assert_as_exact_as_the_dtypes(actual, case, truth(case, "chunked"))


@pytest.mark.gpu
@pytest.mark.parametrize("step", [-20.0, 20.0])
def test_extreme_steps_on_the_card(step):
    case = {name: t.to("cuda", torch.float32) for name, t in extreme(step, h=9, w=11, d=40, n=16, r=3).items()}
    assert_all_close(with_gradients(case, gradient(case), "triton"), truth(case, "chunked"), EXTREME)


@pytest.mark.gpu
def test_opcheck_on_the_card():
    case = {name: t.to("cuda", torch.float32) for name, t in cross_scan_case().items()}
    torch.library.opcheck(torch.ops.medmamba.cross_scan.default, (*operands(case), "triton"))
