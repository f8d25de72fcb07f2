"""The tensors of a network as a safetensors file, and whether they are those of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.errors import InputError, one_line

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_TENSORS = 20_000
MOST_UNSAVED = 4_000_000  # numbers of a network that are in no file: tables of positions and masks


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

    shapes = read_shapes(path)
    if expected is not None:
        check_shapes(shapes, expected, what=str(path))
    with _opened(path) as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    tensors = {name: each.float() if each.dtype == torch.float16 else each for name, each in tensors.items()}
    _check_values(tensors, expected or {}, str(path))
    return tensors


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a file by name; the tensors are not read.

    Raises:
        InputError: The file is damaged, or is of another format.
    """
    with _opened(path) as file:
        if len(file.keys()) > MOST_TENSORS:
            raise InputError(f"{path} holds {len(file.keys())} tensors, more than any network has; copy it again")
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118, it is no dict


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, AttributeError) as reason:  # the last for a type that torch has not
        raise InputError(f"{path} is damaged ({reason}); copy it again or train again") from None


def build_for(shapes: Mapping[str, tuple[int, ...]], build: Callable[[], nn.Module], what: str) -> nn.Module:
    """A network that is no larger than the tensors that are there for it.

    A description may come from anywhere and ask for a network of any size, whose making would take all memory.

    Args:
        shapes: Of the tensors, by name.
        build: Makes the network.
        what: The description, for the message.

    Raises:
        InputError: The network is much larger, or cannot be made.
    """
    from torch.nn.modules import module as modules

    # a network may make a layer twice before it keeps one, and have buffers that no file holds
    most, numbers = 2 * len(shapes) + 64, 2 * sum(map(math.prod, shapes.values())) + MOST_UNSAVED
    made, size = 0, 0

    def count(_: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal made, size
        made, size = made + 1, size + (0 if tensor is None else tensor.numel())
        if made > most or size > numbers:
            raise InputError(f"{what} describes a network that is larger than its weights; copy the folder again")

    hooks = (
        modules.register_module_parameter_registration_hook(count),
        modules.register_module_buffer_registration_hook(count),
    )
    try:
        return build()
    except InputError:
        raise
    except Exception as reason:  # what a network says of arguments that it was never meant to have
        raise InputError(
            f"{what} describes a network that cannot be built ({one_line(reason)}); copy it again"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()


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
        floating = wanted.is_floating_point()
        if tensor.is_floating_point() != floating or not (floating or tensor.dtype == wanted.dtype):
            raise InputError(f"{what} does not fit the model: {name} is of {tensor.dtype}, expected {wanted.dtype}")
        if floating and not _is_finite(tensor) and (name not in expected or _is_finite(wanted)):
            raise InputError(f"{what} cannot be used: {name} holds numbers that are not finite; train again")


def _is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are; their sum tells at once, unless it is too large itself."""
    return bool(tensor.sum().isfinite() or tensor.isfinite().all())
