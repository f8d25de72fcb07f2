"""Starting from the weights of a bundle or a backbone."""

from __future__ import annotations

import logging

from torch import Tensor, nn

from medmamba.backbone import load_start
from medmamba.bundle import read_weights
from medmamba.data.related import Seen, seen_by
from medmamba.errors import InputError

logger = logging.getLogger(__name__)


def seen_before(folder: str | None) -> tuple[Seen, ...]:
    """What the model in a folder has been trained on; nothing where there is none to start from.

    Raises:
        InputError: The folder holds no bundle and no backbone.
    """
    return seen_by(load_start(folder).provenance) if folder else ()


def start_from(net: nn.Module, model: str, classes: tuple[str, ...], folder: str) -> str:
    """Load the weights of a bundle or a backbone into a new network, in place.

    All tensors must fit, but for the head, which stays new where the classes are others, and the first convolution,
    which is summed over its inputs for a one-channel network: grey images then give what they gave as RGB.

    Args:
        net: The network.
        model: Its name.
        classes: Its classes, in order.
        folder: Of the bundle or the backbone.

    Returns:
        What was done, in a sentence, which is also logged.

    Raises:
        InputError: The folder holds neither, holds another model, or a tensor does not fit.
    """
    start = load_start(folder)
    if start.model != model:
        raise InputError(f"{folder} holds {start.model}, not {model}; start from a bundle of the same model")
    state, expected = read_weights(folder), net.state_dict()
    head = head_names(net) if start.classes != classes else set()
    taken: dict[str, Tensor] = {}
    summed, wrong = [], []
    for name, tensor in expected.items():
        if name in head:
            continue
        given = state.get(name)
        if given is not None and _is_colour_stem(given, tensor):
            given = given.sum(dim=1, keepdim=True)
            summed.append(name)
        if given is None or given.shape != tensor.shape:
            wrong.append(name)
        else:
            taken[name] = given
    if wrong:
        raise InputError(
            f"{len(wrong)} of {len(expected)} tensors of {folder} do not fit {model} ({wrong[0]}); "
            "start from a bundle with the same model, model arguments and, where it matters, image size"
        )
    net.load_state_dict(taken, strict=False)
    sentence = f"start: {len(taken)} of {len(expected)} tensors from {folder}"
    if head:
        sentence += f"; the head is new ({len(classes)} classes, others than the {len(start.classes)} before)"
    if summed:
        sentence += f"; {', '.join(summed)} summed over 3 channels for grey images"
    logger.info(sentence)
    return sentence


def head_names(net: nn.Module) -> set[str]:
    """Names of the tensors of a network's classifier, as its `get_classifier` tells."""
    found = net.get_classifier()  # type: ignore[operator]
    heads = found if isinstance(found, tuple) else (found,)  # a distilled model has two
    prefixes = [name for name, module in net.named_modules() if any(module is head for head in heads)]
    return {name for name in net.state_dict() if any(name.startswith(prefix + ".") for prefix in prefixes)}


def _is_colour_stem(given: Tensor, wanted: Tensor) -> bool:
    """Whether a convolution differs only in having 3 inputs where 1 is wanted."""
    return given.ndim == 4 and given.shape[1] == 3 and given.sum(1, keepdim=True).shape == wanted.shape
