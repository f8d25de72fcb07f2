"""Conformal sets: the bound, the promise, and what chance does to it."""

import json

import numpy as np
import pytest
from scipy.stats import beta

from medmamba.errors import InputError
from medmamba.metrics import class_quantiles, coverage, coverage_range, prediction_sets, quantile, true_class_scores


def test_the_bound_is_the_right_order_statistic():
    scores = np.arange(1, 11) / 100
    assert quantile(scores, 0.1) == 0.10, "the ceil(11 * 0.9) = 10th of 10"
    assert quantile(scores, 0.2) == 0.09
    assert quantile(scores, 0.5) == 0.06
    assert quantile(scores, 0.05) == 1, "ten cases cannot promise 95 %"
    assert quantile(np.zeros(0), 0.1) == 1
    assert quantile(np.arange(99) / 100, 0.29) == 0.70, "100 * 0.29 is 28.999999999999996 in floating point"
    for error in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            quantile(scores, error)


def test_sets_and_their_summary():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.45, 0.45, 0.1], [0.34, 0.33, 0.33], [0.1, 0.2, 0.7]])
    targets = np.array([0, 1, 2, 0])
    assert true_class_scores(probabilities, targets) == pytest.approx([0.2, 0.55, 0.67, 0.9])
    sets = prediction_sets(probabilities, 0.6)
    assert sets.tolist() == [[True, False, False], [True, True, False], [False] * 3, [False, False, True]]
    report = coverage(sets, targets)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["coverage"]["value"] == 0.5
    assert report["sizes"] == [1, 2, 1, 0]
    assert report["mean_size"] == 1.0
    assert report["referred"]["value"] == 0.5
    assert report["kept_right"]["value"] == 0.5
    assert [row["n"] for row in report["per_class"]] == [2, 1, 1]
    assert report["per_class"][2]["value"] == 0
    assert report["per_class"][2]["high"] > 0.7, "one case says little"
    assert prediction_sets(probabilities, 1.0).all()


def test_nothing_at_all_gives_none():
    report = coverage(np.zeros((0, 3), dtype=bool), np.zeros(0, dtype=np.int64))
    assert (report["coverage"]["value"], report["mean_size"]) == (None, None)
    assert report["sizes"] == [0, 0, 0, 0]
    assert json.dumps(report, allow_nan=False)


def test_a_bound_a_class_covers_each_class():
    generator = np.random.default_rng(0)

    def draw(n):
        targets = (generator.random(n) < 0.2).astype(np.int64)
        score = 1 / (1 + np.exp(-generator.normal(2 * targets - 2.0, 1.0)))  # the rare class is told badly
        return np.column_stack([1 - score, score]), targets

    probabilities, targets = draw(4000)
    scores = true_class_scores(probabilities, targets)
    one, several = quantile(scores, 0.1), class_quantiles(scores, targets, 2, 0.1)
    fresh, truth = draw(20_000)
    marginal, by_class = (coverage(prediction_sets(fresh, bound), truth) for bound in (one, several))
    assert marginal["coverage"]["value"] == pytest.approx(0.9, abs=0.015)
    assert marginal["per_class"][1]["value"] < 0.75, "the promise is for all cases together only"
    for row in by_class["per_class"]:
        assert row["value"] == pytest.approx(0.9, abs=0.03)
    assert class_quantiles(scores, targets, 3, 0.1)[2] == 1, "a class without cases is in every set"


@pytest.mark.parametrize(("n", "error"), [(78, 0.1), (10, 0.1), (500, 0.05), (2000, 0.2)])
def test_coverage_range_is_that_of_beta(n, error):
    left_out = int((n + 1) * error + 1e-9)
    expected = beta(n + 1 - left_out, left_out).ppf([0.025, 0.975])
    assert coverage_range(n, error) == pytest.approx(expected, abs=1e-9)


def test_coverage_range_of_breast_and_of_too_few():
    low, high = coverage_range(78, 0.1)
    assert (round(low, 2), round(high, 2)) == (0.84, 0.96)
    assert coverage_range(5, 0.1) == (1.0, 1.0)


def test_coverage_over_many_calibration_sets_is_as_promised():
    generator = np.random.default_rng(0)
    true = []
    for _ in range(2000):
        true.append(quantile(generator.random(78), 0.1))  # of uniform scores the bound is the coverage
    assert 0.9 <= np.mean(true) <= 0.9 + 1 / 79 + 0.003
    low, high = coverage_range(78, 0.1)
    assert 0.93 <= np.mean((low <= np.array(true)) & (np.array(true) <= high)) <= 0.97
