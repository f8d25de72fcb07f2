"""The CUDA kernels: that they compile anywhere, and, on a card, forward and every gradient against float64."""

import logging
import re
from importlib import resources

import pytest
import torch
from scan_cases import cross_scan_case, operands, relative_error

from medmamba.ops import (
    BackendError,
    backend,
    conv_silu,
    cross_scan,
    cuda,
    cuda_module,
    reference,
    use_backend,
)
from medmamba.ops.cuda_module import CONV, SCAN

FLOAT32 = 1e-5  # relative, of the whole tensor
HALF = {torch.bfloat16: 1e-2, torch.float16: 2e-3}  # the rounding of inputs and outputs themselves


@pytest.mark.parametrize("dtype", ["FP32", "BF16", "FP16"])
@pytest.mark.parametrize("source", [SCAN, CONV], ids=lambda source: source.file)
def test_the_kernels_compile_without_a_card(source, dtype, tmp_path, monkeypatch):
    pytest.importorskip("cuda.bindings.nvrtc", reason="comes with a CUDA build of torch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    macros = (f"-D{dtype}", "-DRANK=3", "-DSTATES=4", "-DUNIT=4")
    code = cuda_module.machine_code.__wrapped__(source, "sm_90", macros)
    assert code[:4] == b"\x7fELF"
    for name, _ in source.threads:
        assert name.encode() in code


def test_machine_code_is_kept_and_found_again(tmp_path, monkeypatch):
    pytest.importorskip("cuda.bindings.nvrtc", reason="comes with a CUDA build of torch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []
    monkeypatch.setattr(cuda_module, "compiled", lambda *what: made.append(what) or b"code")
    code = [cuda_module.machine_code.__wrapped__(CONV, card, ("-DFP32",)) for card in ("sm_90", "sm_90", "sm_80")]
    assert code == [b"code"] * 3
    assert [what[1] for what in made] == ["sm_90", "sm_80"]
    assert len(list((tmp_path / "medmamba").iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    pytest.importorskip("cuda.bindings.nvrtc", reason="comes with a CUDA build of torch")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(cuda_module, "compiled", lambda *what: b"code")
    assert cuda_module.machine_code.__wrapped__(CONV, "sm_90", ("-DFP32",)) == b"code"


def test_chunks_are_those_of_the_kernels():
    text = (resources.files("medmamba.ops") / SCAN.file).read_text()
    assert re.findall(r"#define CHUNK +(\d+)", text) == [str(cuda.CHUNK)]


def test_a_rank_that_is_too_large_is_named():
    case = cross_scan_case(r=cuda.LARGEST_RANK + 1, dtype=torch.float32)
    with pytest.raises(ValueError, match="rank 129 came"):
        cuda.cross_scan(**case)


def with_gradients(case, backend):
    leaves = {name: t.detach().clone().requires_grad_() for name, t in case.items()}
    y = cross_scan(**leaves, backend=backend)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y)
    return {"y": y.detach(), **dict(zip(leaves, torch.autograd.grad(y, list(leaves.values()), grad), strict=True))}


def poison():
    """Leave NaN in the memory that the next call gets, so that an element that is not written shows."""
    blocks = [torch.full((1 << 24,), float("nan"), device="cuda") for _ in range(4)]
    del blocks


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("shape", "n", "r"),
    [
        ((1, 1, 1, 4), 4, 2),
        ((2, 1, 7, 8), 16, 3),
        ((1, 9, 1, 5), 20, 24),
        ((3, 14, 14, 33), 16, 3),
        ((3, 14, 14, 33), 20, 24),
        ((2, 9, 31, 160), 4, 2),
        ((2, 9, 31, 160), 16, 6),
        ((128, 7, 7, 768), 16, 24),
        ((1, 56, 56, 96), 16, 4),
    ],
    ids=str,
)
def test_cuda_matches_float64(shape, n, r, dtype):
    case = {name: t.to("cuda", dtype) for name, t in cross_scan_case(*shape, n=n, r=r).items()}
    expected = with_gradients({name: t.double() for name, t in case.items()}, "chunked")
    poison()
    actual = with_gradients(case, "cuda")
    again = with_gradients(case, "cuda")
    for name, value in actual.items():
        assert value.dtype == dtype
        assert relative_error(value, expected[name]) < HALF.get(dtype, FLOAT32), name
        assert torch.equal(value, again[name]), f"{name} differs from run to run"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 5, 7, 34), (2, 9, 31, 160), (1, 56, 56, 36)], ids=str)
