"""Runs the Triton scan on the CPU, in a process of its own: `TRITON_INTERPRET=1` must come before triton's import.

`python triton_interpreter.py JOBS RESULTS` reads a dictionary of jobs, each with the arguments `case`, the gradient
`grad` of the output, a `tile` of channels and the name of a `fault` to put into the kernels (or None), and writes what
came out of each, and of the self-test that `medmamba.ops.backend` makes of every backend.
"""

import sys

import torch
import triton
import triton.language as tl

from medmamba.ops import backend, triton_kernels, triton_scan


@triton.jit
def rows_only(time, direction, height, width):
    return time


@triton.jit
def naive_softplus(v):
    return tl.log(1.0 + tl.exp(v))


@triton.jit
def first_tile(BLOCK_N: tl.constexpr, BLOCK_R: tl.constexpr, TILE: tl.constexpr):
    c, n, r = tl.arange(0, TILE)[None, :], tl.arange(0, BLOCK_N)[:, None], tl.arange(0, BLOCK_R)[:, None]
    return tl.program_id(0).to(tl.int64), tl.program_id(1), c, n, r


FAULTS = {"position": rows_only, "softplus": naive_softplus, "place": first_tile}


def run(case, grad, tile, fault):
    """The output, as "y", and the gradient of every argument."""
    sound = {name: getattr(triton_kernels, name) for name in FAULTS}, triton_scan.TILE
    triton_scan.TILE = tile or triton_scan.TILE
    if fault:
        setattr(triton_kernels, fault, FAULTS[fault])
    strided = {name: torch.stack([t, t], dim=-1)[..., 0] for name, t in case.items()}  # not contiguous
    try:
        y = triton_scan.cross_scan(**strided)
        gradients = triton_scan.cross_scan_backward(torch.stack([grad, grad], dim=-1)[..., 0], **strided)
    finally:
        functions, triton_scan.TILE = sound
        for name, function in functions.items():
            setattr(triton_kernels, name, function)
    return {"y": y, **dict(zip(case, gradients, strict=True))}


def main(jobs: str, results: str) -> None:
    torch.use_deterministic_algorithms(True)  # fills every new tensor with NaN: what is not written shows
    assert torch.empty(3).isnan().all()
    found = {name: run(**job) for name, job in torch.load(jobs).items()}
    row = backend.BACKENDS["triton"]
    found["self-test"] = [backend._self_test(row, torch.device("cpu"), d) for d in ("forward", "backward")]
    torch.save(found, results)


if __name__ == "__main__":
    main(*sys.argv[1:])
