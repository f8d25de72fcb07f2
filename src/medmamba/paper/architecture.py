"""Table 1: the paper's three sizes beside ours, built and counted."""

from __future__ import annotations

from typing import Any

import torch

from medmamba.evaluation import complexity
from medmamba.models import MedMamba, create_model
from medmamba.network import VARIANTS
from medmamba.paper.printed import TIMES, fits, read_table
from medmamba.paper.sheet import Part, Sheet

SIDE, CLASSES = 224, 1000  # of the images in pixels, and as the paper's caption says
# column of the table: the models of ours that it may mean, the one with its sizes last
COLUMNS = {
    "MedMamba-Tiny": ("medmamba_tiny",),
    "MedMamba-Small": ("medmamba_small", "medmamba_small12"),
    "MedMamba-Base": ("medmamba_base", "medmamba_base16"),
}
SIZES = ("Parameter Size(M)", "FLOPs(G)")


def table1() -> Sheet:
    """The sheet of table 1; shapes alone are computed, so it takes seconds."""
    parts, records = [], []
    for column, names in COLUMNS.items():
        built = {name: built_rows(name) for name in names}
        rows = []
        for line in read_table("table1"):
            cells = [line["layer"], line["output"], line[column]]
            for name in names:
                words, same = compare(line["layer"], line["output"], line[column], built[name][line["layer"]])
                cells.append(words if same else f"{words} \u2260")
                entry = {"layer": line["layer"], "output": line["output"], "model": name, "paper": line[column]}
                records.append(entry | {"ours": words, "equal": same})
            rows.append(tuple(cells))
        parts.append(Part(column, ("layer", "map", "paper", *(f"`{name}`" for name in names)), rows))
    title = "Table 1: the architecture of MedMamba"
    return Sheet("table1", title, _lead(records), tuple(parts), _NOTES, tuple(records))


def built_rows(name: str) -> dict[str, Any]:
    """What the table's layers are in a model of ours: (channels, side) of a map, blocks of a stage, sizes."""
    with torch.device("meta"):
        model = create_model(name, CLASSES)
        assert isinstance(model, MedMamba)
        embedded = model.patch_embed(torch.zeros(1, 3, SIDE, SIDE))
        maps = model.forward_intermediates(torch.zeros(1, 3, SIDE, SIDE), intermediates_only=True, output_fmt="NHWC")
    assert isinstance(maps, list)
    found = complexity(model, (SIDE, SIDE), 3)
    rows: dict[str, Any] = {"Patch-E": (embedded.shape[3], embedded.shape[1])}
    for number, (each, depth) in enumerate(zip(maps, VARIANTS[name].depths, strict=True)):
        rows[f"Stage {number + 1}"] = (depth, each.shape[1])
        if number:
            rows[f"Path-M {number}"] = (each.shape[3], each.shape[1])
    rows["Classifier"] = (model.get_classifier().in_features, 1)
    rows["Parameter Size(M)"] = found["parameters"] / 1e6
    rows["FLOPs(G)"] = found["macs_conv_linear"] / 1e9
    return rows


def compare(layer: str, output: str, printed: str, ours: Any) -> tuple[str, bool]:
    """Ours as text, and whether it is what the paper prints there."""
    if layer in SIZES:
        return f"{ours:.2f}", fits(printed, ours)
    number, side = ours
    same = output == f"{side}{TIMES}{side}" and printed.split()[-1] == str(number)
    return str(number) if output == f"{side}{TIMES}{side}" else f"{number} at {side} x {side}", same


def _lead(records: list[dict[str, Any]]) -> tuple[str, ...]:
    differing: dict[str, list[str]] = {}
    for record in records:
        differing.setdefault(record["model"], [])
        if not record["equal"]:
            differing[record["model"]].append(record["layer"])
    same = [f"`{name}`" for name, layers in differing.items() if not layers]
    others = [f"`{name}` in {', '.join(layers)}" for name, layers in differing.items() if layers]
    return (
        f"Equal to the paper in every cell: {', '.join(same)}. Different: {'; '.join(others)}.",
        "No depths give both the blocks and the sizes that the paper prints for Small and Base: 8 and 12 blocks in "
        "stage 3, which the published code has too, against the sizes of 12 and 16. Both are here, named apart.",
    )


_NOTES = (
    "\u2260 marks what differs from the paper's column.",
    "Parameters are at 1000 classes, in millions; stages are numbers of blocks, other rows numbers of channels.",
    "A size is the printed one if it is so rounded or cut off: the paper does both.",
    "The paper's FLOPs are multiply-adds of convolutions and linear layers at 224 x 224 in 10^9, without the "
    "projections inside the scan and the scan; ours are counted alike. `medmamba info --model NAME` counts all.",
    "The paper draws a softmax behind the classifier; it is in the loss, and in the probabilities of a prediction.",
)
