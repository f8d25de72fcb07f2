"""Which implementation runs, and what happens when one is broken or was asked for in vain."""

import logging
import os
import subprocess
import sys
import time
import types

import pytest
import torch
from scan_cases import cross_scan_case

from medmamba.ops import backend, chunked, conv_silu, cross_scan, reference, use_backend


@pytest.fixture
def fresh(monkeypatch):
    """No verdicts yet, none asked for, and a table of backends that the test may change."""
    monkeypatch.setattr(backend, "_verdicts", {})
    monkeypatch.setattr(backend, "_requested", None)
    monkeypatch.setattr(backend, "BACKENDS", dict(backend.BACKENDS))
    return monkeypatch


def add_broken(monkeypatch, forward=None, backward=None, error=None, conv=None):
    """Put a backend before all others that fails in a stated way."""
    module = types.ModuleType("broken_scan")
    module.forward = forward or chunked.forward
    module.backward = backward or chunked.backward
    module.conv_silu, module.conv_silu_backward = conv or chunked.conv_silu, chunked.conv_silu_backward
    operators = ("cross_scan", "selective_scan", *(["conv_silu"] if conv else []))

    def load(self):
        if error is not None:
            raise error
        return module

    row = type("Row", (backend.Backend,), {"core": load})("broken_scan", ("cpu",), "broken on purpose", operators)
    monkeypatch.setattr(backend, "BACKENDS", {"broken": row, **backend.BACKENDS})


def test_the_compiled_backend_is_chosen_on_the_cpu(fresh):
    assert backend.choose("cpu") == "cpu"


@pytest.mark.parametrize("device", ["mps", "hpu"])
def test_a_device_without_a_kernel_gets_the_chunked_one(device, fresh):
    fresh.setattr(backend, "_self_test", lambda *_: None)  # as if torch's operators worked there
    assert backend.choose(device) == backend.choose(device, direction="backward") == "chunked"
    words = backend.describe(device)
    assert words["chunked"] == "vectorised torch, any device; works"
    assert words["cpu"] == f"compiled by numba; cannot run: it runs on cpu, not on {device}"


def test_the_network_trains_on_the_chunked_one_as_on_the_compiled_one(fresh):
    from medmamba.network import build

    torch.manual_seed(0)
    net, image = build("medmamba_nano", num_classes=3, depths=(1, 1), widths=(16, 32)), torch.randn(2, 3, 36, 44)
    gradients = []
    for name in ("cpu", "chunked"):
        with use_backend(name):
            torch.manual_seed(1)  # of the drop path
            gradients.append(torch.autograd.grad(net(image).square().sum(), list(net.parameters())))
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_f007_a_kernel_that_fails_on_this_device_is_replaced_with_one_warning(fresh, caplog):
    def no_image(*args):
        raise RuntimeError("no kernel image is available for execution on the device")

    add_broken(fresh, forward=no_image)
    case = cross_scan_case(dtype=torch.float32)
    with caplog.at_level(logging.WARNING):
        actual = [cross_scan(**case) for _ in range(3)]
    assert all((y - reference.cross_scan(**case)).abs().max() < 1e-4 for y in actual)
    warnings = [r.getMessage() for r in caplog.records]
    assert len(warnings) == 1
    assert "broken" in warnings[0]
    assert "no kernel image" in warnings[0]
    assert "cpu" in warnings[0]


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda tokens, order, extra: tokens.x, id="another signature"),
        pytest.param(lambda tokens, order: torch.zeros_like(tokens.x), id="zeros"),
        pytest.param(lambda tokens, order: chunked.forward(tokens, order) * float("nan"), id="nan"),
    ],
)
def test_f009_a_backend_that_answers_wrongly_is_not_trusted(fresh, forward):
    add_broken(fresh, forward=forward)
    assert backend.choose("cpu") != "broken"
    case = cross_scan_case(dtype=torch.float32)
    assert (cross_scan(**case) - reference.cross_scan(**case)).abs().max() < 1e-4


def test_a_wrong_backward_is_caught_before_its_first_use(fresh):
    def wrong(grad, tokens, order):
        return chunked.backward(2 * grad, tokens, order)

    add_broken(fresh, backward=wrong)
    assert backend.choose("cpu") == "broken"
    assert backend.choose("cpu", direction="backward") == "cpu"
    case = {name: t.requires_grad_() for name, t in cross_scan_case(dtype=torch.float32).items()}
    actual = torch.autograd.grad(cross_scan(**case).sum(), case["x"])[0]
    expected = torch.autograd.grad(reference.cross_scan(**case).sum(), case["x"])[0]
    assert (actual - expected).abs().max() < 1e-4


def test_a_backend_that_takes_long_to_prepare_says_so_and_a_quick_one_does_not(fresh, caplog):
    def slow(tokens, order):
        time.sleep(0.3)
        return chunked.forward(tokens, order)

    fresh.setattr(backend, "PATIENCE", 0.05)
    add_broken(fresh, forward=slow)
    with caplog.at_level(logging.INFO):
        assert backend.choose("cpu") == "broken"
        assert backend.choose("cpu") == "broken"
    assert [r.getMessage() for r in caplog.records] == [
        "preparing the scan backend 'broken' for its first forward pass here"
    ]
    caplog.clear()
    fresh.setattr(backend, "PATIENCE", 30)
    with caplog.at_level(logging.INFO):
        assert backend.choose("cpu", direction="backward") == "broken"
    assert not caplog.records


