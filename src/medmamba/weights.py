"""The tensors of a network as a safetensors file, and whether they are those of a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medmamba.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def pack_weights(state_dict: Mapping[str, Tensor], *, half: bool = False) -> bytes:
    """The content of a file of tensors by name.

    Args:
        state_dict: The tensors.
        half: Round float32 to float16, for half the size; `read_tensors` gives float32 again, in which a network
            computes.

    Raises:
        InputError: A number is too large for float16, whose largest is 65504.
    """
    import torch
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()}
    if half:
        tensors = {name: each.half() if each.dtype == torch.float32 else each for name, each in tensors.items()}
        if wrong := [name for name, each in tensors.items() if not each.isfinite().all()]:
            raise InputError(f"{wrong[0]} holds numbers that float16 cannot hold; save the weights in float32")
    content: bytes = save(tensors)
    return content


def read_tensors(path: Path, expected: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU; those that lie there in float16 as float32.

    Args:
        path: The file.
        expected: Those of the network that is to have them; names and shapes are compared before a tensor is read.

    Raises:
        InputError: The file is damaged, is of another format, or does not fit; or a number in it is not finite.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if expected is not None:
                check_shapes(
                    {name: tuple(file.get_slice(name).get_shape()) for name in names}, expected, what=str(path)
                )
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, AttributeError) as reason:  # the last for a type that torch has not
        raise InputError(f"{path} is damaged ({reason}); copy it again or train again") from None
    tensors = {name: each.float() if each.dtype == torch.float16 else each for name, each in tensors.items()}
    _check_values(tensors, expected or {}, str(path))
    return tensors


def check_shapes(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, Tensor], *, what: str) -> None:
    """Raise `InputError` with counts and a first example unless names and shapes are those of the tensors expected."""
    faults = {
        "missing": [name for name in expected if name not in shapes],
        "unexpected": [name for name in shapes if name not in expected],
        "of another shape": [
            name for name in expected if shapes.get(name, expected[name].shape) != expected[name].shape
        ],
    }
    if any(faults.values()):
        counts = ", ".join(f"{len(names)} {fault} ({names[0]})" for fault, names in faults.items() if names)
        raise InputError(f"{what} does not fit the model: of {len(expected)} tensors expected, {counts}")


def _check_values(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    for name, tensor in tensors.items():
        wanted = expected.get(name, tensor)
        if tensor.is_floating_point() != wanted.is_floating_point() or (
            not wanted.is_floating_point() and tensor.dtype != wanted.dtype
        ):
            raise InputError(f"{what} does not fit the model: {name} is of {tensor.dtype}, expected {wanted.dtype}")
        if (
            tensor.is_floating_point()
            and not tensor.isfinite().all()
            and (name not in expected or wanted.isfinite().all())
        ):
            raise InputError(f"{what} cannot be used: {name} holds numbers that are not finite; train again")
