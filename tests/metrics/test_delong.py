"""DeLong: our fast form against the paper's sums pair by pair, and intervals that never leave [0, 1]."""

import json
from pathlib import Path

import numpy as np
import pytest
from plain_delong import plain_delong

from medmamba.metrics import auc_interval, delong_test, wilson
from medmamba.metrics.delong import covariance

CASES = json.loads(Path(__file__).with_name("delong.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_equal_to_stored_results_of_an_independent_implementation(case):
    scores, truth = np.array(case["scores"]), np.array(case["truth"])
    areas, spread = covariance(list(scores), truth)
    assert areas == pytest.approx(case["areas"], abs=1e-8)
    assert spread == pytest.approx(np.array(case["covariance"]), abs=1e-8)
    difference = delong_test(*scores, truth)
    assert difference.value == pytest.approx(case["areas"][1] - case["areas"][0], abs=1e-8)
    assert difference.p == pytest.approx(case["p"], abs=1e-8)
    assert difference.value / (difference.high - difference.value) * 1.959963984540054 == pytest.approx(case["z"])


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case["name"])
def test_the_stored_results_are_those_of_the_data_beside_them(case):
    areas, spread = plain_delong(case["scores"], case["truth"])
    assert (areas, spread) == (case["areas"], case["covariance"])


@pytest.mark.parametrize("seed", range(20))
def test_intervals_stay_within_0_and_1_and_hold_the_area(seed):
    generator = np.random.default_rng(seed)
    truth = np.array([1] * int(generator.integers(2, 9)) + [0] * int(generator.integers(2, 9)))
    scores = generator.normal(truth * generator.uniform(-3, 3)).round(int(generator.integers(0, 3)))
    low, high = auc_interval(scores, truth)
    area = float(covariance([scores], truth)[0][0])
    assert 0 <= low <= area <= high <= 1
    assert low < high


def test_perfect_and_tied_scores_get_the_interval_of_a_proportion():
    truth = np.array([1] * 10 + [0] * 30)
    assert auc_interval(truth.astype(float), truth) == wilson(10, 10)
    assert auc_interval(1.0 - truth, truth) == wilson(0, 10)
    assert auc_interval(np.zeros(40), truth) == wilson(5, 10)


def test_one_case_of_a_kind_has_no_interval():
    assert auc_interval(np.array([0.1, 0.2, 0.9]), np.array([0, 0, 1])) is None
    assert auc_interval(np.array([0.1, 0.2]), np.array([1, 1])) is None
    assert auc_interval(np.zeros(0), np.zeros(0)) is None


def test_differences_without_variance():
    truth = np.array([1] * 10 + [0] * 10)
    ranked = np.random.default_rng(0).normal(truth)
    alike = delong_test(ranked, np.exp(ranked), truth)
    assert (alike.value, alike.low, alike.high, alike.p) == (0, 0, 0, 1)
    both_perfect = delong_test(truth + np.arange(20) / 100, truth - np.arange(20) / 100, truth)
    assert (both_perfect.value, both_perfect.p) == (0, 1)
    assert both_perfect.low < -0.2, "ten of ten right says little"
    assert both_perfect.high > 0.2
    opposite = delong_test(-truth, truth, truth)
    assert (opposite.value, opposite.high, opposite.p) == (1, 1, None)
    assert 0.4 < opposite.low < 1
    assert delong_test(ranked, ranked, np.ones(20)).value is None
    lone = delong_test(np.array([0.1, 0.2, 0.9]), np.array([0.1, 0.95, 0.9]), np.array([0, 0, 1]))
    assert (lone.value, lone.low, lone.p) == (-0.5, None, None)


def test_swapping_models_turns_the_difference_round():
    case = CASES[1]
    a, b = np.array(case["scores"])
    one, other = delong_test(a, b, np.array(case["truth"])), delong_test(b, a, np.array(case["truth"]))
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), abs=1e-15)
    assert one.p == other.p
