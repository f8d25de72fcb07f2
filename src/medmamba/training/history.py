"""What happened in each epoch: as a table, as a picture, and which epoch was the best."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from medmamba.writing import write_atomically


@dataclass(frozen=True)
class Epoch:
    """A row of `history.csv`.

    Attributes:
        epoch: From 1.
        lr: Learning rate at its end.
        images: Training images seen in it.
        train_loss: Mean over these, as they were seen (augmented, mixed, smoothed labels, what was chosen for rare
            classes).
        val_loss: Mean over the validation images.
        val_auc: On the validation images; None where they do not define one.
        settled: Whether the share of the epochs that the recipe names in `choose_from` was over before it.
    """

    epoch: int
    lr: float
    images: int
    train_loss: float
    val_loss: float
    val_auc: float | None
    settled: bool = True


def is_better(new: Epoch, old: Epoch | None) -> bool:
    """Whether an epoch has the higher validation AUC, or the same (or none) and the lower validation loss.

    A settled epoch is better than any that is not.
    """
    return old is None or _merit(new) > _merit(old)


def best_of(epochs: Sequence[Epoch]) -> Epoch | None:
    """The best epoch, the earliest if several are alike."""
    best: Epoch | None = None
    for epoch in epochs:
        if is_better(epoch, best):
            best = epoch
    return best


def is_over(epochs: Sequence[Epoch], most: int, patience: int | None) -> bool:
    """Whether a run ends after these epochs: there were `most`, or the last `patience` of them brought nothing."""
    best = best_of(epochs)
    waited = len(epochs) - best.epoch if best else 0
    return len(epochs) >= most or (patience is not None and waited >= patience)


def _merit(epoch: Epoch) -> tuple[bool, float, float]:
    return epoch.settled, -1.0 if epoch.val_auc is None else epoch.val_auc, -epoch.val_loss


def write_history(path: Path, epochs: Sequence[Epoch]) -> None:
    """Write `history.csv` whole."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [column.name for column in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in epochs)
    write_atomically(path, text.getvalue().encode())


def read_history(path: Path) -> list[Epoch]:
    """The inverse of `write_history`; no epoch where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Epoch(
                int(row["epoch"]),
                float(row["lr"]),
                int(row["images"]),
                float(row["train_loss"]),
                float(row["val_loss"]),
                float(row["val_auc"]) if row["val_auc"] else None,
                row.get("settled", "True") == "True",  # a run of before there was the column
            )
            for row in csv.DictReader(file)
        ]


def plot_curves(path: Path, epochs: Sequence[Epoch]) -> None:
    """Draw losses and validation AUC over the epochs as a PNG, with the best epoch marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, areas = figure.subplots(1, 2)
    numbers = [epoch.epoch for epoch in epochs]
    losses.plot(numbers, [epoch.train_loss for epoch in epochs], ".-", label="training")
    losses.plot(numbers, [epoch.val_loss for epoch in epochs], ".-", label="validation")
    losses.set(xlabel="epoch", ylabel="loss", title="Loss")
    aucs = [float("nan") if epoch.val_auc is None else epoch.val_auc for epoch in epochs]
    areas.plot(numbers, aucs, ".-", color="tab:green", label="validation")
    areas.set(xlabel="epoch", ylabel="AUC", title="Area under the ROC curve", ylim=(min([0.5, *aucs]) - 0.02, 1.02))
    best = best_of(epochs)
    for axes in (losses, areas):
        if best is not None:
            axes.axvline(best.epoch, color="0.6", linestyle=":", label=f"best epoch ({best.epoch})")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_atomically(path, picture.getvalue())
