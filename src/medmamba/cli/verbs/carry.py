"""Verbs that carry a model out, and in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from medmamba.cli.console import progress_bar


@dataclass(frozen=True)
class Export:
    """Write a trained model as one file that runs without PyTorch, checked against PyTorch before it is kept."""

    model: Positional[Path]
    """Folder of the trained model."""
    format: str = "onnx"
    """onnx, or pt2 for torch.export.load."""
    out: Path | None = None
    """The file; by default model.onnx or model.pt2 in the model's folder. Its record lies beside it, with .json
    behind."""
    data: str | None = None
    """Images to check with, as for train; by default those of the run's splits.csv, or else synthetic ones."""
    images: int = 16
    """How many of them; extreme ones are added."""

    def run(self) -> int:
        from medmamba.export import export

        with progress_bar("checking") as progress:
            out, check = export(
                self.model, format=self.format, out=self.out, data=self.data, images=self.images, progress=progress
            )
        batches = ", ".join(map(str, check.batches))
        print(
            f"checked on {check.images} images in batches of {batches}: the same decisions, and no probability differs "
            f"by more than {check.largest_difference:.1e}"
        )
        print(out)
        return 0


@dataclass(frozen=True)
class Import:
    """Turn a checkpoint of the published MedMamba, VMamba or MedViT code into a bundle."""

    checkpoint: Positional[Path]
    """The .pth file; depths, widths, patch and state size are read off it."""
    out: Path
    """Folder for the bundle; new or empty."""
    classes: tuple[str, ...] = ()
    """Names of the outputs in order; class0, class1, ... otherwise. Another number than the file's needs --new-head."""
    new_head: bool = False
    """Replace the classifier by an untrained one for --classes, to be trained with --init."""
    image_size: tuple[int, int] = (224, 224)
    """Height and width that images are resized to."""

    def run(self) -> int:
        from medmamba.importing import import_checkpoint

        report = import_checkpoint(
            self.checkpoint, self.out, classes=self.classes, new_head=self.new_head, image_size=self.image_size
        )
        print(report)
        print(self.out)
        return 0
