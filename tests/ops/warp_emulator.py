"""The CUDA kernels compiled by the C++ compiler for the CPU, with `warp_emulator.h` in place of the card."""

import ctypes
import hashlib
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import torch

from medmamba.ops import cuda_module

COMPILER = shutil.which("g++")


class EmulatedKernels:
    """As `cuda_module.Kernels`, for tensors on the CPU."""

    multiprocessors = 132
    descending = False

    def __init__(self, folder, source, macros):
        self.threads = dict(source.threads)
        names = (cuda_module.SHARED[-1], source.file)
        kernels = "\n".join((resources.files("medmamba.ops") / name).read_text() for name in names)
        emulator = Path(__file__).with_name("warp_emulator.h").read_text()
        entries = "".join(f"ENTRY({name})\n" for name in self.threads)
        key = hashlib.sha256(repr((emulator, kernels, macros)).encode()).hexdigest()[:16]
        path, library = folder / f"{key}.cpp", folder / f"{key}.so"
        path.write_text(f"{emulator}\n{kernels}\n{entries}")
        flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-fno-strict-aliasing"]
        subprocess.run([COMPILER, *flags, *macros, str(path), "-o", str(library)], check=True)
        self.library = ctypes.CDLL(str(library))

    def launch(self, name, grid, values):
        kept = [
            ctypes.c_int(v) if isinstance(v, int) else ctypes.c_void_p(v.data_ptr() if v is not None else None)
            for v in values
        ]
        pointers = (ctypes.c_void_p * len(kept))(*(ctypes.addressof(v) for v in kept))
        getattr(self.library, f"launch_{name}")(pointers, *grid, self.threads[name], self.descending)


def poisoned(new):
    """What makes a tensor, filled with NaN, in place of one that leaves it as it is."""

    def make(*arguments, **options):
        tensor = new(*arguments, **options)
        return tensor.fill_(torch.nan) if tensor.is_floating_point() else tensor

    return make
