"""Thresholds: what was asked for is met, between two scores, and best ones are found again."""

import numpy as np
import pytest

from medmamba.errors import InputError
from medmamba.metrics import threshold_for_sensitivity, threshold_for_specificity, youden_threshold
from medmamba.tasks import Task, decide

SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
TRUTH = np.array([0, 0, 1, 0, 1, 0, 1, 1])


def rates(scores, truth, threshold):
    decided = scores >= threshold
    return decided[truth == 1].mean(), (~decided[truth == 0]).mean()


@pytest.mark.parametrize(
    ("sensitivity", "threshold"), [(0.5, 0.75), (0.51, 0.5), (0.75, 0.5), (0.76, 0.25), (1.0, 0.25), (0.01, 0.85)]
)
def test_sensitivity(sensitivity, threshold):
    assert threshold_for_sensitivity(SCORES, TRUTH, sensitivity) == pytest.approx(threshold)


@pytest.mark.parametrize(("specificity", "threshold"), [(0.25, 0.15), (0.5, 0.25), (0.75, 0.5), (1.0, 0.75)])
def test_specificity(specificity, threshold):
    assert threshold_for_specificity(SCORES, TRUTH, specificity) == pytest.approx(threshold)


@pytest.mark.parametrize("decimals", [1, 2, 9])
@pytest.mark.parametrize("seed", range(10))
def test_what_was_asked_for_is_met_and_no_further_threshold_would_meet_it(seed, decimals):
    generator = np.random.default_rng(seed)
    truth = np.concatenate([[0, 1], generator.integers(0, 2, 40)])
    scores = np.clip(generator.normal(0.4 + 0.2 * truth, 0.2), 0, 0.99).round(decimals)
    for share in (0.3, 0.8, 0.95, 1.0):
        threshold = threshold_for_sensitivity(scores, truth, share)
        assert rates(scores, truth, threshold)[0] >= share
        higher = [value for value in np.unique(scores) if value > threshold] + [1.1]
        beyond = [t + 1e-12 for t in higher]
        assert all(rates(scores, truth, t)[0] < share for t in beyond)
        assert 0 <= threshold <= 1
        threshold = threshold_for_specificity(scores, truth, share)
        assert rates(scores, truth, threshold)[1] >= share
        lower = [value for value in np.unique(scores) if value < threshold]
        assert all(rates(scores, truth, t)[1] < share for t in lower)
        assert 0 <= threshold <= 1


def test_a_threshold_is_not_glued_to_a_case():
    threshold = threshold_for_sensitivity(SCORES, TRUTH, 0.75)
    moved = SCORES + np.random.default_rng(0).uniform(-0.05, 0.05, 8)
    assert ((moved >= threshold) == (threshold <= SCORES)).all()
    for k in (0.3, 1.0):
        assert threshold_for_sensitivity(SCORES, TRUTH, k) not in SCORES


def test_neighbouring_numbers_have_nothing_between_them():
    low, high = 0.5, float(np.nextafter(0.5, 1))
    assert threshold_for_sensitivity(np.array([low, high]), np.array([0, 1]), 1.0) == high
    assert threshold_for_specificity(np.array([low, high]), np.array([0, 1]), 1.0) == high


def test_ends_of_the_scale():
    assert threshold_for_sensitivity(np.array([0.0, 0.4]), np.array([1, 0]), 1.0) == 0.0
    assert threshold_for_sensitivity(np.array([0.4, 0.6]), np.array([1, 0]), 1.0) == pytest.approx(0.2)
    assert threshold_for_specificity(np.array([0.4, 0.6]), np.array([1, 0]), 1.0) == pytest.approx(0.8)
    with pytest.raises(InputError, match="negatives have probability 1"):
        threshold_for_specificity(np.array([0.4, 1.0]), np.array([1, 0]), 1.0)


def test_f050_the_best_threshold_of_each_label_is_found():
    generator = np.random.default_rng(0)
    scores = generator.random((4000, 2))
    labels = (scores >= [0.3, 0.7]).astype(np.int64)
    wrong = generator.random(labels.shape) < 0.05
    labels = np.where(wrong, 1 - labels, labels)
    found = [youden_threshold(scores[:, k], labels[:, k]) for k in range(2)]
    assert found == pytest.approx([0.3, 0.7], abs=0.02)
    test = generator.random((500, 2))
    assert (decide(Task.MULTILABEL, test, threshold=found) == (test >= [0.3, 0.7])).mean() > 0.98


def test_youden_prefers_the_widest_gap_and_says_half_where_nothing_helps():
    assert youden_threshold(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1])) == pytest.approx(0.5)
    assert youden_threshold(np.array([0.1, 0.15, 0.5, 0.9]), np.array([0, 1, 0, 1])) == pytest.approx(0.7)
    assert youden_threshold(np.full(6, 0.3), np.array([0, 1, 0, 1, 0, 1])) == 0.5
    assert youden_threshold(np.array([0.9, 0.1]), np.array([0, 1])) == 0.5


def test_impossible_requests_are_refused():
    for share in (0.0, -0.1, 1.2, float("nan")):
        with pytest.raises(InputError, match="give a share above 0"):
            threshold_for_sensitivity(SCORES, TRUTH, share)
    with pytest.raises(InputError, match="without positive images"):
        threshold_for_sensitivity(SCORES, np.zeros(8), 0.9)
    with pytest.raises(InputError, match="without negative images"):
        youden_threshold(SCORES, np.ones(8))
