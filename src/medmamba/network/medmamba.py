"""MedMamba (Yue & Li 2024): a four-stage network of SS-Conv-SSM blocks, and the table of its sizes.

VMamba in its first form (Liu et al. 2024, arXiv 2401.10166v1), the paper's nearest baseline, is rows of the same table:
the same stem, merging and SS2D; a block is the scan alone on all channels, and a LayerNorm comes before the mean.

The paper's table 1 and the published code give small 8 and base 12 blocks in the third stage, but the parameters and
FLOPs printed for them are those of 12 and 16: `medmamba_small12` and `medmamba_base16`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor, nn

from medmamba.network.arguments import check_lists, check_rates, check_sizes
from medmamba.network.blocks import BLOCKS, Head, PatchEmbed, Stage

SMALLEST_SIDE = 16  # pixels


@dataclass(frozen=True)
class Variant:
    """One row: everything in which the registered models differ."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    block: str = "split"
    final_norm: bool = False


TINY = Variant((2, 2, 4, 2), (96, 192, 384, 768))
VARIANTS = {
    "medmamba_nano": Variant((2, 2, 4, 2), (32, 64, 128, 256)),  # ours, for laptops
    "medmamba_tiny": TINY,
    "medmamba_small": Variant((2, 2, 8, 2), (96, 192, 384, 768)),
    "medmamba_base": Variant((2, 2, 12, 2), (128, 256, 512, 1024)),
    "medmamba_small12": Variant((2, 2, 12, 2), (96, 192, 384, 768)),
    "medmamba_base16": Variant((2, 2, 16, 2), (128, 256, 512, 1024)),
    # table 7, from the first row to the last; the last one is tiny itself
    "medmamba_tiny_scan": replace(TINY, block="scan"),
    "medmamba_tiny_sum": replace(TINY, block="sum"),
    "medmamba_tiny_split": replace(TINY, block="unshuffled"),
    "medmamba_tiny_shuffle": TINY,
    "vmamba_tiny": Variant((2, 2, 9, 2), (96, 192, 384, 768), block="scan", final_norm=True),
    "vmamba_small": Variant((2, 2, 27, 2), (96, 192, 384, 768), block="scan", final_norm=True),
    "vmamba_base": Variant((2, 2, 27, 2), (128, 256, 512, 1024), block="scan", final_norm=True),
}


