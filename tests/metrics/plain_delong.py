"""DeLong's areas and covariance as the paper's equations stand, pair by pair, and `delong.json` from them.

    python tests/metrics/plain_delong.py

writes the file. Nothing here uses the package; sums are exact fractions until the last step.
"""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np

STORED = Path(__file__).with_name("delong.json")


def psi(x, y):
    """The kernel: 1 if the positive scores above the negative, 1/2 in a tie."""
    return Fraction(1) if x > y else Fraction(1, 2) if x == y else Fraction(0)


def plain_delong(models, truth):
    """Areas (models) and covariance (models x models) of DeLong et al. 1988, pair by pair."""
    areas, tens, ones = [], [], []
    for scores in models:
        positives = [score for score, true in zip(scores, truth, strict=True) if true]
        negatives = [score for score, true in zip(scores, truth, strict=True) if not true]
        m, n = len(positives), len(negatives)
        kernel = [[psi(x, y) for y in negatives] for x in positives]
        areas.append(sum(map(sum, kernel)) / (m * n))
        tens.append([sum(row) / n for row in kernel])
        ones.append([sum(row[j] for row in kernel) / m for j in range(n)])

    def spread(which, r, s):
        pairs = zip(which[r], which[s], strict=True)
        return sum((a - areas[r]) * (b - areas[s]) for a, b in pairs) / (len(which[r]) - 1)

    several = range(len(models))
    covariance = [[spread(tens, r, s) / m + spread(ones, r, s) / n for s in several] for r in several]
    return [float(area) for area in areas], [[float(cell) for cell in row] for row in covariance]


def case(name, m, n, shift, seed, decimals=None):
    generator = np.random.default_rng(seed)
    truth = np.array([1] * m + [0] * n)
    shared = generator.normal(size=m + n)
    models = [shift * truth + shared + generator.normal(size=m + n) * noise for noise in (0.5, 1.0)]
    scores = [[round(float(score), decimals or 6) for score in model] for model in models]
    areas, covariance = plain_delong(scores, truth.tolist())
    variance = covariance[0][0] + covariance[1][1] - 2 * covariance[0][1]
    z = (areas[1] - areas[0]) / math.sqrt(variance)
    return {
        "name": name,
        "truth": truth.tolist(),
        "scores": scores,
        "areas": areas,
        "covariance": covariance,
        "z": z,
        "p": math.erfc(abs(z) / math.sqrt(2)),
    }


if __name__ == "__main__":
    cases = [
        case("few", 6, 9, 1.0, seed=1),
        case("uneven", 12, 90, 1.5, seed=2),
        case("ties", 40, 35, 1.0, seed=3, decimals=1),
        case("nearly perfect", 30, 30, 4.0, seed=4),
        case("no better than chance", 50, 45, 0.0, seed=5),
    ]
    STORED.write_text(json.dumps(cases, separators=(",", ":")) + "\n")
