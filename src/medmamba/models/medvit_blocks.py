"""What MedViT is built from: embedding, convolutional and pooled attention, feed-forward, and the two blocks.

Source of the facts: Manzari et al., "MedViT: a robust vision transformer for generalized medical image classification",
Computers in Biology and Medicine 157 (2023) 106791, arXiv 2302.09462, and what the authors' code does
(Omid-Nejati/MedViT at commit 1abcaf6, MIT licence, (c) 2023 Omid Nejati). Where the two differ, the code is followed
and the line says `as published:`.

Maps are (b, c, h, w). Convolutions have no bias; linear layers have one.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba.network.blocks import DropPath


def conv_norm(
    channels: int, out_channels: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution that keeps the size, divided by `stride` and rounded up, and BatchNorm."""
    conv = nn.Conv2d(channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out_channels)]


def named(**layers: nn.Module) -> OrderedDict[str, nn.Module]:
    """Layers of an `nn.Sequential`, in order, with names."""
    return OrderedDict(layers)


def round32(number: int) -> int:
    """Multiple of 32 nearest to `number`, halves up; the next one where that is less than 0.9 of it."""
    nearest = max(32, (number + 16) // 32 * 32)
    return nearest if nearest >= 0.9 * number else nearest + 32


class Embed(nn.Sequential):
    """First step of a block, (b, channels, h, w) -> (b, out_channels, ceil(h/stride), ceil(w/stride)).

    It is empty, and gives what it is given, where neither size nor width change.
    """

    def __init__(self, channels: int, out_channels: int, stride: int = 1) -> None:
        # a window over the border averages the pixels that are there
        pool = {"pool": nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)} if stride == 2 else {}
        if pool or channels != out_channels:
            conv, norm = conv_norm(channels, out_channels)
            super().__init__(named(**pool, conv=conv, norm=norm))
        else:
            super().__init__()