class MedMamba(nn.Module):
    """Image classifier (b, in_chans, H, W) -> (b, num_classes), for any H and W from 16 pixels up.

    Follows timm's model contract; feature maps are (b, h, w, c).

    Args:
        in_chans: Channels of the image.
        num_classes: Outputs; 0 leaves the head out.
        global_pool: "avg", or "" for none.
        depths: Blocks of each stage, 1 or more.
        widths: Channels of each stage.
        patch_size: Side of the patches, in pixels.
        state_size: States of each channel of the scan.
        block: A name in `medmamba.models.blocks.BLOCKS`.
        final_norm: LayerNorm before the mean, as in VMamba; MedMamba has none.
        drop_rate: Dropout before the linear head, in [0, 1).
        drop_path_rate: Of the last block, in [0, 1); rises linearly from 0 over the blocks.

    Raises:
        ValueError: The arguments make no such network; `InputError` where a number is not possible.
    """

    output_fmt = "NHWC"

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        *,
        depths: tuple[int, ...] = TINY.depths,
        widths: tuple[int, ...] = TINY.widths,
        patch_size: int = 4,
        state_size: int = 16,
        block: str = "split",
        final_norm: bool = False,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        check_rates(drop_rate=drop_rate, drop_path_rate=drop_path_rate)
        check_sizes(in_chans=in_chans, patch_size=patch_size, state_size=state_size)
        check_sizes(num_classes=num_classes, least=0)
        check_lists(depths=depths, widths=widths)
        if len(depths) != len(widths) or not depths:
            raise ValueError(f"depths {depths} and widths {widths} must give one number each for every stage")
        if block not in tuple(BLOCKS):
            raise ValueError(f"there is no block {block!r}; choose one of {', '.join(BLOCKS)}")
        self.in_chans, self.num_classes, self.drop_rate = in_chans, num_classes, drop_rate
        self.num_features = self.head_hidden_size = widths[-1]
        self.patch_embed = PatchEmbed(in_chans, widths[0], patch_size)
        rates = (drop_path_rate * i / max(1, sum(depths) - 1) for i in range(sum(depths)))
        self.stages = nn.Sequential()
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            drop_paths = [next(rates) for _ in range(depth)]
            merged = widths[i - 1] if i else None
            self.stages.append(Stage(merged, width, drop_paths, block=block, state_size=state_size))
        self.feature_info = [
            {"num_chs": width, "reduction": patch_size * 2**i, "module": f"stages.{i}"}
            for i, width in enumerate(widths)
        ]
        self.norm = nn.LayerNorm(widths[-1]) if final_norm else nn.Identity()
        self.head = Head(widths[-1], num_classes, global_pool, drop_rate)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (b, num_classes) of images (b, in_chans, H, W)."""
        return self.forward_head(self.forward_features(image))

    def forward_features(self, image: Tensor) -> Tensor:
        """Last feature map, (b, h, w, c)."""
        check_size((image.shape[-2], image.shape[-1]))
        return self.norm(self.stages(self.patch_embed(image)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pooled features (b, c) if `pre_logits`, else logits."""
        return self.head(x, pre_logits)

    def forward_intermediates(
        self,
        image: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Feature maps of chosen stages.

        Args:
            image: (b, in_chans, H, W).
            indices: Stages to take: None for all, n for the last n, or a list.
            norm: Apply the final norm, where there is one, to the last stage's map.
            stop_early: Leave out the stages after the last one taken.
            output_fmt: "NCHW" or "NHWC".
            intermediates_only: Return the maps alone.

        Returns:
            The maps, or the final features (b, h, w, c) and the maps.
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise ValueError(f"output_fmt is {output_fmt!r}; it must be 'NCHW' or 'NHWC'")
        taken = taken_stages(len(self.stages), indices)
        x = self.patch_embed(image)
        maps = []
        for i, stage in enumerate(self.stages[: max(taken) + 1] if stop_early else self.stages):
            x = stage(x)
            if i in taken:
                out = self.norm(x) if norm and i == len(self.stages) - 1 else x
                maps.append(out.permute(0, 3, 1, 2).contiguous() if output_fmt == "NCHW" else out)
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
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new linear layer in place."""
        old, pool = self.head, self.head.global_pool if global_pool is None else global_pool
        self.num_classes = num_classes
        self.head = Head(self.num_features, num_classes, pool, old.drop.p).to(self.patch_embed.proj.weight)
        self.head.train(old.training)
        _initialise(self.head.fc)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the blocks' activations again in the backward instead of keeping them."""
        for stage in self.stages:
            assert isinstance(stage, Stage)
            stage.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Parameters whose decay would be a prior on the dynamics, as in Mamba."""
        return {name for name, _ in self.named_parameters() if name.endswith((".A_log", ".D"))}

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Groups of parameters from the input to the output, for layer-wise learning rates."""
        blocks = (
            r"^stages\.(\d+)"
            if coarse
            else [(r"^stages\.(\d+)\.downsample", (0,)), (r"^stages\.(\d+)\.blocks\.(\d+)", None), (r"^norm", (99999,))]
        )
        return {"stem": r"^patch_embed", "blocks": blocks}


def _initialise(module: nn.Module) -> None:
    """Linear layers and convolutions; the scan's own parameters belong to no such module and keep theirs."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def taken_stages(number: int, indices: int | list[int] | None) -> list[int]:
    """Those of `number` stages that are asked for: all, the last n, or a list that may count from the end."""
    if indices is None or isinstance(indices, int):
        indices = list(range(-(number if indices is None else indices), 0))
    if not indices or not all(-number <= i < number for i in indices):
        raise ValueError(f"stages {indices} were asked for; there are {number}")
    return [i % number for i in indices]


def check_size(size: tuple[int, int]) -> None:
    """Raise `ValueError` for an image that leaves less than one cell for the last stage."""
    if min(size) < SMALLEST_SIDE:
        raise ValueError(f"an image of {size[0]} x {size[1]} pixels came; both sides must be at least {SMALLEST_SIDE}")


def build(name: str, **arguments: Any) -> MedMamba:
    """The network of a row of `VARIANTS`, with fresh weights; `arguments` override the row's and the defaults."""
    return MedMamba(**{**asdict(VARIANTS[name]), **arguments})
