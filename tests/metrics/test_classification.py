"""Figures against two independent sources, scikit-learn and the MedMNIST evaluator, and against hand-made cases."""

import numpy as np
import pytest
import sklearn.metrics as sk
from medmnist.evaluator import getACC, getAUC

from medmamba import metrics
from medmamba.tasks import Task, decide

MEDMNIST_TASKS = {
    Task.BINARY: "binary-class",
    Task.MULTICLASS: "multi-class",
    Task.ORDINAL: "ordinal-regression",
    Task.MULTILABEL: "multi-label, binary-class",
}


def random_case(task: Task, n: int, classes: int, seed: int, decimals: int | None = None):
    """Scores (n, classes) that know a little, and targets; rounded scores are full of ties."""
    generator = np.random.default_rng(seed)
    if task is Task.MULTILABEL:
        targets = (generator.random((n, classes)) < 0.3).astype(np.int64)
        scores = np.clip(generator.random((n, classes)) * 0.8 + 0.2 * targets, 0, 1)
    else:
        targets = generator.integers(0, classes, n)
        scores = generator.dirichlet(np.ones(classes), n)
        scores[np.arange(n), targets] += 0.2
        scores /= scores.sum(axis=1, keepdims=True)
    return (scores if decimals is None else scores.round(decimals)), targets


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("multi-class", 9), ("ordinal", 5), ("multi-label", 14)])
def test_equal_to_the_medmnist_evaluator(task, classes, seed):
    task = Task(task)
    scores, targets = random_case(task, 400, classes, seed)
    theirs = targets if task is Task.MULTILABEL else targets[:, None]
    assert metrics.auc(task, scores, targets) == pytest.approx(getAUC(theirs, scores, MEDMNIST_TASKS[task]), abs=1e-12)
    accuracy = metrics.accuracy(decide(task, scores), targets)
    assert accuracy == pytest.approx(getACC(theirs, scores, MEDMNIST_TASKS[task]), abs=1e-12)


@pytest.mark.parametrize("decimals", [None, 2, 1])
def test_auc_with_ties_equals_scikit_learn(decimals):
    scores, targets = random_case(Task.MULTICLASS, 500, 5, seed=0, decimals=decimals)
    expected = [sk.roc_auc_score(targets == k, scores[:, k]) for k in range(5)]
    assert metrics.auc_per_class(scores, targets) == pytest.approx(expected, abs=1e-12)


def test_auc_is_the_share_of_pairs_in_the_right_order_with_ties_half():
    scores, targets = random_case(Task.BINARY, 60, 2, seed=3, decimals=1)
    positive, negative = scores[targets == 1, 1], scores[targets == 0, 1]
    pairs = np.sign(positive[:, None] - negative[None, :]) / 2 + 0.5
    assert metrics.auc(Task.BINARY, scores, targets) == pytest.approx(pairs.mean(), abs=1e-15)


def test_f051_macro_auc_is_one_vs_rest_and_the_mean_of_the_column():
    scores, targets = random_case(Task.MULTICLASS, 300, 4, seed=1)
    scores /= scores.sum(axis=1, keepdims=True)
    value = metrics.auc(Task.MULTICLASS, scores, targets)
    assert value == pytest.approx(sk.roc_auc_score(targets, scores, multi_class="ovr", average="macro"), abs=1e-12)
    assert value == pytest.approx(np.mean(metrics.auc_per_class(scores, targets)), abs=1e-15)


def test_auc_of_the_named_positive_class():
    scores, targets = random_case(Task.BINARY, 100, 2, seed=2)
    scores[:, 0] = np.random.default_rng(5).random(100)  # two columns that do not mirror each other
    for positive in (0, 1):
        expected = sk.roc_auc_score(targets == positive, scores[:, positive])
        assert metrics.auc(Task.BINARY, scores, targets, positive) == pytest.approx(expected, abs=1e-12)


