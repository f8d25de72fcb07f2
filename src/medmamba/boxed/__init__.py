"""The model in the box: a small trained model that comes with the package, so that `predict` answers at once.

`benchmarks/box_model.py` makes it. It is a demonstration and no product: see `docs/reference/boxed-model.md`.
"""

from __future__ import annotations

from pathlib import Path

PURPOSE = "chest x-ray of a child, 28-pixel source, demonstration"
CREDIT = (
    "trained on PneumoniaMNIST of MedMNIST v2 (Yang et al., Scientific Data 10, 41, 2023), CC BY 4.0, "
    "made from the chest x-rays of Kermany et al. (Cell 172, 1122-1131, 2018), CC BY 4.0"
)


def path() -> Path:
    """The folder of its bundle, for `medmamba.load`; it lies in the package and is only read."""
    return Path(__file__).parent / "bundle"
