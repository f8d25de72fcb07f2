"""Areas and curves from ranks."""

import numpy as np
import pytest
import sklearn.metrics as sk

from medmamba.metrics.ranking import rank_auc, roc_curve


def test_weights_count_rows_like_copies_of_them():
    generator = np.random.default_rng(0)
    scores, truth = generator.random(50).round(1), generator.integers(0, 2, 50)
    weights = generator.integers(0, 4, (7, 50))
    areas = rank_auc(scores, truth, weights.astype(float))
    copied = [sk.roc_auc_score(np.repeat(truth, w), np.repeat(scores, w)) for w in weights]
    assert areas == pytest.approx(copied, abs=1e-12)


def test_a_resample_without_positives_is_undefined_alone():
    areas = rank_auc(np.array([0.1, 0.9]), np.array([0, 1]), np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert areas[0] == 1
    assert np.isnan(areas[1])


@pytest.mark.parametrize("decimals", [1, 8])
def test_curve_equals_scikit_learn(decimals):
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 200)
    scores = (generator.random(200) + 0.3 * truth).round(decimals)
    x, y = roc_curve(scores, truth)
    theirs_x, theirs_y, _ = sk.roc_curve(truth, scores, drop_intermediate=False)
    assert x == pytest.approx(theirs_x)
    assert y == pytest.approx(theirs_y)
    assert np.trapezoid(y, x) == pytest.approx(float(rank_auc(scores, truth)), abs=1e-12)


def test_no_curve_of_one_class():
    assert roc_curve(np.array([0.2, 0.4]), np.array([1, 1])) is None
    assert roc_curve(np.array([0.2, 0.4]), np.array([0, 0])) is None
    assert roc_curve(np.zeros(0), np.zeros(0)) is None
