"""Paired comparisons: McNemar and Newcombe, the paired bootstrap, Holm, and the whole comparison as JSON."""

import json
from math import sqrt

import numpy as np
import pytest
from scipy.stats import binomtest

from medmamba.errors import InputError
from medmamba.metrics import compare_scores, delong_test, holm, mcnemar, paired_bootstrap, summarise
from medmamba.metrics.pairs import exact_sign_test
from medmamba.tasks import Task

# Cells (both right, only a, only b, neither) and the limits of a - b by the formulas of the paper, to four decimals
NEWCOMBE = [
    ((36, 12, 2, 0), 0.2, 0.0569, 0.3404),
    ((20, 12, 2, 16), 0.2, 0.0562, 0.3292),
    ((36, 14, 0, 0), 0.28, 0.1528, 0.4167),
    ((53, 0, 0, 1), 0.0, -0.0729, 0.0729),
    ((0, 30, 0, 0), 1.0, 0.8395, 1.0),
]


def right(both, only_a, only_b, neither):
    """Whether each model was right, case by case."""
    a = [1] * (both + only_a) + [0] * (only_b + neither)
    return np.array(a), np.array([1] * both + [0] * only_a + [1] * only_b + [0] * neither)


def by_the_book(both, only_a, only_b, neither, z=1.959963984540054):
    """Newcombe's method 10 for a - b, written out."""
    n = both + only_a + only_b + neither
    p1, p2 = (both + only_a) / n, (both + only_b) / n

    def ends(p):
        root = z * sqrt(z * z + 4 * n * p * (1 - p))
        return (2 * n * p + z * z - root) / (2 * (n + z * z)), (2 * n * p + z * z + root) / (2 * (n + z * z))

    (l1, u1), (l2, u2) = ends(p1), ends(p2)
    a = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    b = both * neither - only_a * only_b
    c = b - n / 2 if b > n / 2 else 0 if b >= 0 else b
    phi = c / sqrt(a) if a else 0
    delta = sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    epsilon = sqrt((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2)
    return p1 - p2 - delta, p1 - p2 + epsilon


@pytest.mark.parametrize(("cells", "value", "low", "high"), NEWCOMBE)
def test_newcombe(cells, value, low, high):
    a, b = right(*cells)
    difference = mcnemar(b, a)  # a minus b
    found = (difference.value, difference.low, difference.high)
    assert found == pytest.approx((value, low, high), abs=5e-5)
    assert found[1:] == pytest.approx(by_the_book(*cells), abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_mcnemar_equals_scipy_and_the_book(seed):
    cells = np.random.default_rng(seed).integers(0, (200, 30, 30, 60))
    a, b = right(*cells)
    difference = mcnemar(a, b)
    assert difference.p == pytest.approx(binomtest(cells[1], cells[1] + cells[2]).pvalue, abs=1e-12)
    low, high = by_the_book(*cells)
    assert (difference.low, difference.high) == pytest.approx((-high, -low), abs=1e-12)
    assert -1 <= difference.low <= difference.value <= difference.high <= 1


def test_sign_test_of_none_and_of_many():
    assert exact_sign_test(0, 0) == 1
    assert exact_sign_test(4900, 5100) == pytest.approx(binomtest(4900, 10000).pvalue, abs=1e-10)
    assert mcnemar(np.zeros(0), np.zeros(0)).value is None


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.4]) == [0.8, None, 0.8]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def two_models(n=200, classes=3, seed=0, better=1.0):
    generator = np.random.default_rng(seed)
    targets = np.arange(n) % classes
    shared = generator.normal(size=(n, classes))
    logits = [
        strength * 1.5 * np.eye(classes)[targets] + shared + 0.5 * generator.normal(size=(n, classes))
        for strength in (1.0, 1.0 + better)
    ]
    return [np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in logits], targets


