"""What MedMamba is built from: patch embedding, patch merging, the SS-Conv-SSM block and its ablations.

Maps are (b, h, w, c) throughout; a module that needs another layout changes it inside, so that modules can be run one
after the other by timm's `features_only`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medmamba.network.ss2d import SS2D


class DropPath(nn.Module):
    """Set a branch to zero for whole images at random while training (stochastic depth, Huang et al. 2016).

    Args:
        drop_prob: 0 to 1; what is kept is divided by 1 - drop_prob.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0:
            return x
        keep = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(1 - self.drop_prob)
        return x * keep.div_(1 - self.drop_prob) if self.drop_prob < 1 else x * keep


class PatchEmbed(nn.Module):
    """Image (b, in_chans, H, W) to map (b, ceil(H/p), ceil(W/p), c): a convolution of stride p, then LayerNorm.

    A height or width that p does not divide is padded with zeros at its end.
    """

    def __init__(self, in_chans: int, channels: int, patch_size: int = 4) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, channels, patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        p = self.proj.stride[0]
        bottom, right = -image.shape[-2] % p, -image.shape[-1] % p
        if bottom or right:
            image = F.pad(image, (0, right, 0, bottom))
        x = self.proj(image)
        return self.norm(x.flatten(2).mT).unflatten(1, x.shape[2:])  # a sequence, as in SS2D


class PatchMerging(nn.Module):
    """Join each 2 x 2 cell: (b, h, w, c) -> (b, ceil(h/2), ceil(w/2), 2c).

    An odd map is padded with zeros at its end (the published code drops its last row or column).
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, out_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        bottom, right = x.shape[1] % 2, x.shape[2] % 2
        if bottom or right:
            x = F.pad(x, (0, 0, 0, right, 0, bottom))
        b, h, w, _ = x.shape
        cells = x.unflatten(1, (-1, 2)).unflatten(3, (-1, 2))  # (b, h/2, row, w/2, column, c)
        cells = cells.permute(0, 1, 3, 4, 2, 5).reshape(b, h * w // 4, -1)  # a sequence, as in SS2D
        return self.reduction(self.norm(cells)).unflatten(1, (h // 2, w // 2))


class ConvBranch(nn.Sequential):
    """The convolution branch, (b, h, w, c) -> (b, h, w, c) (section 3.2.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SplitBlock(nn.Module):
    """The SS-Conv-SSM block: half of the channels convolved, half scanned, shuffled, and the input added."""

    shuffle = True

    def __init__(self, channels: int, drop_path: float, state_size: int) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(f"a block splits its channels in two halves; {channels} is odd")
        half = channels // 2
        self.conv = ConvBranch(half)
        self.norm = nn.LayerNorm(half)
        self.ss2d = SS2D(half, state_size=state_size)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=-1)
        # as published: only the scan branch is dropped, the convolution branch never is
        branches = [self.conv(left), self.drop_path(self.ss2d(self.norm(right)))]
        if self.shuffle:  # two groups: channel i of the left lands beside channel i of the right
            return x + torch.stack(branches, dim=-1).flatten(-2)
        return x + torch.cat(branches, dim=-1)


class UnshuffledBlock(SplitBlock):
    """Ablation: split, but not shuffled (table 7, third row)."""

    shuffle = False


class SumBlock(nn.Module):
    """Ablation: both branches on all channels, their outputs added (table 7, second row)."""

    def __init__(self, channels: int, drop_path: float, state_size: int) -> None:
        super().__init__()
        self.conv = ConvBranch(channels)
        self.norm = nn.LayerNorm(channels)
        self.ss2d = SS2D(channels, state_size=state_size)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) + self.drop_path(self.ss2d(self.norm(x)))


class ScanBlock(nn.Module):
    """Ablation: the scan alone, on all channels (table 7, first row); also the block of VMamba's first form."""

    def __init__(self, channels: int, drop_path: float, state_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.ss2d = SS2D(channels, state_size=state_size)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.ss2d(self.norm(x)))


BLOCKS: dict[str, type[nn.Module]] = {
    "split": SplitBlock,
    "unshuffled": UnshuffledBlock,
    "sum": SumBlock,
    "scan": ScanBlock,
}


class Stage(nn.Module):
    """Patch merging from `merged` channels, but for the first stage, and blocks at one resolution."""

    def __init__(
        self, merged: int | None, channels: int, drop_paths: list[float], *, block: str, state_size: int
    ) -> None:
        super().__init__()
        self.grad_checkpointing = False
        self.downsample = nn.Identity() if merged is None else PatchMerging(merged, channels)
        self.blocks = nn.Sequential(*(BLOCKS[block](channels, rate, state_size) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.grad_checkpointing else block(x)
        return x


class Head(nn.Module):
    """Mean over the map, dropout, linear layer: (b, h, w, c) -> (b, num_classes).

    Args:
        channels: c.
        num_classes: 0 for no linear layer.
        global_pool: "avg", or "" for none, which keeps the map.
        drop_rate: Of the dropout.
    """

    def __init__(self, channels: int, num_classes: int, global_pool: str, drop_rate: float) -> None:
        super().__init__()
        if global_pool not in ("avg", ""):
            raise ValueError(f"global_pool is {global_pool!r}; it must be 'avg', or '' for none")
        self.global_pool = global_pool
        self.drop = nn.Dropout(drop_rate)
        self.fc = nn.Linear(channels, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(x.mean(dim=(1, 2)) if self.global_pool else x)
        return x if pre_logits else self.fc(x)