class MHCA(nn.Sequential):
    """Multi-head convolutional attention: a convolution in groups of `head_dim` channels, and one that mixes them."""

    def __init__(self, channels: int, head_dim: int) -> None:
        conv, norm = conv_norm(channels, channels, 3, groups=channels // head_dim)
        projection = nn.Conv2d(channels, channels, 1, bias=False)
        super().__init__(named(group_conv=conv, norm=norm, act=nn.ReLU(), projection=projection))


class Gate(nn.Module):
    """Weighs channels by a function of their means: (b, c, h, w) -> (b, c, h, w) (squeeze and excitation).

    Args:
        channels: c.
        hidden: Units between the two linear layers.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.expand(F.relu(self.reduce(x.mean(dim=(2, 3)))))
        # a hard sigmoid; torch's own has a gradient that is rounded to single precision
        return x * (F.relu6(weights + 3) / 6)[:, :, None, None]


class LFFN(nn.Sequential):
    """Local feed-forward network with its own residual, (b, c, h, w) -> (b, c, h, w).

    Args:
        channels: c.
        expansion: Hidden channels for each of c.
    """

    def __init__(self, channels: int, expansion: int) -> None:
        hidden = channels * expansion
        expand, expand_norm = conv_norm(channels, hidden)
        depthwise, depthwise_norm = conv_norm(hidden, hidden, 3, groups=hidden)
        project, project_norm = conv_norm(hidden, channels)
        super().__init__(
            named(
                expand=expand,
                expand_norm=expand_norm,
                expand_act=nn.Hardswish(),
                depthwise=depthwise,
                depthwise_norm=depthwise_norm,
                depthwise_act=nn.Hardswish(),
                # as published: the gate has as many hidden units as each channel has copies, 3 or 2
                gate=Gate(hidden, expansion),
                project=project,
                project_norm=project_norm,
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + super().forward(x)
        return out


class ESA(nn.Module):
    """Self-attention whose keys and values are means of runs of tokens, (b, c, h, w) -> (b, c, h, w).

    Args:
        channels: c.
        head_dim: Channels of a head.
        ratio: r; a key is the mean of r * r tokens.
    """

    def __init__(self, channels: int, head_dim: int, ratio: int) -> None:
        super().__init__()
        self.head_dim, self.run = head_dim, ratio**2
        self.q, self.k, self.v, self.proj = (nn.Linear(channels, channels) for _ in range(4))
        self.norm = nn.BatchNorm1d(channels) if ratio > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).mT  # (b, l, c), row by row
        pooled = self._pool(tokens)
        q, k, v = (self._heads(y) for y in (self.q(tokens), self.k(pooled), self.v(pooled)))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.proj(y).mT.unflatten(2, x.shape[2:])
        return out

    def _pool(self, tokens: Tensor) -> Tensor:
        """(b, l, c) -> (b, l // r**2, c)."""
        if self.run == 1:
            return tokens
        # as published: a run goes along a row and over its end, it is no square; the last l mod r**2 tokens are no keys
        keys = tokens.shape[1] // self.run
        if keys == 0:
            raise ValueError(f"a key is made of {self.run} cells and the map has {tokens.shape[1]}; give larger images")
        pooled: Tensor = self.norm(tokens[:, : keys * self.run].unflatten(1, (keys, self.run)).mean(dim=2).mT).mT
        return pooled

    def _heads(self, tokens: Tensor) -> Tensor:
        """(b, l, c) -> (b, heads, l, head_dim)."""
        return tokens.unflatten(2, (-1, self.head_dim)).transpose(1, 2)


class ECB(nn.Module):
    """Efficient convolution block, (b, channels, h, w) -> (b, out_channels, ceil(h/stride), ceil(w/stride))."""

    def __init__(self, channels: int, out_channels: int, stride: int, *, head_dim: int, drop_path: float) -> None:
        super().__init__()
        if out_channels % head_dim:
            raise ValueError(
                f"a convolution block of {out_channels} channels has no whole number of heads of {head_dim}"
            )
        self.embed = Embed(channels, out_channels, stride)
        self.mhca = MHCA(out_channels, head_dim)
        self.drop_path = DropPath(drop_path)
        self.norm = nn.BatchNorm2d(out_channels)
        self.lffn = LFFN(out_channels, expansion=3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.drop_path(self.mhca(x))
        # as published: the residual inside is that of the normalised map, so a block adds both that and the branch
        out: Tensor = x + self.lffn(self.norm(x))
        return out


class LTB(nn.Module):
    """Local transformer block, (b, channels, h, w) -> (b, out_channels, ceil(h/stride), ceil(w/stride)).

    Args:
        channels: Of the input.
        out_channels: Of the output: those of attention, then those of convolution.
        stride: 1 or 2.
        head_dim: Channels of a head.
        drop_path: Rate of the block, which the two branches share as they do the channels.
        mix: Share of the channels that is for attention, rounded to a multiple of 32.
        ratio: Of `ESA`.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        stride: int,
        *,
        head_dim: int,
        drop_path: float,
        mix: float,
        ratio: int,
    ) -> None:
        super().__init__()
        attended = round32(int(out_channels * mix))
        convolved = out_channels - attended
        if convolved < 1 or attended % head_dim or convolved % head_dim:
            raise ValueError(
                f"a transformer block of {out_channels} channels with mix {mix} has {attended} for attention and "
                f"{convolved} for convolution; both must be multiples of head_dim, {head_dim}, and more than 0"
            )
        self.embed = Embed(channels, attended, stride)
        self.norm1 = nn.BatchNorm2d(attended)
        self.attention = ESA(attended, head_dim, ratio)
        self.attention_drop_path = DropPath(drop_path * mix)
        self.projection = Embed(attended, convolved)
        self.mhca = MHCA(convolved, head_dim)
        self.mhca_drop_path = DropPath(drop_path * (1 - mix))
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.lffn = LFFN(out_channels, expansion=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.attention_drop_path(self.attention(self.norm1(x)))
        u = self.projection(x)
        u = u + self.mhca_drop_path(self.mhca(u))
        z = torch.cat([x, u], dim=1)
        out: Tensor = z + self.lffn(self.norm2(z))  # as published: as in ECB
        return out
