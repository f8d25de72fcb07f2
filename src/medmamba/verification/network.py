"""Whether the weights of a run are those of its network, and the network answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from medmamba.backbone import Backbone
from medmamba.bundle import WEIGHTS, Bundle, read_weights
from medmamba.data.preprocessing import Preprocessing
from medmamba.errors import InputError
from medmamba.manifest import find_file
from medmamba.predictor import network
from medmamba.verification.outcome import ImpossibleError
from medmamba.weights import read_tensors


def check_tensors(folder: Path, description: Bundle | Backbone) -> str:
    """Whether names, shapes and kinds of the tensors are those of the network, and all numbers finite."""
    path = find_file(folder, WEIGHTS, description.files.get(WEIGHTS))
    state = read_tensors(path, description.build_model().state_dict())
    numbers = sum(tensor.numel() for tensor in state.values())
    return f"{len(state)} tensors of {numbers:,} finite numbers, as the network has them"


def check_answers(folder: Path, description: Bundle | Backbone) -> str:
    """Whether the network answers a fixed picture with finite numbers."""
    model = description.build_model()
    model.load_state_dict(read_weights(folder))
    shape = description.preprocessing
    with torch.inference_mode():
        logits = model.eval()(shape.normalise(torch.from_numpy(fixed_picture(shape))))
    if tuple(logits.shape) != (1, len(description.classes)):
        raise InputError(f"the network answers with {tuple(logits.shape)}, not with (1, {len(description.classes)})")
    if not logits.isfinite().all():
        raise InputError("the network answers a fixed picture with numbers that are not finite; train again")
    return f"it answers a fixed picture of {shape.height} x {shape.width} with {logits.shape[1]} finite numbers"


def check_decisions(folder: Path, description: Bundle | Backbone) -> str:
    """Whether what `calibrate` chose fits the classes and the network."""
    if isinstance(description, Backbone):
        raise ImpossibleError("a backbone decides nothing")
    check_quantiles(description)
    classifier = network.load(folder, device="cpu")
    picture = fixed_picture(description.preprocessing)
    answers, strangeness = classifier.examined(picture)
    check_probabilities(answers)
    if classifier.kind is not None and not np.isfinite(strangeness).all():
        raise InputError("how unlike a picture is comes out as no finite number; calibrate again")
    fitted = description.decisions.fitted
    when = f"as chosen on {fitted.get('n')} images of {fitted.get('split')}" if fitted else "as they are by default"
    return f"threshold, temperature, sets and scope, {when}, fit {len(description.classes)} classes"


def check_quantiles(bundle: Bundle) -> None:
    """Raise `InputError` unless there is a quantile of prediction sets for each class, where there are any."""
    sets = bundle.decisions.conformal
    if sets is not None and len(sets.quantiles) != len(bundle.classes):
        raise InputError(
            f"prediction sets have {len(sets.quantiles)} quantiles for {len(bundle.classes)} classes; calibrate again"
        )


def check_probabilities(answers: np.ndarray) -> None:
    """Raise `InputError` unless all are finite and between 0 and 1."""
    if not (np.isfinite(answers).all() and (answers >= 0).all() and (answers <= 1).all()):
        raise InputError(f"a fixed picture has the probabilities {answers.ravel().tolist()}; calibrate or export again")


def fixed_picture(shape: Preprocessing) -> np.ndarray:
    """A picture of all grey levels, (1, c, h, w), uint8."""
    size = (1, shape.channels, shape.height, shape.width)
    return (np.arange(np.prod(size)) * 255 // (np.prod(size) - 1)).astype(np.uint8).reshape(size)
