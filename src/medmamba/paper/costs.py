"""Parameters and operations of the paper's models, counted now, beside what its tables print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from medmamba.evaluation import complexity
from medmamba.paper.printed import fits, read_table
from medmamba.paper.networks import Network, build, network

CLASSES = 6  # at which the printed parameters fit all models, whatever data set they stand beside

# side of the images, in pixels, at which a count is the printed one although the tables are of 224
OTHER_SIZES = {"efficientnet_b6": 528, "tf_efficientnetv2_s": 384, "tf_efficientnetv2_m": 480}

WHY_PARAMETERS = {
    "twins_svt_base": "the paper repeats the parameters of its row for DaViT-small",
    "medmamba_tiny_scan": "the printed size is that with a final norm, as VMamba has one: 16,150,182",
}
WHY_OPERATIONS = {
    "twins_svt_base": "the paper repeats the operations of its row for DaViT-small",
    "vmamba": "the paper counts VMamba otherwise than MedMamba, with more of what the scan does: counted as MedMamba is, it "
    "has {macs:.1f} G",
}
NAMES = {
    "tf_efficientnetv2_m": "the parameters of the paper's \"EfficientNetV2-b\" are those of timm's EfficientNetV2-M",
    "medmamba_small12": "the sizes of the paper's MedMamba-S are those of 12 blocks in stage 3; its table 1 and the "
    "published code have 8, `medmamba_small`",
    "medmamba_base16": "the sizes of the paper's MedMamba-B are those of 16 blocks in stage 3; its table 1 and the "
    "published code have 12, `medmamba_base`",
}


@dataclass(frozen=True)
class Cost:
    """A model's size now and in print; parameters in millions, operations in 10^9.

    Attributes:
        network: The model.
        printed_model: Its name in the paper.
        printed_parameters: None where the table has no such column.
        printed_flops: The same.
        parameters: At `CLASSES` classes; None where the model is not registered.
        macs: Multiply-adds of convolutions and linear layers alone, at `network.image_size`.
        full: With those of attention, projections and scans (two operations of a scan count as one multiply-add).
        parameters_words: What becomes of the difference.
        flops_words: The same.
        explained: Whether every printed number is that of a count, or it is said why it is not.
    """

    network: Network
    printed_model: str
    printed_parameters: str | None
    printed_flops: str | None
    parameters: float | None = None
    macs: float | None = None
    full: float | None = None
    parameters_words: str = ""
    flops_words: str = ""
    explained: bool = True


def costs(table: str, keys: Sequence[str]) -> list[Cost]:
    """A row for each of these models of a table."""
    first: dict[str, dict[str, str]] = {}
    for row in read_table(table):
        first.setdefault(row["model"], row)
    return [cost(network(key), first[key]) for key in keys if network(key).model is not None]


def cost(network: Network, row: dict[str, str]) -> Cost:
    """Count one model, for a row of a table."""
    parameters, flops = row.get("parameters"), row.get("flops")
    known = (network, row["printed"], parameters, flops)
    model = build(network, CLASSES)
    if model is None:
        return Cost(*known, parameters_words=f"{network.model} is not registered here", explained=False)
    found = complexity(model, (network.image_size, network.image_size), 3)
    counted, macs, full = found["parameters"] / 1e6, found["macs_conv_linear"] / 1e9, found["flops_total"] / 2e9
    parameters_words, parameters_fit = _about_parameters(network, parameters, counted)
    flops_words, flops_fit = _about_operations(network, model, flops, macs, full)
    return Cost(*known, counted, macs, full, parameters_words, flops_words, parameters_fit and flops_fit)


def _about_parameters(network: Network, printed: str | None, counted: float) -> tuple[str, bool]:
    name = NAMES.get(network.key, "")
    if printed is None:
        return name, True
    if fits(printed, counted):
        return name, True
    why = WHY_PARAMETERS.get(network.key)
    return why or "not explained", why is not None


def _about_operations(
    network: Network, model: nn.Module, printed: str | None, macs: float, full: float
) -> tuple[str, bool]:
    """Which count a printed number is, and whether that, or why it is none, is known."""
    if printed is None:
        return "", True
    if fits(printed, macs):
        scans = network.key.startswith("medmamba")
        return "without projections and scan" if scans else "convolutions and linear layers", True
    if fits(printed, full):
        return "with the products of attention", True
    if side := OTHER_SIZES.get(network.key):
        other = complexity(model, (side, side), 3)["macs_conv_linear"] / 1e9
        if fits(printed, other):
            return f"of {side} x {side} pixels ({other:.1f} G), not of 224 x 224", True
    family = network.key.partition("_")[0]
    why = WHY_OPERATIONS.get(network.key) or WHY_OPERATIONS.get(family)
    return (why.format(macs=macs), True) if why else ("not explained", False)

