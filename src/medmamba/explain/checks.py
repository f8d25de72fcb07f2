"""Whether heat maps mean something: three checks that a map of nothing would fail.

Randomisation: with weights made meaningless from the output on, the maps must change (Adebayo et al. 2018).
Removal: blurring the hottest places must cost the class more of its probability than blurring as large ones elsewhere,
and showing them alone must bring more of it back (deletion and insertion, Petsiuk et al. 2018).
Pointing: on phantoms, whose lesions are known, the hottest point must lie in the lesion (Zhang et al. 2018), with no
tolerance.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from medmamba.bundle import Bundle
from medmamba.data import Dataset, ImageSet, check_outside, open_data, phantoms
from medmamba.device import WHOLE_FLOAT32
from medmamba.errors import InputError
from medmamba.explain.layers import networks_of
from medmamba.explain.maps import HeatMapper, merge, network_of
from medmamba.explain.place import NOTE
from medmamba.explain.run import predicted
from medmamba.json_file import holds_entries, write_json
from medmamba.tasks import probabilities
from medmamba.writing import check_replaced, make_folder, writable_folder

if TYPE_CHECKING:
    from medmamba.predictor import Classifier

PARTS = ("randomisation", "removal", "pointing")
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the layers that are randomised; the first stands for the last layer alone
ALIKE = 0.5  # mean rank correlation, below which maps of the network without what it learnt count as others
STEPS = 10  # points of a removal curve
DRAWS = 3  # random places for each map
BATCH = 32
POINTED = 0.8  # share of hottest points in the lesion
Figure = dict[str, float]


def check_heat_maps(
    classifier: Classifier,
    data: Dataset | str | os.PathLike[str],
    split: str = "test",
    *,
    n: int = 40,
    method: str | None = None,
    layers: Sequence[str] = (),
    parts: Sequence[str] = PARTS,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Check the maps of a network on images of a data set, each for the class that is predicted.

    Args:
        classifier: A trained model, from `medmamba.load`.
        data: Where images are drawn from: what `open_data` takes, or that opened with the classifier's classes.
        split: Of it.
        n: Images, drawn without repetition; all where there are fewer.
        method: As for `medmamba.heat_maps`.
        layers: The same.
        parts: Of `PARTS`, those to be done; `pointing` is left out for other data than phantoms.
        seed: Of the draws, the randomised weights and the bootstrap.
        out: File to write the result to, as JSON; not in the data. One that is there is replaced only if it is such a
            result, or empty.
        progress: Called with (parts done, parts in all, what is being done).

    Returns:
        `randomisation`, `removal` and `pointing`, None where not done, else each with its figures (means over images
        with 95 % bootstrap intervals), `passed` and `verdict`, a sentence; `passed` of all; and what was checked.

    Raises:
        InputError: As `medmamba.heat_maps`; or the data cannot be opened, has no such split or fewer than two images.
    """
    bundle = classifier.bundle
    mapper = HeatMapper(bundle, network_of(classifier), method=method, layers=layers)
    if n < 2:
        raise InputError(f"{n} images are too few for an interval; give 2 or more")
    if out is not None:
        writable_folder(Path(out).parent)
        check_outside(out, data)
        check_replaced(out, "explain --check", is_check)
    if not isinstance(data, Dataset):
        splits_seed = int(bundle.provenance.get("seed") or 0)
        data = open_data(data, task=str(bundle.task), classes=bundle.classes, seed=splits_seed)
    images = data.split(split)
    if len(images) < 2:
        raise InputError(f"the split {split!r} of {data.name} has {len(images)} images; two or more are needed")
    rows = np.sort(np.random.default_rng(seed).permutation(len(images))[:n])
    shape = bundle.preprocessing
    pixels = np.stack([shape.pixels(images.read(int(row), shape.reading)) for row in rows])
    targets = predicted(bundle, _scores(bundle, mapper.model, pixels))
    maps = mapper.maps(pixels, targets)
    made: dict[str, Callable[[], dict[str, Any]]] = {
        "randomisation": lambda: randomisation(mapper, pixels, targets, maps, seed),
        "removal": lambda: removal(mapper, pixels, targets, maps, seed),
        "pointing": lambda: pointing(mapper, images, rows, pixels, targets, seed),
    }
    wanted = [part for part in PARTS if part in parts and (part != "pointing" or data.name == "phantoms")]
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(PARTS)
    for done, part in enumerate(wanted):
        if progress is not None:
            progress(done, len(wanted), part)
        found[part] = made[part]()
    result = {
        "note": NOTE,
        "model": bundle.model,
        "image_size": list(mapper.size),
        "method": mapper.method,
        "layers": list(mapper.layers),
        "cells": [list(mapper.found[name][1:]) for name in mapper.layers],
        "data": data.name,
        "split": split,
        "n": len(rows),
        "empty_maps": int((~maps.any(axis=(1, 2))).sum()),
        "seed": seed,
        **found,
        "passed": all(part["passed"] for part in found.values() if part is not None),
    }
    if out is not None:
        make_folder(Path(out).parent)
        write_json(out, result)
    return result