def test_per_class_figures_equal_scikit_learn():
    scores, targets = random_case(Task.MULTICLASS, 500, 5, seed=0)
    decisions = decide(Task.MULTICLASS, scores)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(targets, decisions)
    assert metrics.precision(decisions, targets, 5) == pytest.approx(list(precision), abs=1e-12)
    assert metrics.sensitivity(decisions, targets, 5) == pytest.approx(list(recall), abs=1e-12)
    assert metrics.f1(decisions, targets, 5) == pytest.approx(list(f1), abs=1e-12)
    rest = [sk.recall_score(targets != k, decisions != k) for k in range(5)]
    assert metrics.specificity(decisions, targets, 5) == pytest.approx(rest, abs=1e-12)
    assert metrics.balanced_accuracy(decisions, targets) == pytest.approx(
        sk.balanced_accuracy_score(targets, decisions), abs=1e-12
    )
    assert metrics.mcc(decisions, targets) == pytest.approx(sk.matthews_corrcoef(targets, decisions), abs=1e-12)
    assert (metrics.confusion_matrix(decisions, targets, 5) == sk.confusion_matrix(targets, decisions)).all()


def test_multi_label_figures_equal_scikit_learn_label_by_label():
    scores, targets = random_case(Task.MULTILABEL, 300, 4, seed=0)
    decisions = decide(Task.MULTILABEL, scores)
    columns = list(zip(targets.T, decisions.T, strict=True))
    expected = np.mean([sk.balanced_accuracy_score(*pair) for pair in columns])
    assert metrics.balanced_accuracy(decisions, targets) == pytest.approx(expected, abs=1e-12)
    assert metrics.mcc(decisions, targets) == pytest.approx(
        np.mean([sk.matthews_corrcoef(*pair) for pair in columns]), abs=1e-12
    )
    assert metrics.f1(decisions, targets, 4) == pytest.approx([sk.f1_score(*pair) for pair in columns], abs=1e-12)


@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("multi-class", 4), ("multi-label", 3)])
def test_c09_a_single_row_survives(task, classes):
    task = Task(task)
    scores, targets = random_case(task, 1, classes, seed=0)
    assert metrics.auc(task, scores, targets) is None
    assert metrics.accuracy(decide(task, scores), targets) in {k / 6 for k in range(7)}


def test_c09_an_absent_class_is_left_out_of_the_auc():
    scores, targets = random_case(Task.MULTICLASS, 200, 4, seed=0)
    targets[targets == 2] = 1
    areas = metrics.auc_per_class(scores, targets)
    assert areas[2] is None
    known = [sk.roc_auc_score(targets == k, scores[:, k]) for k in (0, 1, 3)]
    assert metrics.auc(Task.MULTICLASS, scores, targets) == pytest.approx(np.mean(known), abs=1e-12)


def test_one_class_only_has_no_auc_and_still_an_accuracy():
    scores, targets = random_case(Task.MULTICLASS, 20, 3, seed=0)[0], np.full(20, 1)
    decisions = decide(Task.MULTICLASS, scores)
    assert metrics.auc(Task.MULTICLASS, scores, targets) is None
    assert metrics.accuracy(decisions, targets) == np.mean(decisions == 1)
    assert metrics.specificity(decisions, targets, 3)[1] is None
    assert metrics.sensitivity(decisions, targets, 3)[0] is None


def test_nothing_at_all_gives_none():
    none = np.zeros(0, dtype=np.int64)
    assert metrics.accuracy(none, none) is None
    assert metrics.mcc(none, none) is None
    assert metrics.auc(Task.MULTICLASS, np.zeros((0, 3)), none) is None


def test_majority_baseline():
    assert metrics.majority_baseline(np.array([0] * 3 + [2] * 7)) == 0.7
    labels = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    assert metrics.majority_baseline(labels) == 0.75


def test_a_class_never_answered_has_precision_zero_and_one_neither_present_nor_answered_none():
    decisions, targets = np.array([0, 0, 0]), np.array([0, 0, 1])
    assert metrics.precision(decisions, targets, 3) == [pytest.approx(2 / 3), 0.0, None]
    assert metrics.f1(decisions, targets, 3) == [pytest.approx(0.8), 0.0, None]
