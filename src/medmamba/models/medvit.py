"""MedViT (Manzari et al. 2023), the paper's other rival: the network and the table of its sizes.

The source is named in `medmamba.models.medvit_blocks`. The sizes are those of the authors' code, whose names are one
step larger than the paper's: its MedViT_small, _base and _large are the paper's T, S and L.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from timm.layers import ClassifierHead
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medmamba.errors import shown
from medmamba.models.medvit_blocks import ECB, LTB, conv_norm, named
from medmamba.network.arguments import check_lists, check_rates, check_sizes
from medmamba.network.medmamba import taken_stages

STAGES = 4
STEM = (64, 32, 64)
WIDTHS = ((96,), (192, 256), (384, 512), (768, 1024))
RATIOS = (8, 4, 2, 1)
PERIOD = 5  # of stage 3: four convolution blocks and a transformer block


@dataclass(frozen=True)
class Variant:
    """One row: everything in which the registered models differ, and their widths, in which they do not."""

    depths: tuple[int, ...]
    drop_path_rate: float
    widths: tuple[tuple[int, ...], ...] = WIDTHS


VARIANTS = {
    "medvit_tiny": Variant((3, 4, 10, 3), 0.1),
    "medvit_small": Variant((3, 4, 20, 3), 0.2),
    "medvit_large": Variant((3, 4, 30, 3), 0.2),
}


class MedViT(nn.Module):
    """Image classifier (b, in_chans, H, W) -> (b, num_classes); see `smallest_side` for H and W.

    Follows timm's model contract; feature maps are (b, c, h, w).

    Args:
        in_chans: Channels of the image.
        num_classes: Outputs; 0 leaves the linear layer out.
        global_pool: One of timm's: "avg", as published, "max", "avgmax", "catavgmax", or "" for none.
        stem_widths: Channels of the first three convolutions; the fourth has those of the third.
        depths: Blocks of the four stages; the third a multiple of 5.
        widths: Channels of each stage's convolution blocks and of its transformer blocks; the first stage has none of
            the latter.
        head_dim: Channels of a head, in attention and in grouped convolutions.
        mix: Share of a transformer block's channels that is for attention.
        ratios: Of each stage: r * r tokens become one key. The first stage has no attention.
        drop_rate: Dropout before the linear layer, in [0, 1).
        drop_path_rate: Of the last block, in [0, 1); rises linearly from 0 over the blocks.

    Raises:
        ValueError: The arguments make no such network; `InputError` where a number is not possible.
    """

    output_fmt = "NCHW"

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        *,
        stem_widths: Sequence[int] = STEM,
        depths: Sequence[int] = VARIANTS["medvit_tiny"].depths,
        widths: Sequence[Sequence[int]] = WIDTHS,
        head_dim: int = 32,
        mix: float = 0.75,
        ratios: Sequence[int] = RATIOS,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        check_rates(drop_rate=drop_rate, drop_path_rate=drop_path_rate)
        check_sizes(in_chans=in_chans, head_dim=head_dim)
        check_sizes(num_classes=num_classes, least=0)
        check_lists(stem_widths=stem_widths, depths=depths, ratios=ratios)
        check_lists(widths=widths, depth=2)
        _check(stem_widths, depths, widths, ratios, mix)
        self.in_chans, self.num_classes, self.ratios = in_chans, num_classes, tuple(ratios)
        self.stem = _stem(in_chans, stem_widths)
        self.stages = nn.Sequential()
        channels, blocks, number = stem_widths[-1], 0, sum(depths)
        for i, depth in enumerate(depths):
            stage = Stage()
            for k, kind in enumerate(stage_kinds(i, depth)):
                own: dict[str, Any] = {"mix": mix, "ratio": ratios[i]} if kind is LTB else {}
                rate = drop_path_rate * blocks / max(1, number - 1)
                width = widths[i][kind is LTB]
                stage.append(kind(channels, width, 2 if i and k == 0 else 1, head_dim=head_dim, drop_path=rate, **own))
                channels, blocks = width, blocks + 1
            self.stages.append(stage)
        self.feature_info = [
            {"num_chs": widths[i][-1], "reduction": 4 * 2**i, "module": f"stages.{i}"} for i in range(STAGES)
        ]
        self.norm: nn.Module = nn.BatchNorm2d(channels)
        self.head = ClassifierHead(channels, num_classes, pool_type=global_pool, drop_rate=drop_rate)
        self.num_features, self.head_hidden_size = channels, channels * self.head.global_pool.feat_mult()
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (b, num_classes) of images (b, in_chans, H, W)."""
        return self.forward_head(self.forward_features(image))

    def forward_features(self, image: Tensor) -> Tensor:
        """Last feature map after the final norm, (b, c, h, w)."""
        self._check_size(image)
        out: Tensor = self.norm(self.stages(self.stem(image)))
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pooled features (b, c) if `pre_logits`, else logits."""
        out: Tensor = self.head(x, pre_logits=pre_logits)
        return out

    def forward_intermediates(
        self,
        image: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Feature maps of chosen stages; arguments and results are those of `MedMamba.forward_intermediates`."""
        if output_fmt not in ("NCHW", "NHWC"):
            raise ValueError(f"output_fmt is {output_fmt!r}; it must be 'NCHW' or 'NHWC'")
        taken = taken_stages(len(self.stages), indices)
        self._check_size(image)
        x, maps = self.stem(image), []
        for i, stage in enumerate(self.stages[: max(taken) + 1] if stop_early else self.stages):
            x = stage(x)
            if i in taken:
                out = self.norm(x) if norm and i == len(self.stages) - 1 else x
                maps.append(out.permute(0, 2, 3, 1).contiguous() if output_fmt == "NHWC" else out)
        return maps if intermediates_only else (self.norm(x), maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages after the last one in `indices`, and the head; returns the stages that are taken."""
        taken = taken_stages(len(self.stages), indices)
        self.stages = self.stages[: max(taken) + 1]
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, "")
        return taken

    def get_classifier(self) -> nn.Module:
        """The linear layer that gives the logits."""
        layer: nn.Module = self.head.fc
        return layer

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new linear layer in place."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)
        self.head_hidden_size = self.num_features * self.head.global_pool.feat_mult()
        _initialise(self.head.fc)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the blocks' activations again in the backward instead of keeping them."""
        for stage in self.stages:
            assert isinstance(stage, Stage)
            stage.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """None: there are no positions and no tokens of its own, and whoever trains spares norms and biases anyway."""
        return set()

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Groups of parameters from the input to the output, for layer-wise learning rates."""
        blocks = r"^stages\.(\d+)" if coarse else [(r"^stages\.(\d+)\.(\d+)", None), (r"^norm", (99999,))]
        return {"stem": r"^stem", "blocks": blocks}

    def _check_size(self, image: Tensor) -> None:
        """Raise `ValueError` for an image that leaves a stage less than one key."""
        height, width = image.shape[-2:]
        for i in range(1, len(self.stages)):
            cell = 4 * 2**i  # pixels a side
            if -(-height // cell) * -(-width // cell) < self.ratios[i] ** 2:
                raise ValueError(
                    f"an image of {height} x {width} pixels came; it must have {self.ratios[i] ** 2} cells of {cell} x "
                    f"{cell} pixels, so square ones at least {smallest_side(self.ratios)} a side"
                )


class Stage(nn.Sequential):
    """Blocks at one resolution."""

    grad_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        for block in self:
            x = checkpoint(block, x, use_reentrant=False) if self.grad_checkpointing else block(x)
        return x


def stage_kinds(stage: int, depth: int) -> list[type[ECB | LTB]]:
    """Kinds of the blocks of a stage, which is counted from 0."""
    if stage == 0:
        return [ECB] * depth
    if stage == 2:
        return ([ECB] * (PERIOD - 1) + [LTB]) * (depth // PERIOD)
    return [ECB] * (depth - 1) + [LTB]


def smallest_side(ratios: Sequence[int] = RATIOS) -> int:
    """Pixels a side of the smallest square image: each stage with attention must have a key."""
    return max(4 * 2**i * (ratio - 1) + 1 for i, ratio in enumerate(ratios) if i)


def build(name: str, **arguments: Any) -> MedViT:
    """The network of a row of `VARIANTS`, with fresh weights; `arguments` override the row's and the defaults."""
    return MedViT(**{**asdict(VARIANTS[name]), **arguments})


def _stem(in_chans: int, widths: Sequence[int]) -> nn.Sequential:
    """Image (b, in_chans, H, W) to map (b, c, ceil(H/4), ceil(W/4))."""
    first, second, third = widths
    rows = [(in_chans, first, 2), (first, second, 1), (second, third, 1), (third, third, 2)]
    layers = []
    for channels, out_channels, stride in rows:
        conv, norm = conv_norm(channels, out_channels, 3, stride=stride)
        layers.append(nn.Sequential(named(conv=conv, norm=norm, act=nn.ReLU())))
    return nn.Sequential(*layers)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check(
    stem_widths: Sequence[int],
    depths: Sequence[int],
    widths: Sequence[Sequence[int]],
    ratios: Sequence[int],
    mix: float,
) -> None:
    if not len(depths) == len(widths) == len(ratios) == STAGES or len(stem_widths) != 3:
        raise ValueError(
            f"depths {depths}, widths {widths} and ratios {ratios} must have four entries each, stem_widths "
            f"{stem_widths} three"
        )
    if depths[2] % PERIOD:
        raise ValueError(f"depths {depths} must have for the third a multiple of {PERIOD}")
    if len(widths[0]) != 1 or any(len(pair) != 2 for pair in widths[1:]):
        raise ValueError(f"widths {widths} must be one number for the first stage and two for each of the others")
    if isinstance(mix, bool) or not isinstance(mix, int | float) or not 0 <= mix <= 1:
        raise ValueError(f"mix {shown(mix)} must be a number from 0 to 1")