def is_check(path: Path) -> bool:
    """Whether a file is what `check_heat_maps` writes."""
    return holds_entries(path, (*PARTS, "method", "layers", "passed"))


def randomised(model: nn.Module, seed: int) -> Iterator[tuple[float, nn.Module]]:
    """A copy of a network in which more and more weights are made meaningless, from the output on.

    The values of each tensor are shuffled: their distribution stays, so that activations keep their size, and what was
    learnt goes; of an ensemble, in all networks alike. Yields the share of the layers done, `SHARES`, and the network,
    the same object each time.
    """
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    networks = [
        [module for module in network.modules() if list(module.parameters(recurse=False))][::-1]
        for network in networks_of(model).values()
    ]
    done = [0] * len(networks)
    for share in SHARES:
        for number, layers in enumerate(networks):
            until = max(1, round(share * len(layers)))
            for layer in layers[done[number] : until]:
                _shuffle(layer, generator)
            done[number] = until
        yield share, model


def _shuffle(layer: nn.Module, generator: torch.Generator) -> None:
    for weight in layer.parameters(recurse=False):
        order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
        with torch.no_grad():  # not through `.data`, by which packed convolutions would not see the change
            weight.copy_(weight.flatten()[order].reshape(weight.shape))


def randomisation(
    mapper: HeatMapper, pixels: np.ndarray, targets: np.ndarray, maps: np.ndarray, seed: int
) -> dict[str, Any]:
    steps: list[dict[str, Any]] = []
    for share, model in randomised(mapper.model, seed):
        other = mapper.on(model).maps(pixels, targets)
        correlation = _mean(rank_correlations(maps, other), seed)
        steps.append({"share": share, "rank_correlation": correlation, "ssim": _mean(similarities(maps, other), seed)})
    last = steps[-1]["rank_correlation"]
    passed = bool(last["high"] < ALIKE)
    words = "change" if passed else "hardly change"
    verdict = (
        f"maps {words} when what was learnt is taken away: rank correlation {_words(last)}; below {ALIKE} expected"
    )
    return {"passed": passed, "verdict": verdict, "steps": steps}


