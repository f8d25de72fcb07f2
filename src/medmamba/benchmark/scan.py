"""The cross-scan alone, at the four stages of medmamba_tiny, beside the least time that the card could take."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from medmamba.benchmark.plan import Plan
from medmamba.benchmark.timing import Call, Spread, measure, release, spread
from medmamba.errors import one_line
from medmamba.network import VARIANTS
from medmamba.network.ss2d import DIRECTIONS, SS2D
from medmamba.ops import backend as scans
from medmamba.ops import cross_scan

logger = logging.getLogger(__name__)

STATES = 16
WORK = ("forward", "forward+backward")
EXPONENTIALS_A_CLOCK = 16  # of a multiprocessor's special function units (CUDA programming guide, throughput table)
ASSUMED_CLOCK = 1.755  # GHz, an H100's under load, where torch does not tell
_COPIED = 2**30  # bytes copied to measure the bandwidth: far more than a cache holds


@dataclass(frozen=True)
class Map:
    """The scan's input at a stage: (b, h, w, d) with the step's rank r."""

    b: int
    h: int
    w: int
    d: int
    r: int


@dataclass(frozen=True)
class Card:
    """What limits the scan: rates that are computed from what torch says, and one that was measured."""

    multiprocessors: int
    clock_ghz: float
    clock_source: str
    copy_gb_per_s: float  # read and written bytes of a large copy on the device


@dataclass(frozen=True)
class Limit:
    """The least time, in ms, that exponentials and memory take; the larger one is the limit."""

    exponentials_ms: float
    bytes_ms: float

    @property
    def ms(self) -> float:
        return max(self.exponentials_ms, self.bytes_ms)

    @property
    def by(self) -> str:
        return "exponentials" if self.exponentials_ms >= self.bytes_ms else "bytes"


@dataclass(frozen=True)
class ScanTime:
    """Time of one backend on one map, in ms, or the reason why there is none."""

    map: Map
    backend: str
    work: str
    spread: Spread | None = None
    limit: Limit | None = None
    error: str | None = None


def maps(batch: int, image_size: tuple[int, int]) -> list[Map]:
    """Those of medmamba_tiny's stages."""
    h, w = (side // 4 for side in image_size)
    found = []
    for width in VARIANTS["medmamba_tiny"].widths:
        found.append(Map(batch, h, w, width, SS2D(width // 2).rank))
        h, w = (h + 1) // 2, (w + 1) // 2
    return found


def limit(case: Map, work: str, card: Card, bytes_a_value: int) -> Limit:
    """The least time on a card.

    Every state's update takes one exponential, in the backward once more: keeping them would move more bytes than it
    saves. Moved at least are, once each, the map and the projection in and the sum out; with the backward also the
    gradients of these three. The parameters and their gradients are small and not counted.

    Args:
        case: b, h, w, d and r.
        work: Of `WORK`.
        card: Its rates.
        bytes_a_value: Of maps and projections.
    """
    backward = work == WORK[1]
    tokens = case.b * case.h * case.w
    exponentials = tokens * case.d * STATES * DIRECTIONS * (2 if backward else 1)
    values = tokens * (2 * case.d + DIRECTIONS * (case.r + 2 * STATES)) * (2 if backward else 1)
    rate = EXPONENTIALS_A_CLOCK * card.multiprocessors * card.clock_ghz * 1e9
    return Limit(exponentials / rate * 1e3, values * bytes_a_value / (card.copy_gb_per_s * 1e9) * 1e3)


def measure_card(plan: Plan) -> Card | None:
    """The rates of the plan's device; None on the CPU."""
    if plan.device.type != "cuda":
        return None
    properties: Any = torch.cuda.get_device_properties(plan.device)
    clock, source = clock_rate(properties)
    return Card(properties.multi_processor_count, clock, source, _copy_rate(plan))


def clock_rate(properties: Any) -> tuple[float, str]:
    """Highest clock of the multiprocessors in GHz, and where that figure is from."""
    ghz = getattr(properties, "clock_rate", 0) / 1e6  # given in kHz, by newer versions of torch
    return (ghz, "from torch") if 0.3 < ghz < 5 else (ASSUMED_CLOCK, "assumed, torch does not tell")


def _copy_rate(plan: Plan) -> float:
    """GB/s, reading and writing counted."""
    source = torch.randint(256, (_COPIED,), dtype=torch.uint8, device=plan.device)
    target = torch.empty_like(source)
    median = spread(measure(lambda: target.copy_(source), plan.device, seconds=plan.seconds).times).median
    return 2 * _COPIED / (median / 1e3) / 1e9


def backends(plan: Plan) -> list[str]:
    """Those made for the device; whether they work there shows."""
    return [name for name, row in scans.BACKENDS.items() if row.devices is None or plan.device.type in row.devices]


def measure_scans(plan: Plan, card: Card | None, advance: Callable[[], None]) -> list[ScanTime]:
    """Every backend at every stage, forward alone and with the backward.

    Args:
        plan: Batch and image size, precision of the map, device.
        card: What the limit is computed from; no limit without.
        advance: Called after each.
    """
    found = []
    for case, name, work in itertools.product(maps(plan.batch_size, plan.image_size), backends(plan), WORK):
        bound = None if card is None else limit(case, work, card, plan.dtype.itemsize)
        found.append(_attempt(ScanTime(case, name, work, limit=bound), plan))
        release(plan.device)
        advance()
    return found


def _attempt(blank: ScanTime, plan: Plan) -> ScanTime:
    directions = ("forward", "backward") if blank.work == WORK[1] else ("forward",)
    for direction in directions:
        call = scans.Call("cross_scan", plan.dtype)
        if reason := scans.why_not(blank.backend, plan.device.type, direction, call=call):
            return replace(blank, error=reason)
    try:
        measured = measure(_scan(blank, plan), plan.device, seconds=plan.seconds)
    except Exception as reason:  # whatever a kernel or a full memory raises, the others go on
        error = one_line(reason)
        logger.warning("scan %s, %s at %s failed: %s", blank.backend, blank.work, blank.map, error)
        return replace(blank, error=error)
    return replace(blank, spread=spread(measured.times))


def _scan(blank: ScanTime, plan: Plan) -> Call:
    """Scans one set of inputs after the other: as many as it takes for none to be in the cache when its turn comes."""
    layer = SS2D(blank.map.d // 2, state_size=STATES).to(plan.device)
    one = _inputs(blank.map, layer, plan)
    sets = [one, *(_inputs(blank.map, layer, plan) for _ in range(_sets(one, plan.device) - 1))]
    turns = itertools.cycle(sets)

    def forward() -> Tensor:
        *tensors, _ = next(turns)
        with torch.no_grad():
            return cross_scan(*tensors, backend=blank.backend)

    def both() -> tuple[Tensor, ...]:
        *tensors, grad = next(turns)
        return torch.autograd.grad(cross_scan(*tensors, backend=blank.backend), tensors, grad)

    return both if blank.work == WORK[1] else forward


def _sets(tensors: list[Tensor], device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    cache: int = torch.cuda.get_device_properties(device).L2_cache_size
    return max(1, -(-2 * cache // sum(t.nbytes for t in tensors[:-1])))


def _inputs(case: Map, layer: SS2D, plan: Plan) -> list[Tensor]:
    """x, proj, the layer's dt_weight, dt_bias, A and D, all leaves, and the gradient of the sum; a copy each time."""
    cells = (case.b, case.h, case.w)
    x = torch.randn((*cells, case.d), device=plan.device, dtype=plan.dtype)
    proj = torch.randn((*cells, DIRECTIONS, case.r + 2 * STATES), device=plan.device, dtype=plan.dtype)
    parameters = [layer.dt_weight, layer.dt_bias, -layer.A_log.exp(), layer.D]
    leaves = [t.detach().clone().requires_grad_() for t in (x, proj, *parameters)]
    return [*leaves, torch.randn_like(x)]