def test_a_paired_interval_is_narrower_than_that_of_independent_models():
    (a, b), targets = two_models()

    def share_right(a, b, targets, weights):
        gain = (b.argmax(1) == targets).astype(float) - (a.argmax(1) == targets)
        return (weights @ gain)[:, None] / weights.sum(axis=1, keepdims=True)

    (difference,) = paired_bootstrap(share_right, a, b, targets)
    gain = (b.argmax(1) == targets).astype(float) - (a.argmax(1) == targets)
    assert difference.value == pytest.approx(gain.mean())
    half = 1.96 * gain.std() / np.sqrt(200)
    assert difference.high - difference.low == pytest.approx(2 * half, rel=0.15)
    alone = summarise(Task.MULTICLASS, a, targets, ("a", "b", "c"), resamples=0)["accuracy"]
    assert difference.high - difference.low < 1.2 * (alone["high"] - alone["low"])
    assert difference.p is None
    again = paired_bootstrap(share_right, a, b, targets)
    assert again == [difference]
    (none,) = paired_bootstrap(share_right, a, a, targets)
    assert (none.value, none.low, none.high) == (0, None, None), "the same in every resample"


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS, Task.ORDINAL])
def test_compare_scores(task):
    classes = ("a", "b", "c")[: 2 if task is Task.BINARY else 3]
    (a, b), targets = two_models(classes=len(classes))
    report = compare_scores(task, a, b, targets, classes, resamples=300)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    one, other = (summarise(task, scores, targets, classes, resamples=0) for scores in (a, b))
    differences = report["differences"]
    for name in ("auc", "accuracy", "balanced_accuracy", "mcc"):
        row = differences[name]
        assert (row["a"], row["b"]) == pytest.approx((one[name]["value"], other[name]["value"]), abs=1e-12)
        assert row["value"] == pytest.approx(row["b"] - row["a"], abs=1e-12)
        assert row["low"] < row["value"] < row["high"]
    assert ("quadratic_kappa" in differences) == (task is Task.ORDINAL)
    assert differences["auc"]["value"] > 0 > differences["nll"]["value"]
    assert "below 0, b is better" in differences["brier"]["definition"]
    assert "McNemar" in differences["accuracy"]["method"]
    assert 0 <= differences["accuracy"]["p"] < 0.05
    assert differences["mcc"]["p"] is None
    if task is Task.BINARY:
        expected = delong_test(a[:, 1], b[:, 1], targets)
        assert (differences["auc"]["low"], differences["auc"]["p"]) == (expected.low, expected.p)
    rows = report["per_class"]
    assert [row["name"] for row in rows] == list(classes)
    assert [row["n"] for row in rows] == np.bincount(targets).tolist()
    assert rows[0]["sensitivity"]["a"] == pytest.approx(one["per_class"][0]["sensitivity"]["value"])


def test_patients_with_several_images_have_no_p_values():
    (a, b), targets = two_models(classes=2)
    groups = [f"p{k // 4}" for k in range(200)]
    report = compare_scores(Task.BINARY, a, b, targets, ("no", "yes"), groups=groups, resamples=100)
    assert {row["p"] for row in report["differences"].values()} == {None}
    assert {row["method"] for row in report["differences"].values()} == {
        "paired expanded percentile bootstrap, patients drawn with replacement"
    }
    assert "no p-values" in report["notes"][0]
    assert report["patients"] == 50
    alone = compare_scores(Task.BINARY, a, b, targets, ("no", "yes"), groups=[str(k) for k in range(200)], resamples=10)
    assert alone["differences"]["auc"]["p"] is not None


def test_thresholds_of_each_model_and_labels():
    labels = (np.random.default_rng(0).random((60, 2)) < 0.5).astype(np.int64)
    a = np.clip(labels * 0.4 + [0.1, 0.3], 0, 1)
    report = compare_scores(
        Task.MULTILABEL, a, a, labels, ("a", "b"), threshold_a=[0.3, 0.5], threshold_b=0.75, resamples=50
    )
    accuracy = report["differences"]["accuracy"]
    assert accuracy["a"] == 1
    assert accuracy["value"] < 0
    assert accuracy["p"] is None
    assert json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("n", [0, 1, 3])
def test_few_images_give_json_without_nan(task, n):
    classes = 2 if task is Task.BINARY else 3
    generator = np.random.default_rng(n)
    targets = generator.integers(0, 2, (n, classes) if task is Task.MULTILABEL else n)
    a, b = (generator.dirichlet(np.ones(classes), n).reshape(n, classes) for _ in range(2))
    report = compare_scores(task, a, b, targets, "abc"[:classes], resamples=20)
    assert json.loads(json.dumps(report, allow_nan=False))["n"] == n


def test_scores_that_do_not_fit_are_refused():
    (a, b), targets = two_models(classes=2)
    with pytest.raises(InputError, match="200 images"):
        compare_scores(Task.BINARY, a, b[:100], targets, ("no", "yes"))
