"""What a user may choose about a training run. Imports nothing heavy: the command line is built on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any

from tyro.conf import Suppress

from medmamba.errors import FailedError, InputError, shown, suggest
from medmamba.training.quantities import MOST, Range

PRECISIONS = ("auto", "32", "bf16-mixed", "16-mixed", "64")
_SIDE = Range(1, 2**20, whole=True)
_NUMBERS: Mapping[str, Range] = {  # others are checked by the recipe and `Preprocessing`
    "channels": Range(1, 3, whole=True),
    "seed": Range(0, 2**64 - 1, whole=True),
    **dict.fromkeys(("workers", "save_seconds"), Range(0, MOST, whole=True)),
    **dict.fromkeys(("devices", "nodes", "accumulate"), Range(1, MOST, whole=True)),
}


class TrainingError(FailedError):
    """A run that had started and had to stop. What was kept until then is in its folder; the message says so."""


class OutOfMemoryError(TrainingError):
    """A run that found no memory: with more parts of a batch it may go on."""


class DivergedError(TrainingError):
    """A run with a loss that is not finite: one that is resumed would meet it again."""


@dataclass(frozen=True)
class TrainConfig:
    """All options of a run; with the data they decide its result.

    Attributes:
        model: Any name in timm's registry, ours among them.
        recipe: Name of a recipe in the package, or path of a YAML file like those.
        image_size: Height and width in pixels that images are resized to.
        channels: 3 (RGB) or 1 (grey).
        fit: `squash` to the size, or `letterbox` to keep the aspect ratio.
        detail: Rows and columns that larger pictures are shrunk to before that: those of the training images where they
            are small, so that others are not unlike them for being sharper. Stored with the model.
        window: Of images with more than 8 bits: `file` for the file's own window, else by range; CENTER,WIDTH, as
            -650,1500; or a preset, as lung, bone, brain or soft-tissue. Stored with the model.
        frame: Of a file with several frames or pages: `first`, `middle`, or a number from 1. Stored with the model.
        max_pixels: A file with more in one frame is refused before it is decoded.
        epochs: Passes over the training images; None for the recipe's.
        batch_size: Images a step, over all processes together; None for the recipe's.
        lr: Peak learning rate; None for the recipe's.
        augment: Name of an augmentation (`none`, `light`, `autoaugment`, `trivial`, `trivial-grey`); None for the
            recipe's.
        imbalance: What is done for rare classes: `none`, `class-weights`, `balanced-sampling`, `focal` or
            `logit-adjustment`; None for the recipe's.
        seed: Decides the splits made, the first weights, the order, the augmentation and drop path, 0 or more.
        device: `auto` (CUDA, then MPS, then CPU), `cpu`, `cuda`, `cuda:1` or `mps`.
        devices: Processes on this machine, each with a GPU (or a share of the CPU).
        nodes: Machines, each with as many processes.
        precision: `auto` (bf16-mixed on a GPU that has it, else 32), `32`, `bf16-mixed`, `16-mixed` (CUDA) or `64`.
        accumulate: Parts in which each batch is computed, one after the other: less memory, the same steps.
        halve: Where memory runs out, go on by itself from the last saved epoch, with batches in twice as many parts,
            until a part has 2 images.
        checkpointing: Compute activations again in the backward pass instead of keeping them: less memory, more time.
        compile: Compile the network with torch.compile, in the first steps; needs a C compiler.
        workers: Processes that read and augment images; 0 does it in the training process. Not used where the images
            live on the GPU.
        deterministic: Use only operators that repeat bit for bit, an error where there is none.
        init: What train or pretrain wrote, to start from: all its tensors but a head for other classes.
        model_args: More arguments for timm's `create_model`.
        save_seconds: What a resume needs is written after the best and the last epoch, and after any other that ends so
            many seconds after the last writing: short epochs then cost less, and a killed run more of them.
        progress: A progress bar on standard error, where that is a terminal.
    """

    model: str = "medmamba_tiny"
    recipe: str = "clinical"
    image_size: tuple[int, int] = (224, 224)
    channels: int = 3
    fit: str = "squash"
    detail: int | None = None
    window: str = "file"
    frame: str = "first"
    max_pixels: int = 178_956_970
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    augment: str | None = None
    imbalance: str | None = None
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: str = "auto"
    accumulate: int = 1
    halve: bool = False
    checkpointing: bool = False
    compile: bool = False
    workers: int = 0
    deterministic: bool = False
    init: str | None = None
    model_args: Annotated[dict[str, Any], Suppress] = field(default_factory=dict)  # `--model-args` reads them
    save_seconds: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        for name, numbers in _NUMBERS.items():
            numbers.check(name, getattr(self, name))
            object.__setattr__(self, name, int(getattr(self, name)))  # JSON has no numbers of NumPy
        if not isinstance(self.image_size, tuple | list) or len(self.image_size) != 2:
            raise InputError(f"image size {shown(self.image_size)} is not two numbers; give height and width")
        for side in self.image_size:
            _SIDE.check("image size", side)
        object.__setattr__(self, "image_size", tuple(map(int, self.image_size)))
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise InputError(
                f"precision {self.precision!r} is unknown; choose {known}{suggest(str(self.precision), PRECISIONS)}"
            )
        if not isinstance(self.model_args, Mapping):
            raise InputError(f"model_args {shown(self.model_args)} are no arguments; give a dict of names and values")

    def with_options(self, options: Mapping[str, Any]) -> TrainConfig:
        """A copy with some options changed.

        Raises:
            InputError: There is no such option.
        """
        known = tuple(option.name for option in fields(self))
        for name in options:
            if name not in known:
                raise InputError(f"there is no option {name!r}{suggest(name, known)}; choose from {', '.join(known)}")
        return replace(self, **options)
