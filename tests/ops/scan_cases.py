"""Random arguments for both scans, and the gradients of a call."""

import torch
from torch import Tensor


def cross_scan_case(b=2, h=3, w=5, d=8, n=4, r=2, dtype=torch.float64, seed=0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    case = {
        "x": normal(b, h, w, d),
        "proj": normal(b, h, w, 4, r + 2 * n),
        "dt_weight": normal(4, d, r) * 0.5,
        "dt_bias": normal(4, d) - 2,
        "A": -torch.exp(normal(4, d, n) * 0.5),
        "D": normal(4, d),
    }
    return {name: t.to(dtype) for name, t in case.items()}


def operands(case: dict[str, Tensor]) -> list[Tensor]:
    """A case as the operator of the cross-scan takes it, with x as a sequence; leaves that want gradients."""
    return [(t.flatten(1, 2) if name == "x" else t).detach().requires_grad_() for name, t in case.items()]


def selective_scan_case(b=2, g=2, d=3, n=4, length=9, dtype=torch.float64, seed=0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    case = {
        "u": normal(b, g * d, length),
        "dt": normal(b, g * d, length),
        "A": -torch.exp(normal(g * d, n) * 0.5),
        "B": normal(b, g, n, length),
        "C": normal(b, g, n, length),
        "D": normal(g * d),
        "dt_bias": normal(g * d) - 2,
    }
    return {name: t.to(dtype) for name, t in case.items()}


def with_gradients(function, case: dict[str, Tensor], **kwargs) -> dict[str, Tensor]:
    """The output, as "y", and the gradient of every argument for one fixed random gradient of the output."""
    leaves = {name: t.detach().clone().requires_grad_() for name, t in case.items()}
    y = function(**leaves, **kwargs)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y)
    gradients = torch.autograd.grad(y, list(leaves.values()), grad)
    return {"y": y.detach(), **dict(zip(leaves, gradients, strict=True))}


def relative_error(actual: Tensor, expected: Tensor) -> float:
    actual, expected = actual.detach().double(), expected.detach().double()
    return float((actual - expected).norm() / expected.norm().clamp_min(1e-30))
