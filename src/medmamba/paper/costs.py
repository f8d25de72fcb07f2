"""Parameters and operations of the paper's models, counted now, beside what its tables print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from medmamba.data.catalogue import CATALOGUE
from medmamba.evaluation import complexity
from medmamba.paper.networks import Network, build, network
from medmamba.paper.printed import data_sets, fits, read_table

CLASSES = 6  # at which the printed parameters fit, whatever data set they stand beside

# side of the images, in pixels, at which a count is the printed one although the tables are of 224
OTHER_SIZES = {"efficientnet_b6": 528, "tf_efficientnetv2_s": 384, "tf_efficientnetv2_m": 480}

PARAMETERS = {
    "twins_svt_base": "those of DaViT-small's row",
    "medmamba_tiny_scan": "16.2 at 9 classes, or with a final norm as in VMamba",
}
OPERATIONS = {
    "twins_svt_base": "those of DaViT-small's row",
    "vmamba_tiny": "counted in another way, see the notes",
    "vmamba_small": "counted in another way, see the notes",
    "vmamba_base": "counted in another way, see the notes",
}
UNEXPLAINED = "not explained"
_VMAMBA = (
    "The FLOPs printed for VMamba are neither of our counts, and nearer to the one with projections and scan. Counted "
    "as the paper counts MedMamba, without them, VMamba-T, S and B have 2.8, 6.0 and 10.6 G."
)
NOTES = {
    "medmamba_small12": "The sizes printed for MedMamba-S are those of 12 blocks in stage 3, `medmamba_small12`; "
    "table 1 and the published code have 8, `medmamba_small`.",
    "medmamba_base16": "The sizes printed for MedMamba-B are those of 16 blocks in stage 3, `medmamba_base16`; "
    "table 1 and the published code have 12, `medmamba_base`.",
    "vmamba_tiny": _VMAMBA,
    "vmamba_small": _VMAMBA,
    "vmamba_base": _VMAMBA,
    "tf_efficientnetv2_m": 'There is no "EfficientNetV2-b": its printed parameters are those of EfficientNetV2-M.',
    "efficientnet_b6": "The FLOPs printed for the EfficientNets are those at the sizes that they were published with, "
    "not at 224 x 224, although the paper says that it resized all images to that.",
    "tf_efficientnetv2_s": "The FLOPs printed for EfficientNetV2-s are those at the size that it was published "
    "with, not at 224 x 224, although the paper says that it resized all images to that.",
    "twins_svt_base": "The sizes printed for Twins-SVT-base are those of the row of DaViT-small; it has 55.3 M.",
    "medvit_tiny": "The sizes of `medvit_...` are those of the published code; the MedViT paper prints others.",
}


@dataclass(frozen=True)
class Cost:
    """A model's size now and in print; parameters in millions, operations in 10^9.

    Attributes:
        network: The model.
        title: Its name in the paper.
        printed_parameters: As printed; None where the table has no such column.
        printed_flops: The same.
        parameters: At `CLASSES` classes; None where the model is not registered.
        macs: Multiply-adds of convolutions and linear layers alone, at `network.image_size`.
        full: With those of attention, projections and scans (two operations count as one multiply-add).
        about_parameters: Why the printed number is another; empty where it is not.
        about_flops: Which count the printed number is, or why none.
    """

    network: Network
    title: str
    printed_parameters: str | None
    printed_flops: str | None
    parameters: float | None = None
    macs: float | None = None
    full: float | None = None
    about_parameters: str = ""
    about_flops: str = ""

    @property
    def flagged(self) -> bool:
        """Whether a printed number differs and nobody knows why."""
        return UNEXPLAINED in (self.about_parameters, self.about_flops)


def costs(table: str, keys: Sequence[str]) -> list[Cost]:
    """A row for each of these models of a table, those that are no networks left out."""
    first: dict[str, dict[str, str]] = {}
    for row in read_table(table):
        first.setdefault(row["model"], row)
    networks = [about for key in keys if (about := network(key)).model is not None and not about.search]
    return [cost(about, first.get(about.key, {}), table) for about in networks]


def cost(network: Network, row: dict[str, str], table: str) -> Cost:
    """Count one model, for its row of a table; an empty row for one that the table does not have."""
    parameters, flops = row.get("parameters"), row.get("flops")
    known = (network, row.get("printed", network.key), parameters, flops)
    model = build(network, CLASSES)
    if model is None:
        return Cost(*known, about_parameters=f"{network.model} is not registered here")
    found = complexity(model, (network.image_size, network.image_size), 3)
    counted, macs, full = found["parameters"] / 1e6, found["macs_conv_linear"] / 1e9, found["flops_total"] / 2e9
    return Cost(
        *known,
        counted,
        macs,
        full,
        _about_parameters(network, parameters, counted, table),
        _about_operations(network, model, flops, macs, full),
    )


def _about_parameters(network: Network, printed: str | None, counted: float, table: str) -> str:
    if printed is None or fits(printed, counted):
        return ""
    if network.key in PARAMETERS:
        return PARAMETERS[network.key]
    for name in data_sets(table):
        classes = len(CATALOGUE[name].classes)
        model = build(network, classes)
        assert model is not None
        if fits(printed, sum(parameter.numel() for parameter in model.parameters()) / 1e6):
            return f"{printed} at the {classes} classes of {CATALOGUE[name].title}"
    return UNEXPLAINED


def _about_operations(network: Network, model: nn.Module, printed: str | None, macs: float, full: float) -> str:
    if printed is None:
        return ""
    if fits(printed, macs):
        scans = network.key.startswith("medmamba")
        return "without projections and scan" if scans else "convolutions and linear layers"
    if fits(printed, full):
        return "with the products of attention"
    if side := OTHER_SIZES.get(network.key):
        other = complexity(model, (side, side), 3)["macs_conv_linear"] / 1e9
        if fits(printed, other):
            return f"those at {side} x {side}: {other:.2f}"
    return OPERATIONS.get(network.key, UNEXPLAINED)