def test_a_convolution_that_answers_wrongly_is_not_trusted_while_the_scan_beside_it_is(fresh, caplog):
    add_broken(fresh, conv=lambda x, weight, bias: 2 * chunked.conv_silu(x, weight, bias))
    case = backend._case("conv_silu")
    x, weight, bias = case
    with caplog.at_level(logging.WARNING):
        y = torch.ops.medmamba.conv_silu(x.flatten(1, 2), weight, bias, x.shape[1], "").view(x.shape)
    assert torch.allclose(y, reference.conv_silu(*case))
    assert caplog.text.count("the convolution of the backend 'broken' is not used on cpu: its self-test is off") == 1
    assert backend.choose("cpu") == "broken"
    assert backend.describe()["broken"].startswith("broken on purpose; works, but not for the convolution: its self-")
    with pytest.raises(backend.BackendError, match="'broken' was asked for and cannot run: its self-test is off"):
        torch.ops.medmamba.conv_silu(x.flatten(1, 2), weight, bias, x.shape[1], "broken")


def test_the_convolution_is_torchs_where_a_backend_without_one_is_asked_for(fresh):
    case = backend._case("conv_silu")
    with use_backend("cpu"):
        assert torch.equal(conv_silu(*case), reference.conv_silu(*case))


@pytest.mark.parametrize("error", [ImportError("undefined symbol: _ZN3c10"), OSError("libcudart.so.11.0 is missing")])
def test_f002_a_broken_package_behind_a_backend_is_passed_over_and_named(fresh, error, caplog):
    add_broken(fresh, error=error)
    with caplog.at_level(logging.WARNING):
        assert backend.choose("cpu") == "cpu"
    assert str(error) in caplog.text
    assert str(error) in backend.describe()["broken"]


def test_f008_a_backend_asked_for_that_cannot_run_is_an_error_with_the_reason(fresh):
    add_broken(fresh, error=ImportError("No module named 'fast_scan'"))
    case = cross_scan_case(dtype=torch.float32)
    with pytest.raises(backend.BackendError, match=r"'broken' was asked for and cannot run: .*fast_scan"):
        cross_scan(**case, backend="broken")
    with pytest.raises(backend.BackendError, match="no scan backend 'mamba_ssm'; choose one of"):
        cross_scan(**case, backend="mamba_ssm")
    with pytest.raises(backend.BackendError, match="mamba_ssm"), use_backend("mamba_ssm"):
        pass


def test_the_block_and_the_environment_decide(fresh):
    used = []

    class Spy:
        def forward(self, tokens, order):
            used.append("forward")
            return chunked.forward(tokens, order)

        def backward(self, grad, tokens, order):
            used.append("backward")
            return chunked.backward(grad, tokens, order)

    row = type("Row", (backend.Backend,), {"core": lambda self: Spy()})("spy", ("cpu",), "counts its calls")
    fresh.setitem(backend.BACKENDS, "spy", row)
    case = cross_scan_case(dtype=torch.float32)
    with use_backend("spy"):
        x = case["x"].requires_grad_()
        cross_scan(**case).sum().backward()
    assert x.grad is not None
    assert used == ["forward", "forward", "backward", "backward"]  # each self-test, then the call
    cross_scan(**case)
    assert len(used) == 4
    command = "from medmamba.ops import backend; print(backend.requested(), backend.requested('cpu'))"
    environment = {**os.environ, backend.ENVIRONMENT: "chunked"}
    run = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["chunked", "cpu"]


def test_the_reference_runs_only_when_asked_for(fresh):
    assert "only when asked for" in backend.describe()["reference"]
    assert backend.choose("cpu", "reference") == "reference"


def test_a_forked_child_can_scan():
    """Threads do not survive a fork; the child must make its own."""
    command = """
import os, torch
from medmamba.ops import cross_scan
import sys; sys.path.insert(0, {folder!r})
from scan_cases import cross_scan_case
case = cross_scan_case(b=4, h=7, w=7, d=64, dtype=torch.float32)
expected = cross_scan(**case, backend="cpu")
torch.set_num_threads(2)
cross_scan(**case, backend="cpu")
child = os.fork()
if child == 0:
    torch.set_num_threads(1)  # torch's own pool is not fork-safe; ours is what is tested
    import medmamba.ops.cpu as cpu
    cpu.torch.get_num_threads = lambda: 2
    os._exit(0 if torch.equal(cross_scan(**case, backend="cpu"), expected) else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    code = command.format(folder=os.path.dirname(__file__))
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_an_unwritable_cache_is_said_and_survived(tmp_path, caplog, monkeypatch):
    """A read-only installation: numba refuses to cache, the kernels are compiled without."""
    from medmamba.ops import cpu

    def refuse(cached):
        if cached:
            raise RuntimeError("cannot cache function 'forward': no locator available for file")
        return "compiled"

    monkeypatch.setattr(cpu, "_build", refuse)
    cpu.kernels.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert cpu.kernels() == "compiled"
        assert "compiled anew" in caplog.text
    finally:
        cpu.kernels.cache_clear()