def test_segments_of_the_sequence_link_up(shape, dtype, monkeypatch):
    case = {name: t.to("cuda", dtype) for name, t in cross_scan_case(*shape, n=16, r=5).items()}
    expected = with_gradients({name: t.double() for name, t in case.items()}, "chunked")
    monkeypatch.setattr(cuda, "FEWEST", 16)
    for warps, segmented in ((0, False), (10**4, True)):
        monkeypatch.setattr(cuda, "WARPS", warps)
        assert (cuda._Case(*case.values()).segments > 1) == segmented
        poison()
        for name, value in with_gradients(case, "cuda").items():
            assert relative_error(value, expected[name]) < HALF.get(dtype, FLOAT32), (segmented, name)


@pytest.mark.gpu
@pytest.mark.parametrize("step", [-20.0, 20.0])
def test_extreme_steps_on_the_card(step):
    case = cross_scan_case(h=9, w=11, d=40, n=16, r=3)
    case["dt_bias"].fill_(step)
    case = {name: t.to("cuda", torch.float32) for name, t in case.items()}
    expected = with_gradients({name: t.double() for name, t in case.items()}, "chunked")
    for name, value in with_gradients(case, "cuda").items():
        assert value.isfinite().all(), name
        if expected[name].norm() > 1e-12:
            assert relative_error(value, expected[name]) < 1e-4, name


@pytest.mark.gpu
def test_a_nan_is_not_hidden_on_the_card():
    case = {name: t.to("cuda", torch.float32) for name, t in cross_scan_case().items()}
    case["A"][0, 0, 0] = float("nan")
    assert cross_scan(**case, backend="cuda")[..., 0].isnan().all()


@pytest.mark.gpu
def test_opcheck_on_the_card():
    case = {name: t.to("cuda", torch.float32) for name, t in cross_scan_case().items()}
    torch.library.opcheck(torch.ops.medmamba.cross_scan.default, (*operands(case), "cuda"))


@pytest.mark.gpu
def test_200_training_steps_in_bfloat16_stay_finite():
    from medmamba.network import build

    torch.manual_seed(0)
    model = build("medmamba_nano", num_classes=3).cuda()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    image, label = torch.randn(16, 3, 64, 64, device="cuda"), torch.arange(16, device="cuda") % 3
    for _ in range(200):
        optimiser.zero_grad()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(model(image), label)
        loss.backward()
        optimiser.step()
    assert loss < 0.1
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (2, 7, 9, 36), (3, 56, 56, 96), (128, 7, 7, 768)], ids=str)
@pytest.mark.parametrize("part", [1, 2])
def test_the_convolution_matches_float64(shape, part, dtype):
    generator = torch.Generator("cuda").manual_seed(0)
    b, h, w, d = shape
    wide = torch.randn(b, h, w, part * d, generator=generator, device="cuda").to(dtype)
    weight, bias = torch.randn(d, 1, 3, 3, device="cuda"), torch.randn(d, device="cuda")
    grad = torch.randn(shape, device="cuda").to(dtype)

    def run(*case):
        leaves = [t.detach().clone(memory_format=torch.preserve_format).requires_grad_() for t in case]
        y = conv_silu(leaves[0].chunk(part, dim=-1)[-1], *leaves[1:])
        return [y.detach(), *torch.autograd.grad(y, leaves, grad.to(y.dtype))]

    expected = run(*(t.double() for t in (wide, weight, bias)))
    poison()
    actual, again = run(wide, weight, bias), run(wide, weight, bias)
    for value, truth, same in zip(actual, expected, again, strict=True):
        assert relative_error(value, truth) < HALF.get(dtype, FLOAT32)
        assert torch.equal(value, same)


@pytest.mark.gpu
def test_a_broken_convolution_on_the_card_is_replaced_with_one_warning(monkeypatch, caplog):
    def refuse(*arguments):
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(backend, "_verdicts", {})
    monkeypatch.setattr(cuda, "conv_silu", refuse)
    x, weight, bias = (torch.randn(shape, device="cuda") for shape in ((2, 5, 6, 8), (8, 1, 3, 3), (8,)))
    expected = reference.conv_silu(*(t.double() for t in (x, weight, bias)))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert relative_error(conv_silu(x, weight, bias), expected) < 1e-3  # cuDNN may compute in TF32
    assert caplog.text.count("the convolution of the backend 'cuda' is not used on cuda: RuntimeError: no kernel") == 1
    assert backend.choose("cuda") == "cuda"
    with use_backend("cuda"), pytest.raises(BackendError, match="no kernel image"):
        conv_silu(x, weight, bias)
    with use_backend("triton"):
        assert relative_error(conv_silu(x, weight, bias), expected) < 1e-3


@pytest.mark.gpu
def test_opcheck_of_the_convolution_on_the_card():
    case = [torch.randn(shape, device="cuda", requires_grad=True) for shape in ((2, 30, 8), (8, 1, 3, 3), (8,))]
    torch.library.opcheck(torch.ops.medmamba.conv_silu.default, (*case, 5, ""))
