"""Calibration: figures against scikit-learn, the calibrated simulator, and temperatures that change no answer."""

import json

import numpy as np
import pytest
import sklearn.metrics as sk
from sklearn.linear_model import LogisticRegression

from medmamba.errors import InputError
from medmamba.metrics import (
    brier,
    ece,
    ece_interval,
    expected_ece,
    fit_temperature,
    nll,
    reliability,
    scale,
    slope_intercept,
    summarise_calibration,
)
from medmamba.metrics.calibration import confidences, equal_mass, equal_width
from medmamba.tasks import Task, decide


def simulated(task=Task.MULTICLASS, n=500, classes=4, temperature=1.0, seed=0):
    """Probabilities of a model that is calibrated at temperature 1 and was sharpened or softened by `temperature`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (n, classes))
    if task is Task.MULTILABEL:
        targets = (generator.random((n, classes)) < 1 / (1 + np.exp(-logits))).astype(np.int64)
        return 1 / (1 + np.exp(-logits / temperature)), targets
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (true.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1).clip(max=classes - 1)
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    return powers / powers.sum(axis=1, keepdims=True), targets


def plain_ece(confidence, right, bins=15):
    """Written out bin by bin."""
    total = 0.0
    for k in range(bins):
        last = k == bins - 1
        inside = (confidence >= k / bins) & ((confidence < (k + 1) / bins) | (last & (confidence <= 1)))
        if inside.any():
            total += inside.sum() * abs(confidence[inside].mean() - right[inside].mean())
    return total / len(confidence)


def test_nll_and_brier_equal_scikit_learn():
    p, y = simulated()
    assert float(nll(Task.MULTICLASS, p, y)) == pytest.approx(sk.log_loss(y, p), abs=1e-12)
    assert float(brier(Task.MULTICLASS, p, y)) == pytest.approx(((p - np.eye(4)[y]) ** 2).sum(1).mean(), abs=1e-12)
    p, y = simulated(classes=2)
    assert float(brier(Task.BINARY, p, y)) == pytest.approx(2 * sk.brier_score_loss(y, p[:, 1]), abs=1e-12)
    p, y = simulated(Task.MULTILABEL, classes=3)
    assert float(nll(Task.MULTILABEL, p, y)) == pytest.approx(
        np.mean([sk.log_loss(y[:, k], p[:, k]) for k in range(3)]), abs=1e-12
    )
    assert float(brier(Task.MULTILABEL, p, y)) == pytest.approx(
        np.mean([sk.brier_score_loss(y[:, k], p[:, k]) for k in range(3)]), abs=1e-12
    )


def test_ece_written_out():
    p, y = simulated(temperature=0.6)
    assert float(ece(Task.MULTICLASS, p, y)) == pytest.approx(plain_ece(p.max(1), p.argmax(1) == y), abs=1e-12)
    p, y = simulated(Task.MULTILABEL, classes=3, temperature=0.6)
    expected = np.mean([plain_ece(p[:, k], y[:, k]) for k in range(3)])
    assert float(ece(Task.MULTILABEL, p, y)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("task", [Task.MULTICLASS, Task.MULTILABEL])
def test_weights_count_rows_like_copies_of_them(task):
    p, y = simulated(task, n=80)
    weights = np.random.default_rng(0).integers(0, 4, (5, 80))
    for figure in (nll, brier, ece):
        copies = [float(figure(task, np.repeat(p, w, axis=0), np.repeat(y, w, axis=0))) for w in weights]
        assert figure(task, p, y, weights.astype(float)) == pytest.approx(copies, abs=1e-12)


def test_bins():
    assert equal_width(np.array([0.0, 0.0666, 0.0667, 0.5, 0.9999, 1.0])).tolist() == [0, 0, 1, 7, 14, 14]
    confidence = np.random.default_rng(0).random(1500) ** 3
    assert np.bincount(equal_mass(confidence)).tolist() == [100] * 15
    assert len(set(equal_mass(np.full(20, 0.7)))) == 1
    assert equal_mass(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS, Task.MULTILABEL])
def test_a_calibrated_simulator_has_an_ece_under_a_fiftieth(task):
    p, y = simulated(task, n=100_000, classes=2 if task is Task.BINARY else 5)
    for binning in (equal_width, equal_mass):
        assert float(ece(task, p, y, binning=binning)) < 0.02
    sharp, _ = simulated(task, n=100_000, classes=2 if task is Task.BINARY else 5, temperature=0.5)
    assert float(ece(task, sharp, y)) > 0.05


def test_few_images_have_an_ece_by_chance_and_it_is_told():
    found = []
    for seed in range(40):
        p, y = simulated(n=100, classes=3, seed=seed)
        mean, high = expected_ece(Task.MULTICLASS, p)
        found.append((float(ece(Task.MULTICLASS, p, y)), mean, high))
    value, mean, high = np.array(found).T
    assert value.mean() > 0.05, "although the simulator is calibrated"
    assert value.mean() == pytest.approx(mean.mean(), rel=0.1)
    assert (value <= high).mean() >= 0.9
    sharp, y = simulated(n=400, classes=3, temperature=0.4)
    assert float(ece(Task.MULTICLASS, sharp, y)) > expected_ece(Task.MULTICLASS, sharp)[1], "a fault is no chance"
    assert expected_ece(Task.MULTICLASS, p) == expected_ece(Task.MULTICLASS, p)
    assert expected_ece(Task.MULTICLASS, np.zeros((0, 3))) is None


def test_reliability():
    p, y = simulated(n=300)
    confidence, right = (column[:, 0] for column in confidences(Task.MULTICLASS, p, y))
    rows = reliability(confidence, right)
    assert sum(row["n"] for row in rows) == 300
    assert sum(row["n"] * abs(row["confidence"] - row["right"]) for row in rows) / 300 == pytest.approx(
        float(ece(Task.MULTICLASS, p, y)), abs=1e-12
    )
    for row in rows:
        assert row["low"] <= row["right"] <= row["high"]
    assert [row["confidence"] for row in rows] == sorted(row["confidence"] for row in rows)
    assert reliability(np.zeros(0), np.zeros(0)) == []


@pytest.mark.parametrize(("temperature", "slope"), [(1.0, 1.0), (0.5, 0.5), (2.0, 2.0)])
def test_slope_and_intercept_equal_logistic_regression(temperature, slope):
    p, y = simulated(Task.BINARY, n=4000, classes=2, temperature=temperature)
    found = slope_intercept(p[:, 1], y)
    assert found[0] == pytest.approx(slope, rel=0.15)
    assert found[1] == pytest.approx(0, abs=0.15)
    x = np.log(p[:, 1] / p[:, 0])[:, None]
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(x, y)
    assert found == pytest.approx((model.coef_[0, 0], model.intercept_[0]), abs=1e-4)


def test_slope_where_there_is_none():
    truth = np.array([0, 0, 1, 1])
    assert slope_intercept(np.array([0.1, 0.2, 0.8, 0.9]), truth) is None, "separated: no finite slope"
    assert slope_intercept(np.full(4, 0.3), truth) is None
    assert slope_intercept(np.array([0.1, 0.2]), np.array([1, 1])) is None
    assert slope_intercept(np.zeros(0), np.zeros(0)) is None
    assert slope_intercept(np.array([0.0, 1.0, 0.4, 0.6]), np.array([0, 1, 1, 0])) is not None


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS, Task.MULTILABEL])
@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.5, 3.0])
def test_the_temperature_that_was_used_is_found_again(task, temperature):
    p, y = simulated(task, n=20_000, classes=2 if task is Task.BINARY else 4, temperature=1 / temperature)
    found = fit_temperature(task, p, y)
    assert found == pytest.approx(temperature, rel=0.05)
    assert float(nll(task, scale(task, p, found), y)) < float(nll(task, p, y))
    for other in (0.97, 1.03):
        assert float(nll(task, scale(task, p, found), y)) < float(nll(task, scale(task, p, found * other), y))


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS, Task.MULTILABEL])
@pytest.mark.parametrize("seed", range(15))
def test_temperature_never_raises_the_nll_of_its_fitting_data(task, seed):
    generator = np.random.default_rng(seed)
    n, classes = int(generator.integers(1, 30)), 2 if task is Task.BINARY else 3
    p, y = simulated(task, n, classes, temperature=float(generator.uniform(0.1, 5)), seed=seed)
    if seed % 3 == 0:
        p = p.round(1)  # zeros, ones and ties
        p = p if task is Task.MULTILABEL else p / p.sum(axis=1, keepdims=True)
    found = fit_temperature(task, p, y)
    assert 0.05 <= found <= 20
    assert float(nll(task, scale(task, p, found), y)) <= float(nll(task, p, y))


def test_temperature_of_nothing_is_1():
    assert fit_temperature(Task.MULTICLASS, np.zeros((0, 3)), np.zeros(0, int)) == 1
    assert fit_temperature(Task.MULTICLASS, np.full((5, 3), 1 / 3), np.arange(5) % 3) == 1
    assert fit_temperature(Task.MULTICLASS, np.eye(3) * 0.7 + 0.1, np.arange(3)) == 1, "all right: no minimum"
    worse_than_chance = np.array([[0.9, 0.1], [0.1, 0.9], [0.8, 0.2]])
    assert fit_temperature(Task.BINARY, worse_than_chance, np.array([1, 0, 1])) == pytest.approx(20)


@pytest.mark.parametrize("temperature", [0.05, 0.37, 2.0, 20.0])
@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS, Task.MULTILABEL])
def test_no_temperature_changes_an_answer(task, temperature):
    generator = np.random.default_rng(0)
    classes = 2 if task is Task.BINARY else 5
    smooth = generator.dirichlet(np.full(classes, 0.3), 300)
    ties = generator.choice([0.0, 0.25, 0.5, 1.0], (300, classes)) + 1e-300
    ties /= ties.sum(axis=1, keepdims=True)
    nearly = np.full((200, classes), 1 / classes)
    for k in range(200):  # one class above the rest by the smallest step there is
        step = np.nextafter(1 / classes, 1) - 1 / classes
        nearly[k, k % classes] += step
        nearly[k, (k + 1) % classes] -= step
    extreme = np.eye(classes)[np.arange(20) % classes]
    for p in (smooth, ties, nearly, extreme, extreme * (1 - 1e-12) + 1e-13):
        scaled = scale(task, p, temperature)
        assert np.isfinite(scaled).all()
        assert ((scaled >= 0) & (scaled <= 1)).all()
        assert (scaled.argmax(axis=1) == p.argmax(axis=1)).all()
        assert ((scaled == scaled.max(axis=1, keepdims=True)) | (p < p.max(axis=1, keepdims=True))).all(), "ties stay"
        if task is not Task.MULTILABEL:
            assert scaled.sum(axis=1) == pytest.approx(np.ones(len(p)), abs=1e-12)
        assert (decide(task, scaled) == decide(task, p)).all()


def test_scaling_divides_the_logits():
    logits = np.random.default_rng(0).normal(0, 3, (50, 4))
    softmax = [np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in (logits, logits / 2.5)]
    assert scale(Task.ORDINAL, softmax[0], 2.5) == pytest.approx(softmax[1], abs=1e-12)
    sigmoid = [1 / (1 + np.exp(-z)) for z in (logits, logits / 2.5)]
    assert scale(Task.MULTILABEL, sigmoid[0], 2.5) == pytest.approx(sigmoid[1], abs=1e-12)
    assert (scale(Task.MULTICLASS, softmax[0], 1) == softmax[0]).all()
    with pytest.raises(InputError, match="temperature 0"):
        scale(Task.MULTICLASS, softmax[0], 0)


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS, Task.MULTILABEL])
@pytest.mark.parametrize("n", [0, 1, 40])
def test_summary_is_json(task, n):
    p, y = simulated(task, n, 2 if task is Task.BINARY else 3)
    report = summarise_calibration(task, p, y, resamples=100)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    if n == 40:
        for name in ("nll", "brier"):
            assert report[name]["low"] < report[name]["value"] < report[name]["high"]
        assert report["ece"]["low"] == 0, "no more than chance"
        assert 0 < report["ece"]["by_chance"]["mean"] < report["ece"]["by_chance"]["high"]
        assert (report["slope"] is None) == (task is not Task.BINARY)
        assert sum(row["n"] for row in report["bins"]) == (120 if task is Task.MULTILABEL else 40)
    assert summarise_calibration(task, p, y, resamples=0)["ece"]["low"] is None


def test_an_overconfident_model_is_seen_in_the_summary():
    p, y = simulated(Task.BINARY, 600, 2, temperature=0.4)
    report = summarise_calibration(Task.BINARY, p, y, resamples=500)
    assert report["ece"]["low"] > 0.03
    assert report["ece"]["value"] > report["ece"]["by_chance"]["high"]
    assert report["slope"] < 0.6


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS, Task.MULTILABEL])
@pytest.mark.parametrize("binning", [equal_width, equal_mass])
@pytest.mark.parametrize("n", [2, 7, 60, 2000])
def test_the_interval_of_an_ece_holds_it(task, binning, n):
    for temperature in (0.3, 1.0, 3.0):
        p, y = simulated(task, n, 2 if task is Task.BINARY else 4, temperature=temperature, seed=n)
        value = float(ece(task, p, y, binning=binning))
        low, high = ece_interval(task, p.astype(np.float32), y, binning=binning)
        assert 0 <= low <= value + 1e-6
        assert value - 1e-6 <= high <= 1
        assert low < high
    assert ece_interval(task, p, y, binning=binning) == ece_interval(task, p, y, binning=binning)


def test_the_interval_of_an_ece_where_nothing_can_be_told():
    certain = np.eye(2)[[0, 1, 1, 0]]
    assert ece_interval(Task.BINARY, certain, np.array([0, 1, 1, 0])) is None, "certain and right"
    low, high = ece_interval(Task.BINARY, certain, np.array([0, 1, 1, 1]))
    assert 0 <= low < 0.25 < high < 1, "certain, and once wrong"
    assert ece_interval(Task.BINARY, np.array([[0.3, 0.7]]), np.array([1])) is None
    assert ece_interval(Task.BINARY, np.zeros((0, 2)), np.zeros(0, int)) is None
    p, y = simulated(classes=2, n=9)
    assert ece_interval(Task.BINARY, p, y, groups=["a"] * 9) is None


def test_images_of_one_patient_widen_the_interval_of_an_ece():
    p, y = simulated(Task.BINARY, 200, 2, temperature=0.4)
    copies, truth = np.repeat(p, 5, axis=0), np.repeat(y, 5)
    alone = ece_interval(Task.BINARY, p, y)
    assert ece_interval(Task.BINARY, copies, truth, groups=[f"{k // 5}" for k in range(1000)]) == pytest.approx(alone)
    low, high = ece_interval(Task.BINARY, copies, truth)
    assert high - low < 0.7 * (alone[1] - alone[0])


@pytest.mark.parametrize(("temperature", "n"), [(0.8, 156), (0.5, 400)])
def test_the_interval_of_an_ece_holds_the_truth(temperature, n):
    """200 sets, whose share wavers by 3 points (two standard errors) around the 95 % that are promised."""
    truth = float(ece(Task.BINARY, *simulated(Task.BINARY, 400_000, 2, temperature=temperature)))
    held = []
    for seed in range(200):
        low, high = ece_interval(Task.BINARY, *simulated(Task.BINARY, n, 2, temperature=temperature, seed=seed))
        held.append(low <= truth <= high)
    assert 0.92 <= np.mean(held) <= 1
