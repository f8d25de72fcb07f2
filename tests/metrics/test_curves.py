"""The curves that are saved: against scikit-learn, and their bands against plain loops."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from medmamba.metrics import class_curves
from medmamba.metrics.curves import _cumulated, precision_at, sensitivity_at


def example(n=80, classes=3, ties=True):
    generator = np.random.default_rng(1)
    targets = generator.integers(0, classes, n)
    scores = generator.dirichlet(np.ones(classes), n) + 0.5 * np.eye(classes)[targets]
    return (np.round(scores, 1) if ties else scores), targets


@pytest.mark.parametrize("ties", [True, False])
def test_f051_roc_points_are_those_of_scikit_learn(ties):
    scores, targets = example(ties=ties)
    for k, row in enumerate(class_curves(scores, targets, "abc", resamples=0)["classes"]):
        alarms, hits, _ = roc_curve(targets == k, scores[:, k], drop_intermediate=False)
        points = np.array([point[:2] for point in row["roc"]["points"]])
        assert points[0].tolist() == [0, 0]
        assert points[-1].tolist() == [1, 1]
        assert {tuple(point) for point in points} <= set(zip(alarms, hits, strict=True))
        np.testing.assert_allclose(np.trapezoid(points[:, 1], points[:, 0]), np.trapezoid(hits, alarms), atol=1e-12)


def test_f051_a_threshold_gives_its_point():
    scores, targets = example()
    for k, row in enumerate(class_curves(scores, targets, "abc", resamples=0)["classes"]):
        for alarm, hit, threshold in row["roc"]["points"][1:]:
            said = scores[:, k] >= threshold
            assert said[targets == k].mean() == pytest.approx(hit)
            assert said[targets != k].mean() == pytest.approx(alarm)


def test_precision_and_recall_are_those_of_scikit_learn():
    scores, targets = example()
    for k, row in enumerate(class_curves(scores, targets, "abc", resamples=0)["classes"]):
        precision, recall, _ = precision_recall_curve(targets == k, scores[:, k])
        known = {(round(r, 12), round(p, 12)) for r, p in zip(recall, precision, strict=True)}
        points = row["precision_recall"]["points"]
        assert {(round(r, 12), round(p, 12)) for r, p, _ in points} <= known
        assert points[-1][0] == 1
        ours = row["average_precision"]["value"]
        assert ours == pytest.approx(average_precision_score(targets == k, scores[:, k]), abs=1e-12)


def test_what_is_resampled_is_what_a_repeated_row_would_give():
    scores, targets = example(30, 2)
    truth = targets == 1
    weights = np.random.default_rng(0).integers(0, 3, (4, 30)).astype(float)
    grid = np.linspace(0, 1, 11)
    both = _cumulated(scores[:, 1], truth, weights)
    found = sensitivity_at(*both, grid), precision_at(*both, grid)
    for row, weight in enumerate(weights):
        again = np.repeat(np.arange(30), weight.astype(int))
        once = _cumulated(scores[again, 1], truth[again], np.ones((1, len(again))))
        np.testing.assert_allclose(found[0][row], sensitivity_at(*once, grid)[0])
        np.testing.assert_allclose(found[1][row], precision_at(*once, grid)[0])


def test_without_positives_or_negatives_there_is_no_number():
    scores, truth = np.array([0.1, 0.7, 0.4]), np.array([True, False, False])
    weights = np.array([[0.0, 1, 1], [2, 0, 0], [1, 1, 1]])
    both = _cumulated(scores, truth, weights)
    found = sensitivity_at(*both, np.array([0.0, 0.5, 1]))
    assert np.isnan(found).all(axis=1).tolist() == [True, True, False]
    assert found[2].tolist() == [0, 0, 1]
    found = precision_at(*both, np.array([0.0, 1]))
    assert np.isnan(found[0]).all()
    assert found[1:].tolist() == [[1, 1], [pytest.approx(1 / 3)] * 2]


def test_bands_hold_the_curve_and_are_wider_for_fewer_images():
    widths = []
    for n in (60, 600):
        scores, targets = example(n, ties=False)
        row = class_curves(scores, targets, "abc", resamples=200)["classes"][0]
        both = _cumulated(scores[:, 0], targets == 0, np.ones((1, n)))
        for kind, at in (("roc", sensitivity_at), ("precision_recall", precision_at)):
            band = np.array(row[kind]["band"])
            assert len(band) == 51
            value = at(*both, band[:, 0])[0]
            assert ((band[:, 1] <= value + 1e-9) & (value <= band[:, 2] + 1e-9)).mean() > 0.95
        band = np.array(row["roc"]["band"])
        widths.append((band[:, 2] - band[:, 1]).mean())
        assert row["average_precision"]["low"] < row["average_precision"]["value"] < row["average_precision"]["high"]
    assert widths[1] < widths[0] / 2


def test_patients_are_drawn_whole_and_labels_have_curves_too():
    scores, targets = example(60, 2, ties=False)
    groups = [f"p{row // 6}" for row in range(60)]
    alone, together = (class_curves(scores, targets, "ab", groups=g, resamples=50) for g in (None, groups))
    assert (alone["unit"], together["unit"]) == ("image", "patient")
    assert alone["classes"][0]["roc"]["band"] != together["classes"][0]["roc"]["band"]
    labels = np.stack([targets, np.zeros_like(targets)], axis=1)
    rows = class_curves(scores, labels, "ab", resamples=20)["classes"]
    assert rows[0]["roc"]["points"]
    assert rows[1]["roc"] is None
    assert rows[1]["average_precision"]["value"] is None
