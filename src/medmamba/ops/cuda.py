"""The cross-scan for NVIDIA cards: CUDA C++ compiled at run time by NVRTC, which comes with torch; no build step.

The kernels are in `cuda_kernels.cu`. A block scans up to 128 channels of one image in one direction; dt, softplus and
skip are inside; the state stays in float32 registers. The four directions are written side by side and summed after.
The backward writes the state at every eighth step, then walks back and computes again what lies between. Sums over
images and over blocks are made by torch from partial sums, in one order, so that one input gives one result, bit for
bit.
"""

from __future__ import annotations

from functools import cache, partial
from importlib import resources
from typing import Any

import torch
from torch import Tensor

CAPABILITY = (8, 0)  # of the card: bfloat16, and shared memory for every published size
STATES = 16  # that a block holds of a channel; more are scanned in turns
FORWARD_CHUNK, BACKWARD_CHUNK, SUB = 32, 8, 2  # tokens, as in the kernels
LARGEST_RANK = 128  # whose gradient fits where the backward puts it
DTYPES = {torch.float32: "FP32", torch.bfloat16: "BF16", torch.float16: "FP16"}


def cross_scan(x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> Tensor:
    """Forward; arguments as in `medmamba.ops.cross_scan`."""
    parts = [_scan(_Case(x, *part)) for part in _turns(proj, dt_weight, dt_bias, A, D)]
    return sum(parts[1:], parts[0]).to(x.dtype)


def cross_scan_backward(
    grad: Tensor, x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of x, proj, dt_weight, dt_bias, A and D."""
    r = dt_weight.shape[2]
    turns = [_scan_backward(grad, _Case(x, *part)) for part in _turns(proj, dt_weight, dt_bias, A, D)]
    dx, dproj, dweight, dbias, dA, dD = zip(*turns, strict=True)
    B, C = zip(*(g[..., r:].chunk(2, -1) for g in dproj), strict=True)
    all_proj = torch.cat([sum(g[..., :r] for g in dproj), *B, *C], -1)
    gradients = (sum(dx), all_proj, sum(dweight), sum(dbias), torch.cat(dA, -1), dD[0])
    return tuple(
        g.to(t.dtype).contiguous() for g, t in zip(gradients, (x, proj, dt_weight, dt_bias, A, D), strict=True)
    )


def _turns(proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> list[tuple[Tensor, ...]]:
    """The arguments for every 16 states, whose outputs add up; the skip belongs to the first."""
    n, r = A.shape[2], dt_weight.shape[2]
    if n <= STATES:
        return [(proj, dt_weight, dt_bias, A, D)]
    turns: list[tuple[Tensor, ...]] = []
    for first in range(0, n, STATES):
        last = min(n, first + STATES)
        parts = (proj[..., :r], proj[..., r + first : r + last], proj[..., r + n + first : r + n + last])
        turns.append((torch.cat(parts, -1), dt_weight, dt_bias, A[..., first:last], D if first == 0 else D * 0))
    return turns


class _Case:
    """Arguments as the kernels take them, and the shape of a launch."""

    def __init__(self, x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor) -> None:
        self.x, self.proj = x.contiguous(), proj.to(x.dtype).contiguous()
        self.parameters = [t.detach().float().contiguous() for t in (dt_weight, dt_bias, A, D)]
        self.b, self.h, self.w, self.d = x.shape
        self.rank, self.states = dt_weight.shape[2], A.shape[2]
        if self.rank > LARGEST_RANK:
            raise ValueError(
                f"rank {self.rank} came; the CUDA scan takes at most {LARGEST_RANK}, use backend 'chunked'"
            )
        warps = -(-self.d // 32)
        self.tiles = -(-warps // 4)
        self.warps = -(-warps // self.tiles)
        self.grid = (self.tiles, 4, self.b)
        self.kernels = _kernels(DTYPES[x.dtype], self.rank, self.warps, self.states, x.device.index or 0)

    def launch(self, name: str, first: list[Tensor], last: list[Tensor]) -> None:
        """Run a kernel over (tiles, directions, images) with `first`, x, proj and the parameters, and `last`."""
        tensors = [*first, self.x, self.proj, *self.parameters, *last]
        self.kernels.launch(name, self.grid, 32 * self.warps, tensors, (self.h, self.w, self.d), self.x.device)


def _scan(case: _Case) -> Tensor:
    outputs = case.x.new_empty(4, *case.x.shape)
    case.launch("scan_forward", [], [outputs])
    return outputs.sum(0)


def _scan_backward(grad: Tensor, case: _Case) -> tuple[Tensor, ...]:
    b, length, d = case.b, case.h * case.w, case.d
    empty = partial(torch.empty, device=case.x.device, dtype=torch.float32)
    chunks = -(-length // BACKWARD_CHUNK)
    kept = empty(b * 4 * case.tiles * chunks * case.warps * 512)
    case.launch("scan_states", [], [kept])
    dx = case.x.new_empty(4, *case.x.shape)
    dproj = empty(case.tiles, b, case.h, case.w, 4, case.rank + 2 * case.states)
    dA = empty(b, 4, d, case.states)
    dweight, dbias = empty(b, 4, d, case.rank), empty(b, 4, d)
    dD = torch.empty_like(dbias)
    grad = grad.to(case.x.dtype).contiguous()
    case.launch("scan_backward", [grad], [kept, dx, dproj, dA, dweight, dbias, dD])
    return dx.sum(0), dproj.sum(0), dweight.sum(0), dbias.sum(0), dA.sum(0), dD.sum(0)


class _Kernels:
    """One compiled module on one device."""

    def __init__(self, dtype: str, rank: int, warps: int, states: int, device: int) -> None:
        from cuda.bindings import driver

        self.driver = driver
        major, minor = torch.cuda.get_device_capability(device)
        if (major, minor) < CAPABILITY:
            raise RuntimeError(f"the card has compute capability {major}.{minor}; the scan needs 8.0 or later")
        options = (f"-D{dtype}", f"-DRANK={rank}", f"-DWARPS={warps}", f"-DSTATES={states}")
        self.module = _check(driver.cuModuleLoadData(_compile(f"sm_{major}{minor}", options)))
        scan = 4 * (FORWARD_CHUNK * 33 + _round(FORWARD_CHUNK * rank) + warps * FORWARD_CHUNK * 96)
        states_ = 4 * (BACKWARD_CHUNK * 33 + _round(BACKWARD_CHUNK * rank) + warps * BACKWARD_CHUNK * 96)
        warp = BACKWARD_CHUNK * 128 + BACKWARD_CHUNK // SUB * 512
        back = 4 * (BACKWARD_CHUNK * 33 + _round(BACKWARD_CHUNK * rank) + 2 * rank * 32 * warps + warps * warp)
        self.functions = {}
        for name, size in (("scan_forward", scan), ("scan_states", states_), ("scan_backward", back)):
            function = _check(driver.cuModuleGetFunction(self.module, name.encode()))
            attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            _check(driver.cuFuncSetAttribute(function, attribute, size))
            self.functions[name] = function, size

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        threads: int,
        tensors: list[Tensor],
        sizes: tuple[int, ...],
        device: torch.device,
    ) -> None:
        import ctypes

        function, shared = self.functions[name]
        values = (*(t.data_ptr() for t in tensors), *sizes)
        types = (*[ctypes.c_void_p] * len(tensors), *[ctypes.c_int] * len(sizes))
        with torch.cuda.device(device):
            stream = torch.cuda.current_stream().cuda_stream
            _check(self.driver.cuLaunchKernel(function, *grid, threads, 1, 1, shared, stream, (values, types), 0))


def _round(number: int) -> int:  # shared memory of rows that are read four at a time
    return (number + 3) & ~3


@cache
def _kernels(dtype: str, rank: int, warps: int, states: int, device: int) -> _Kernels:
    with torch.cuda.device(device):
        torch.cuda.current_stream()  # the device's context must be there
        return _Kernels(dtype, rank, warps, states, device)


@cache
def _compile(architecture: str, options: tuple[str, ...]) -> bytes:
    """Machine code of the kernels."""
    from cuda.bindings import nvrtc

    source = (resources.files("medmamba.ops") / "cuda_kernels.cu").read_bytes()
    program = _check(nvrtc.nvrtcCreateProgram(source, b"cuda_kernels.cu", 0, [], []))
    flags = [f"--gpu-architecture={architecture}".encode(), *(option.encode() for option in options)]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(flags), flags)
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        text = b" " * _check(nvrtc.nvrtcGetProgramLogSize(program))
        _check(nvrtc.nvrtcGetProgramLog(program, text))
        raise RuntimeError(f"NVRTC cannot compile the scan: {text.decode(errors='replace')[:500]}")
    code = b" " * _check(nvrtc.nvrtcGetCUBINSize(program))
    _check(nvrtc.nvrtcGetCUBIN(program, code))
    return code


def _check(answer: tuple[Any, ...]) -> Any:
    """The value of a driver or NVRTC call.

    Raises:
        RuntimeError: The call failed.
    """
    status, *values = answer
    if int(status) != 0:
        raise RuntimeError(f"CUDA answers {status.name}")
    return values[0] if len(values) == 1 else values
