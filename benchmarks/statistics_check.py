"""Whether the statistics of `medmamba.metrics` keep their promises, on data whose truth is known.

    python benchmarks/statistics_check.py [--sets 1000] [--out FILE]

simulates 1,000 data sets a design and counts how often 95 % intervals hold the true value, compares DeLong's variance
with the bootstrap's and with the spread over the sets, conformal coverage with its theory, DeLong with an independent
implementation, and writes `benchmarks/results/statistics.json`. One core, about six minutes.

True values are those of one set of a million cases. Each interval is judged under the sampling that it supposes:
Wilson's and DeLong's on images as they come, the stratified bootstrap on a given number of images of each class.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from medmamba import metrics
from medmamba.metrics.delong import covariance
from medmamba.metrics.intervals import resample_weights
from medmamba.metrics.ranking import rank_auc
from medmamba.tasks import Task

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "statistics.json"
STORED = HERE.parent / "tests" / "metrics" / "delong.json"
WANTED = (0.93, 0.97)
BY_RESAMPLES = ("bootstrap", "paired bootstrap", "inverted test")
MANY = 1_000_000  # cases of the set that gives the true values
Draw = Callable[[np.random.Generator, int, bool], tuple[np.ndarray, np.ndarray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()

    from epoch_rate import provenance  # with torch, which the simulations do without
    from processor import processor
    from torch import device

    start = time.process_time()
    made = provenance(device("cpu"), None)
    results = {**made, "processor": processor(), "sets": arguments.sets, **simulate(arguments.sets)}
    results["processor_seconds"] = round(time.process_time() - start, 1)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


def simulate(sets: int, many: int = MANY) -> dict[str, Any]:
    """All simulations, ready for JSON."""
    coverage = {
        "binary, 156 images, 27 % positive": of_summaries(Task.BINARY, binary, 156, 2 * sets, 500, many),
        "binary, 80 patients with 3 images each": of_summaries(
            Task.BINARY, patients, 240, sets, 1000, many, per_patient=3
        ),
        "ordinal, 400 images in 4 classes": of_summaries(Task.ORDINAL, ordinal, 400, sets, 500, many),
        "multi-label, 300 images with 3 labels": of_summaries(Task.MULTILABEL, labels, 300, sets, 500, many),
        "two binary models, 156 images": of_comparisons(pair(1.5, 2.2), 156, 2 * sets, 500, many),
        "probabilities of an overconfident binary model, 1000 images": of_calibration(0.5, 1000, sets, 500, many),
    }
    rows = [(row["method"], row["coverage"]) for figures in coverage.values() for row in figures.values()]
    by_method: dict[str, list[float]] = defaultdict(list)
    for method, share in rows:
        by_method[method].append(share)
    return {
        "wanted": list(WANTED),
        "coverage_by_method": {
            name: {
                "figures": len(shares),
                "mean": round(float(np.mean(shares)), 4),
                "low": min(shares),
                "high": max(shares),
            }
            for name, shares in sorted(by_method.items())
        },
        "outside": {
            f"{figure}; {design}": row["coverage"]
            for design, figures in coverage.items()
            for figure, row in figures.items()
            if not WANTED[0] <= row["coverage"] <= WANTED[1]
        },
        "coverage": coverage,
        "coverage_of_ece": coverage_of_ece(sets // 2, many),
        "rejected_without_difference": rejected(sets),
        "delong_variance": delong_variance(sets),
        "delong_against_independent": against_stored(),
        "conformal": conformal(sets),
        "ece_of_calibrated": ece_of_calibrated(many // 10),
    }


# designs: (generator, n, whether the number of each class is given) -> probabilities (n, classes), targets


def of_shares(generator: np.random.Generator, n: int, given: bool, shares: list[float]) -> np.ndarray:
    """Classes (n,) in these shares, exactly or by chance."""
    at = (np.arange(n) + 0.5) / n if given else generator.random(n)
    return np.searchsorted(np.cumsum(shares)[:-1], at).astype(np.int64)


def binary(generator: np.random.Generator, n: int, given: bool) -> tuple[np.ndarray, np.ndarray]:
    """AUC about 0.9."""
    targets = of_shares(generator, n, given, [0.73, 0.27])
    return two_columns(generator.normal(1.8 * (targets - 0.5), 1.0)), targets


def patients(generator: np.random.Generator, n: int, given: bool) -> tuple[np.ndarray, np.ndarray]:
    """Three images of a patient, who makes up most of the difference between images; half of them positive."""
    targets = np.repeat(of_shares(generator, n // 3, given, [0.5, 0.5]), 3)
    shared = np.repeat(generator.normal(size=n // 3), 3)
    return two_columns(1.6 * (targets - 0.5) + 0.8 * shared + 0.6 * generator.normal(size=n)), targets


def ordinal(generator: np.random.Generator, n: int, given: bool) -> tuple[np.ndarray, np.ndarray]:
    """Four grades; the model sees the grade with noise."""
    targets = of_shares(generator, n, given, [0.4, 0.3, 0.2, 0.1])
    seen = targets + generator.normal(0, 0.7, n)
    return softmax(-1.5 * (seen[:, None] - np.arange(4)) ** 2), targets


def labels(generator: np.random.Generator, n: int, given: bool) -> tuple[np.ndarray, np.ndarray]:
    """Three labels, on 50, 35 and 20 % of the images, always by chance: multi-label has no strata."""
    targets = (generator.random((n, 3)) < [0.5, 0.35, 0.2]).astype(np.int64)
    return 1 / (1 + np.exp(-generator.normal(2.0 * (targets - 0.5), 1.0))), targets


def pair(strength_a: float, strength_b: float) -> Draw:
    """Two models of other strengths that find the same cases hard; columns a0, a1, b0, b1."""

    def draw(generator: np.random.Generator, n: int, given: bool) -> tuple[np.ndarray, np.ndarray]:
        targets = of_shares(generator, n, given, [0.73, 0.27])
        shared = generator.normal(size=n)
        models = [
            two_columns(strength * (targets - 0.5) + 0.8 * shared + 0.6 * generator.normal(size=n))
            for strength in (strength_a, strength_b)
        ]
        return np.concatenate(models, axis=1), targets

    return draw


def said_at(temperature: float) -> Draw:
    """A two-class model that is calibrated at temperature 1, and too sure of itself below."""

    def draw(generator: np.random.Generator, n: int, given: bool) -> tuple[np.ndarray, np.ndarray]:
        targets = of_shares(generator, n, given, [0.5, 0.5])
        # normal about 2 and -2 with variance 4, so that its own log odds are the score itself: calibrated
        logit = generator.normal(2.0 * (2 * targets - 1), 2.0)
        return two_columns(logit / temperature), targets

    return draw


def too_sure_at_the_top(generator: np.random.Generator, n: int, given: bool) -> tuple[np.ndarray, np.ndarray]:
    """A two-class model that is calibrated up to a confidence of 0.85, and says 0.97 where 0.9 would be right."""
    scores, targets = said_at(1.0)(generator, n, given)
    return np.where(scores > 0.85, 1 - 0.3 * (1 - scores), np.where(scores < 0.15, 0.3 * scores, scores)), targets


def two_columns(logit: np.ndarray) -> np.ndarray:
    yes = 1 / (1 + np.exp(-logit))
    return np.column_stack([1 - yes, yes])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


# what is counted


def of_summaries(
    task: Task, draw: Draw, n: int, sets: int, resamples: int, many: int, *, per_patient: int = 1
) -> dict[str, Any]:
    """Coverage of every figure of `summarise`."""
    names = [f"class {k}" for k in range(draw(np.random.default_rng(0), n, True)[0].shape[1])]
    groups = [f"{k // per_patient}" for k in range(n)] if per_patient > 1 else None

    def report(scores: np.ndarray, targets: np.ndarray, resamples: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
        known = groups if len(targets) == n else None
        summary = metrics.summarise(task, scores, targets, names, groups=known, resamples=resamples)
        how = summary["interval"]["methods"]
        for name in ("accuracy", "balanced_accuracy", "mcc", "quadratic_kappa", "auc"):
            if summary[name] is not None:
                yield name, how[name], summary[name]
        for average in ("macro", "weighted"):
            for rate in ("precision", "npv", "sensitivity", "specificity", "f1"):
                yield f"{average} {rate}", how[average], summary[average][rate]
        for row in summary["per_class"]:
            for rate, method in how["per_class"].items():
                yield f"{rate} of {row['name']}", method, row[rate]

    label = "bootstrap of patients" if groups else None
    return covered(report, draw, n, sets, resamples, many, label)


def of_comparisons(draw: Draw, n: int, sets: int, resamples: int, many: int) -> dict[str, Any]:
    """Coverage of every difference of `compare_scores`."""

    def report(scores: np.ndarray, targets: np.ndarray, resamples: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
        a, b = scores[:, :2], scores[:, 2:]
        found = metrics.compare_scores(Task.BINARY, a, b, targets, ("no", "yes"), resamples=resamples)
        for name, row in found["differences"].items():
            test = {"auc": "paired DeLong", "accuracy": "paired Newcombe"}
            yield f"difference of {name}", test.get(name, "paired bootstrap"), row

    return covered(report, draw, n, sets, resamples, many)


def of_calibration(temperature: float, n: int, sets: int, resamples: int, many: int) -> dict[str, Any]:
    """Coverage of NLL, Brier score and ECE."""

    def report(scores: np.ndarray, targets: np.ndarray, resamples: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
        found = metrics.summarise_calibration(Task.BINARY, scores, targets, resamples=resamples)
        for name in ("nll", "brier", "ece"):
            yield name, "inverted test" if name == "ece" else "bootstrap", found[name]

    return covered(report, said_at(temperature), n, sets, resamples, many)


Report = Callable[[np.ndarray, np.ndarray, int], Iterator[tuple[str, str, dict[str, Any]]]]


def covered(
    report: Report, draw: Draw, n: int, sets: int, resamples: int, many: int, label: str | None = None
) -> dict[str, Any]:
    """Of each figure its true value, how its interval is made, and the share of sets whose interval holds the value."""
    scores, targets = draw(np.random.default_rng(12345), many - many % n, True)
    truth = {name: figure["value"] for name, _, figure in report(scores, targets, 0)}
    hits: dict[str, list[bool]] = defaultdict(list)
    how = {}
    for given in (True, False):
        for seed in range(sets):
            scores, targets = draw(np.random.default_rng((1, seed)), n, given)
            for name, method, figure in report(scores, targets, resamples if given else 0):
                if method is not None and given == (method in BY_RESAMPLES):
                    how[name] = label or method
                    if figure["low"] is not None:
                        hits[name].append(figure["low"] <= truth[name] <= figure["high"])
        if {name for name, _, _ in report(scores, targets, 0)} == set(how):  # no formula among them
            break
    return {
        name: {
            "true": round(truth[name], 4),
            "method": how[name],
            "coverage": round(float(np.mean(several)), 4),
            "without_interval": sets - len(several),
        }
        for name, several in hits.items()
    }


def coverage_of_ece(sets: int, many: int) -> list[dict[str, Any]]:
    """Where the interval of an ECE is to be trusted: by what is wrong with the probabilities, and number of images."""
    designs = {
        "calibrated": said_at(1.0),
        "too sure, temperature 0.8": said_at(0.8),
        "too sure, temperature 0.5": said_at(0.5),
        "not sure enough, temperature 1.5": said_at(1.5),
        "too sure above 0.85 only": too_sure_at_the_top,
    }
    rows = []
    for name, draw in designs.items():
        truth = float(metrics.ece(Task.BINARY, *draw(np.random.default_rng(12345), many, True)))
        for n in (156, 400, 2000):
            samples = [draw(np.random.default_rng((6, seed)), n, False) for seed in range(sets)]
            found = [metrics.ece_interval(Task.BINARY, *sample) for sample in samples]
            ends = np.array([interval for interval in found if interval is not None])
            rows.append(
                {
                    "probabilities": name,
                    "n": n,
                    "true": round(truth, 4),
                    "coverage": round(float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()), 4),
                    "width": round(float((ends[:, 1] - ends[:, 0]).mean()), 4),
                    "without_interval": sets - len(ends),
                }
            )
    return rows


def rejected(sets: int) -> dict[str, float]:
    """How often p is below 0.05 for two models that are equally good: 0.05 at most is wanted."""
    draw = pair(1.8, 1.8)
    p_values = []
    for seed in range(sets):
        scores, targets = draw(np.random.default_rng((2, seed)), 156, False)
        right = [scores[:, [k, k + 1]].argmax(axis=1) == targets for k in (0, 2)]
        test = metrics.delong_test(scores[:, 1], scores[:, 3], targets)
        p_values.append((test.p, metrics.mcnemar(*right).p))
    shares = (np.array(p_values, dtype=float) < 0.05).mean(axis=0)
    return {"DeLong": round(float(shares[0]), 4), "McNemar, exact": round(float(shares[1]), 4)}


def delong_variance(sets: int) -> dict[str, float]:
    """DeLong's variance of an AUC over that of the bootstrap on the same set, and over the spread of AUCs over sets."""
    ratios, variances, areas = [], [], []
    for seed in range(sets):
        scores, targets = binary(np.random.default_rng((3, seed)), 156, True)
        area, spread = covariance([scores[:, 1]], targets)
        areas.append(area[0])
        variances.append(spread[0, 0])
        if seed < max(20, sets // 10):
            weights = np.concatenate(list(resample_weights(targets, None, 2000, seed)))
            ratios.append(spread[0, 0] / rank_auc(scores[:, 1], targets, weights).var())
    return {
        "by_bootstrap": round(float(np.mean(ratios)), 4),
        "by_spread_over_sets": round(float(np.mean(variances) / np.var(areas)), 4),
    }


def against_stored() -> dict[str, float]:
    """Largest distances of our DeLong from stored results of plain sums over pairs, in exact fractions."""
    far = {"area": 0.0, "covariance": 0.0, "p": 0.0}
    for case in json.loads(STORED.read_text()):
        scores, truth = np.array(case["scores"]), np.array(case["truth"])
        areas, spread = covariance(list(scores), truth)
        p = metrics.delong_test(*scores, truth).p
        found = {"area": areas - case["areas"], "covariance": spread - case["covariance"], "p": np.array(p) - case["p"]}
        far = {name: max(far[name], float(np.abs(distance).max())) for name, distance in found.items()}
    return far


def conformal(sets: int) -> list[dict[str, float]]:
    """Coverage of conformal sets, over calibration sets, beside what theory says."""
    generator = np.random.default_rng(4)
    scores, targets = ordinal(generator, MANY // 5, True)
    true = metrics.true_class_scores(scores, targets)
    sorted_scores = np.sort(true)
    rows = []
    for n, error in ((78, 0.1), (78, 0.05), (400, 0.1)):
        bounds = [metrics.quantile(generator.choice(true, n), error) for _ in range(sets)]
        covered_share = np.searchsorted(sorted_scores, bounds, side="right") / len(sorted_scores)
        low, high = metrics.coverage_range(n, error)
        rows.append(
            {
                "n": n,
                "promised": 1 - error,
                "mean": round(float(covered_share.mean()), 4),
                "range_of_theory": [round(low, 4), round(high, 4)],
                "within_range": round(float(((low <= covered_share) & (covered_share <= high)).mean()), 4),
            }
        )
    return rows


def ece_of_calibrated(n: int) -> dict[str, float]:
    """ECE of a model that says the truth, at this number of images."""
    generator = np.random.default_rng(5)
    logits = generator.normal(0, 2, (n, 5))
    several = softmax(logits)
    targets = (several.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1).clip(max=4)
    scores, truth = said_at(1.0)(generator, n, True)
    return {
        "n": n,
        "two classes": round(float(metrics.ece(Task.BINARY, scores, truth)), 5),
        "five classes": round(float(metrics.ece(Task.MULTICLASS, several, targets)), 5),
    }


if __name__ == "__main__":
    main()
