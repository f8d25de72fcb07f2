"""CUDA kernels as machine code: compiled by NVRTC, kept between processes, loaded and launched."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

CAPABILITY = (8, 0)  # of the card: bfloat16, copies in the background, shared memory for every published size
DTYPES = {torch.float32: "FP32", torch.bfloat16: "BF16", torch.float16: "FP16"}
SHARED = ("cuda_instructions.cuh", "cuda_common.cuh")  # come before each source


@dataclass(frozen=True)
class Source:
    """A file of kernels, with the threads of a block of each, in the order of its `shared_bytes`."""

    file: str
    threads: tuple[tuple[str, int], ...]


SCAN = Source(
    "cuda_scan.cu",
    (
        ("scan_forward", 32),
        ("scan_ends", 32),
        ("scan_states", 32),
        ("scan_states_and_ends", 32),
        ("scan_adjoint_ends", 32),
        ("scan_combine", 512),
        ("scan_backward", 32),
    ),
)
CONV = Source("cuda_conv.cu", (("conv_forward", 128), ("conv_gradients", 128)))


@cache
def load(source: Source, options: tuple[str, ...], device: int) -> Kernels:
    """The kernels of a source for one choice of its macros, on one device."""
    with torch.cuda.device(device):
        torch.cuda.current_stream()  # the device's context must be there
        return Kernels(source, options, device)


class Kernels:
    """One loaded module.

    Attributes:
        multiprocessors: Of the card.
    """

    def __init__(self, source: Source, options: tuple[str, ...], device: int) -> None:
        from cuda.bindings import driver

        self.driver, self.device = driver, device
        properties = torch.cuda.get_device_properties(device)
        major, minor = properties.major, properties.minor
        if (major, minor) < CAPABILITY:
            raise RuntimeError(f"the card has compute capability {major}.{minor}; the scan needs 8.0 or later")
        self.multiprocessors = properties.multi_processor_count
        self.module = check(driver.cuModuleLoadData(machine_code(source, f"sm_{major}{minor}", options)))
        self.threads = dict(source.threads)
        self.bytes = dict(zip(self.threads, self._shared_bytes(), strict=True))
        self.functions = {name: self._function(name) for name in self.threads}

    def _shared_bytes(self) -> list[int]:
        address, size = check(self.driver.cuModuleGetGlobal(self.module, b"shared_bytes"))
        values = bytearray(size)
        check(self.driver.cuMemcpyDtoH(values, address, size))
        return [int.from_bytes(values[i : i + 4], "little") for i in range(0, size, 4)]

    def _function(self, name: str) -> Any:
        function = check(self.driver.cuModuleGetFunction(self.module, name.encode()))
        attribute = self.driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        check(self.driver.cuFuncSetAttribute(function, attribute, self.bytes[name]))
        return function

    def launch(self, name: str, grid: tuple[int, int, int], values: list[Any]) -> None:
        """Run a kernel on torch's stream; `values` are tensors, None for a null pointer, and integers."""
        types = tuple(ctypes.c_int if isinstance(v, int) else ctypes.c_void_p for v in values)
        plain = tuple(v.data_ptr() if isinstance(v, Tensor) else v or 0 for v in values)
        with torch.cuda.device(self.device):
            stream = torch.cuda.current_stream().cuda_stream
            size = self.bytes[name]
            launch = self.driver.cuLaunchKernel
            check(launch(self.functions[name], *grid, self.threads[name], 1, 1, size, stream, (plain, types), 0))


@cache
def machine_code(source: Source, architecture: str, options: tuple[str, ...]) -> bytes:
    """The compiled kernels, from the user's cache if an earlier process has left them there."""
    from cuda.bindings import nvrtc

    text = b"\n".join((resources.files("medmamba.ops") / name).read_bytes() for name in (*SHARED, source.file))
    what = (text, architecture, options, check(nvrtc.nvrtcVersion()))
    place = cache_folder() / f"{hashlib.sha256(repr(what).encode()).hexdigest()[:32]}.cubin"
    try:
        return place.read_bytes()
    except OSError:
        code = compiled(text, architecture, options)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as file:
            file.write(code)
        os.replace(file.name, place)  # another process sees all of it or nothing
    except OSError as reason:
        log.info("CUDA kernels are compiled anew in every process, since their cache cannot be written: %s", reason)
    return code


def cache_folder() -> Path:
    """Where the user's caches are, by the XDG base directory specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medmamba"


def compiled(text: bytes, architecture: str, options: tuple[str, ...]) -> bytes:
    """Machine code of a source's text.

    Raises:
        RuntimeError: It does not compile.
    """
    from cuda.bindings import nvrtc

    program = check(nvrtc.nvrtcCreateProgram(text, b"medmamba.cu", 0, [], []))
    flags = [f"--gpu-architecture={architecture}".encode(), *(option.encode() for option in options)]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(flags), flags)
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        words = b" " * check(nvrtc.nvrtcGetProgramLogSize(program))
        check(nvrtc.nvrtcGetProgramLog(program, words))
        raise RuntimeError(f"NVRTC cannot compile the kernels: {words.decode(errors='replace')[:500]}")
    code = b" " * check(nvrtc.nvrtcGetCUBINSize(program))
    check(nvrtc.nvrtcGetCUBIN(program, code))
    check(nvrtc.nvrtcDestroyProgram(program))
    return code


def check(answer: tuple[Any, ...]) -> Any:
    """The value of a driver or NVRTC call.

    Raises:
        RuntimeError: The call failed.
    """
    status, *values = answer
    if int(status) != 0:
        raise RuntimeError(f"CUDA answers {status.name}")
    return values[0] if len(values) == 1 else values
