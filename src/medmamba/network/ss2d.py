"""The SSM branch: a selective scan of a map in four directions between two projections (Yue & Li 2024, section 3.2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmamba.ops import conv_silu, cross_scan

DIRECTIONS = 4
STEP_RANGE = (0.001, 0.1)  # of the first steps' sizes, as in Mamba (Gu & Dao 2023, section 3.6)


class SS2D(nn.Module):
    """Gated two-dimensional selective scan, (b, h, w, c) -> (b, h, w, c).

    Args:
        channels: c.
        state_size: n, states of every channel.
        expand: Inner channels d are this many times c.
    """

    def __init__(self, channels: int, *, state_size: int = 16, expand: int = 2) -> None:
        super().__init__()
        inner = expand * channels
        self.rank = math.ceil(channels / 16)  # r, of the step's projection
        self.in_proj = nn.Linear(channels, 2 * inner, bias=False)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.activation: nn.Module = nn.SiLU()
        self.x_proj_weight = nn.Parameter(torch.empty(DIRECTIONS, self.rank + 2 * state_size, inner))
        self.dt_weight = nn.Parameter(torch.empty(DIRECTIONS, inner, self.rank))
        self.dt_bias = nn.Parameter(torch.empty(DIRECTIONS, inner))
        self.A_log = nn.Parameter(torch.empty(DIRECTIONS, inner, state_size))
        self.D = nn.Parameter(torch.empty(DIRECTIONS, inner))
        self.norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, channels, bias=False)
        self.reset_scan()

    @torch.no_grad()
    def reset_scan(self) -> None:
        """Initialise what the scan learns; the network's general initialisation leaves these parameters alone."""
        nn.init.uniform_(
            self.x_proj_weight, -(self.x_proj_weight.shape[-1] ** -0.5), self.x_proj_weight.shape[-1] ** -0.5
        )
        nn.init.uniform_(self.dt_weight, -(self.rank**-0.5), self.rank**-0.5)
        low, high = (math.log(step) for step in STEP_RANGE)
        step = torch.empty_like(self.dt_bias).uniform_(low, high).exp()
        self.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))  # softplus of it is the step
        states = torch.arange(1, self.A_log.shape[-1] + 1, dtype=self.A_log.dtype)
        self.A_log.copy_(states.log().expand_as(self.A_log))  # A = -1, -2, ... -n: S4D-real (Gu et al. 2022)
        self.D.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[1:3]
        # maps are sequences but where rows and columns matter: see `medmamba.ops.cross_scan` for why
        x, z = self.in_proj(x.flatten(1, 2)).chunk(2, dim=-1)  # (b, h w, d) each
        x = self._convolve(x.unflatten(1, size))
        x_proj, dt_weight = self._even_rank() if x.is_cuda else (self.x_proj_weight, self.dt_weight)
        proj = F.linear(x.flatten(1, 2), x_proj.flatten(0, 1)).unflatten(-1, (DIRECTIONS, -1)).unflatten(1, size)
        # in float32 at least, because exp amplifies rounding; negative, so that the state decays
        A = -torch.exp(self.A_log.to(torch.promote_types(self.A_log.dtype, torch.float32)))
        y = cross_scan(x, proj, dt_weight, self.dt_bias, A, self.D).flatten(1, 2)
        return self.out_proj(self.norm(y) * F.silu(z)).unflatten(1, size)

    def _convolve(self, x: Tensor) -> Tensor:
        """SiLU of the convolution; one operator, unless the convolution was replaced or is listened to by hooks."""
        conv = self.conv
        if type(conv) is nn.Conv2d and conv.bias is not None and not (conv._forward_hooks or conv._forward_pre_hooks):
            return conv_silu(x, conv.weight, conv.bias)
        out: Tensor = self.activation(conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return out

    def _even_rank(self) -> tuple[Tensor, Tensor]:
        """`x_proj_weight` and `dt_weight`; a row and a column of zeros more where the rank is odd.

        They change no result, and spare a GPU a copy of proj and of its gradient: its matrix products want a number of
        columns that eight divides, and 4 (r + 2n) is one for an even r.
        """
        if self.rank % 2 == 0:
            return self.x_proj_weight, self.dt_weight
        low, states = self.x_proj_weight.tensor_split([self.rank], dim=1)
        return torch.cat([F.pad(low, (0, 0, 0, 1)), states], dim=1), F.pad(self.dt_weight, (0, 1))