def removal(mapper: HeatMapper, pixels: np.ndarray, targets: np.ndarray, maps: np.ndarray, seed: int) -> dict[str, Any]:
    """Areas under curves of the class's probability, from no pixel changed to all of them."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    kept = maps.any(axis=(1, 2))
    if kept.sum() < 2:
        return {
            "passed": False,
            "verdict": "nearly all maps are empty, so there is nothing to remove",
            "n": int(kept.sum()),
        }
    pixels, targets, maps = pixels[kept], targets[kept], maps[kept]
    sigma = min(mapper.size) / 8
    blurred = gaussian_filter(pixels.astype(np.float32), (0, 0, sigma, sigma)).round().astype(np.uint8)
    # the same map at a random place: as many pixels, in places of the same form
    elsewhere = [np.stack([_moved(heat, rng) for heat in maps]) for _ in range(DRAWS)]
    areas = partial(_areas, mapper, targets, rng)
    figures: dict[str, Any] = {}
    for name, start, end, sign in (("deletion", pixels, blurred, -1), ("insertion", blurred, pixels, 1)):
        hot, moved = areas(maps, start, end), np.mean([areas(heat, start, end) for heat in elsewhere], axis=0)
        gain = _mean(sign * (hot - moved), seed)
        figures[name] = {"hottest": float(hot.mean()), "elsewhere": float(moved.mean()), "gain": gain}
    passed = all(figures[name]["gain"]["low"] > 0 for name in figures)
    gains = {name: _words(figures[name]["gain"]) for name in figures}
    words = "matter more" if passed else "cannot be shown to matter more"
    verdict = f"the hottest places {words} than others: deletion {gains['deletion']}, insertion {gains['insertion']}"
    return {"passed": bool(passed), "verdict": f"{verdict}; above 0 expected", "n": len(maps), **figures}


def pointing(
    mapper: HeatMapper, images: ImageSet, rows: np.ndarray, pixels: np.ndarray, targets: np.ndarray, seed: int
) -> dict[str, Any]:
    """Of the pictures that are answered rightly."""
    right = np.flatnonzero(targets == images.targets[rows])
    if len(right) < 2:
        return {
            "passed": False,
            "verdict": "hardly a picture is answered rightly, so pointing means nothing",
            "n": len(right),
        }
    lesions = np.array([phantoms.lesion(images.names[rows[i]]) for i in right])
    raw = mapper.raw(pixels[right], targets[right])
    hits = np.zeros(len(right))
    for i, lesion in enumerate(lesions):
        heat = merge([layer[i] for layer in raw], mapper.size, picture=lesion.shape)
        hits[i] = heat.any() and lesion[np.unravel_index(heat.argmax(), heat.shape)]
    share, chance = _mean(hits, seed), float(lesions.mean())
    passed = share["value"] >= POINTED
    verdict = f"the hottest point lies in the lesion in {_words(share)} of {len(right)} pictures answered rightly"
    verdict += f"; {POINTED} or more expected, {chance:.2f} by chance"
    return {"passed": bool(passed), "verdict": verdict, "n": len(right), "share": share, "lesion_area": chance}


def rank_correlations(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each pair of maps (n, h, w), (n,); 0 where one of them is flat."""
    from scipy.stats import rankdata

    ranks = [rankdata(each.reshape(len(each), -1), axis=1) for each in (maps, others)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    norms = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), norms, out=np.zeros(len(maps)), where=norms > 0)


def similarities(maps: np.ndarray, others: np.ndarray, window: int = 7) -> np.ndarray:
    """Mean structural similarity of each pair of maps (n, h, w) in [0, 1], (n,) (Wang et al. 2004, even window)."""
    a, b = (torch.from_numpy(each).double()[:, None] for each in (maps, others))
    mean = partial(F.avg_pool2d, kernel_size=min(window, *maps.shape[1:]), stride=1)
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, both = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return index.mean(dim=(1, 2, 3)).numpy()


def _areas(
    mapper: HeatMapper,
    targets: np.ndarray,
    rng: np.random.Generator,
    heat: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
) -> np.ndarray:
    """Area, 0 to 1, under the probability of each target while pixels go from `start` to `end`, hottest first, (n,)."""
    flat = heat.reshape(len(heat), -1)
    order = np.lexsort((rng.random(flat.shape), -flat), axis=1)  # chance decides among equals
    rank = np.argsort(order, axis=1).reshape(len(heat), 1, *heat.shape[1:])
    curve = []
    for step in range(STEPS + 1):
        mixed = np.where(rank < round(step / STEPS * flat.shape[1]), end, start)
        curve.append(_scores(mapper.bundle, mapper.model, mixed)[np.arange(len(targets)), targets])
    return np.mean([(a + b) / 2 for a, b in pairwise(curve)], axis=0)


def _moved(heat: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The map rolled around the edges to a random place, and mirrored or not."""
    rolled = np.roll(heat, (rng.integers(heat.shape[0]), rng.integers(heat.shape[1])), axis=(0, 1))
    return rolled[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]


def _scores(bundle: Bundle, model: nn.Module, pixels: np.ndarray) -> np.ndarray:
    device, parts = next(model.parameters()).device, []
    with torch.inference_mode(), WHOLE_FLOAT32:
        for start in range(0, len(pixels), BATCH):
            image = bundle.preprocessing.normalise(torch.from_numpy(pixels[start : start + BATCH]).to(device))
            parts.append(probabilities(bundle.task, model(image)).double().cpu().numpy())
    return np.concatenate(parts)


def _mean(values: np.ndarray, seed: int, resamples: int = 2000) -> Figure:
    """Mean over images with its 95 % percentile bootstrap interval."""
    draws = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return {"value": float(values.mean()), "low": float(low), "high": float(high)}


def _words(figure: Figure) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
