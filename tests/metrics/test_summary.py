"""The whole summary: the figures of field reports, definitions, notes, and JSON without NaN."""

import json

import numpy as np
import pytest
import sklearn.metrics as sk

from medmamba.errors import InputError
from medmamba.metrics import headline, summarise, wilson
from medmamba.metrics.counts import quadratic_kappa
from medmamba.metrics.delong import auc_interval
from medmamba.tasks import Task, decide


def figures(entry, path=()):
    """Every figure in a summary, as (path, figure)."""
    if isinstance(entry, dict):
        if {"value", "low", "high"} <= set(entry):
            yield ".".join(path), entry
        for key, value in entry.items():
            yield from figures(value, (*path, key))
    elif isinstance(entry, list):
        for position, value in enumerate(entry):
            yield from figures(value, (*path, str(position)))


def ends(figure):
    """The interval of a figure."""
    return figure["low"], figure["high"]


def one_hot(indices, classes):
    """Scores of a model that is sure of itself."""
    return np.eye(classes)[indices]


def breast(seed=7):
    """156 predictions of two classes, as many as BreastMNIST's test set has, by 78 patients."""
    generator = np.random.default_rng(seed)
    targets = (generator.random(156) < 0.73).astype(np.int64)
    score = 1 / (1 + np.exp(-generator.normal(1.6 * targets - 0.6, 1.0)))
    return np.column_stack([1 - score, score]), targets, [f"p{row // 2}" for row in range(156)]


@pytest.mark.parametrize("order", [("healthy", "sick"), ("sick", "healthy")])
def test_binary_figures_do_not_depend_on_the_order_of_names(order):
    sick = order.index("sick")
    truth = np.array([1] * 50 + [0] * 100)
    answer = np.array([1] * 40 + [0] * 10 + [1] * 5 + [0] * 95)
    targets, answers = (np.where(values == 1, sick, 1 - sick) for values in (truth, answer))
    summary = summarise(Task.BINARY, one_hot(answers, 2), targets, order, positive=sick, resamples=50)
    row = summary["positive_class"]
    assert (row["name"], row["n"], row["tp"], row["fn"], row["fp"], row["tn"]) == ("sick", 50, 40, 10, 5, 95)
    expected = {"sensitivity": 0.8, "specificity": 0.95, "precision": 0.8889, "npv": 0.9048, "f1": 0.8421}
    assert {name: round(row[name]["value"], 4) for name in expected} == expected
    assert round(summary["mcc"]["value"], 4) == 0.7715
    assert summary["accuracy"]["value"] == 0.9
    assert summary["macro"]["sensitivity"]["value"] == summary["macro"]["specificity"]["value"]
    assert "same number" in summary["macro"]["definition"]


def test_f035_every_figure_of_156_predictions_has_an_interval_around_it():
    scores, targets, _ = breast()
    summary = summarise(Task.BINARY, scores, targets, ("malignant", "normal"), resamples=1000, seed=3)
    found = dict(figures(summary))
    assert len(found) > 25
    for path, figure in found.items():
        assert figure["low"] <= figure["value"] <= figure["high"], path
        assert figure["low"] < figure["high"], path
    assert summary == summarise(Task.BINARY, scores, targets, ("malignant", "normal"), resamples=1000, seed=3)
    other = summarise(Task.BINARY, scores, targets, ("malignant", "normal"), resamples=1000, seed=4)
    assert other["mcc"]["low"] != summary["mcc"]["low"]
    assert other["accuracy"] == summary["accuracy"], "a formula draws nothing"
    assert other["auc"]["value"] == summary["auc"]["value"]


def test_f035_patients_widen_the_interval_of_clustered_images():
    generator = np.random.default_rng(0)
    targets = np.repeat(np.arange(40) % 2, 5)
    score = 1 / (1 + np.exp(-np.repeat(generator.normal(targets[::5] - 0.5, 1.0), 5)))  # five alike of each patient
    scores, patients = np.column_stack([1 - score, score]), np.repeat([f"p{k}" for k in range(40)], 5)
    by_image = summarise(Task.BINARY, scores, targets, ("a", "b"))
    by_patient = summarise(Task.BINARY, scores, targets, ("a", "b"), groups=tuple(patients))
    for name in ("accuracy", "auc"):
        width = [summary[name]["high"] - summary[name]["low"] for summary in (by_image, by_patient)]
        assert 1.7 < width[1] / width[0] < 2.8, name  # sqrt 5 in theory
    assert (by_image["interval"]["unit"], by_image["patients"]) == ("image", None)
    assert (by_patient["interval"]["unit"], by_patient["patients"]) == ("patient", 40)
    assert "patients drawn" in by_patient["interval"]["method"]


def test_f047_averages_are_named_and_equal_scikit_learn():
    generator = np.random.default_rng(0)
    scores, targets = generator.dirichlet(np.ones(5), 500), generator.choice(5, 500, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    summary = summarise(Task.MULTICLASS, scores, targets, tuple("abcde"), resamples=0)
    decisions = decide(Task.MULTICLASS, scores)
    for average in ("macro", "weighted"):
        expected = sk.precision_recall_fscore_support(targets, decisions, average=average)[:3]
        values = [summary[average][name]["value"] for name in ("precision", "sensitivity", "f1")]
        assert values == pytest.approx(list(expected), abs=1e-12)
    assert summary["accuracy"]["value"] != summary["macro"]["sensitivity"]["value"]
    assert [row["n"] for row in summary["per_class"]] == np.bincount(targets).tolist()


def test_f048_auc_and_accuracy_cannot_be_swapped():
    score = np.array([0.1, 0.2, 0.3, 0.4] + [0.0, 0.02, 0.05] * 2)
    targets = np.array([1] * 4 + [0] * 6)
    summary = summarise(Task.BINARY, np.column_stack([1 - score, score]), targets, ("no", "yes"), resamples=20)
    assert summary["auc"]["value"] == 1.0
    assert summary["accuracy"]["value"] == 0.6
    lines = dict(headline(summary))
    assert lines["AUC"].startswith("1.000")
    assert lines["accuracy"].startswith("0.600")


def test_f049_multi_label_gives_a_figure_a_label_and_wrong_pairs_are_refused():
    generator = np.random.default_rng(0)
    labels = (generator.random((60, 14)) < 0.3).astype(np.int64)
    scores = generator.random((60, 14))
    names = [f"finding {k}" for k in range(14)]
    summary = summarise(Task.MULTILABEL, scores, labels, names, resamples=20)
    assert len([row for row in summary["per_class"] if row["auc"]["value"] is not None]) == 14
    assert summary["confusion_matrix"] is None
    assert summary["auc"]["value"] == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    with pytest.raises(InputError, match="is the task right"):
        summarise(Task.MULTICLASS, scores, labels, names)
    with pytest.raises(InputError, match="is the task right"):
        summarise(Task.MULTILABEL, scores, labels[:, 0], names)


def test_f051_definition_of_the_auc_is_in_the_report():
    generator = np.random.default_rng(0)
    scores, targets = generator.dirichlet(np.ones(3), 90), generator.integers(0, 3, 90)
    summary = summarise(Task.MULTICLASS, scores, targets, ("a", "b", "c"), resamples=0)
    assert "macro one-vs-rest over classes present" in summary["auc"]["definition"]
    column = [row["auc"]["value"] for row in summary["per_class"]]
    assert summary["auc"]["value"] == pytest.approx(np.mean(column), abs=1e-15)
    assert summary["auc"]["classes_counted"] == 3
    binary = summarise(Task.BINARY, scores[:, :2], targets % 2, ("a", "b"), positive=0, resamples=0)
    assert "'a' is the positive class" in binary["auc"]["definition"]


def test_f053_no_better_than_the_majority_is_said():
    targets = np.array([0] * 93 + [1] * 7)
    summary = summarise(Task.BINARY, np.tile([0.9, 0.1], (100, 1)), targets, ("A", "B"), resamples=50)
    assert summary["accuracy"]["value"] == 0.93
    assert summary["majority_baseline"]["value"] == 0.93
    assert summary["majority_baseline"]["class"] == "A"
    assert summary["balanced_accuracy"]["value"] == 0.5
    assert summary["mcc"]["value"] == 0
    assert any("no better than that of always answering 'A'" in note for note in summary["notes"])


def test_a_model_that_is_better_gets_no_such_note():
    targets = np.arange(100) % 2
    summary = summarise(Task.BINARY, one_hot(targets, 2), targets, ("A", "B"), resamples=50)
    assert summary["notes"] == []


def test_an_absent_class_is_named_and_left_out_of_every_average():
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, 80) * 2
    scores = generator.dirichlet(np.ones(3), 80)
    summary = summarise(Task.MULTICLASS, scores, targets, ("a", "b", "c"), resamples=100)
    assert summary["absent_classes"] == ["b"]
    assert summary["auc"]["classes_left_out"] == ["b"]
    assert summary["auc"]["classes_counted"] == 2
    absent = summary["per_class"][1]
    assert absent["n"] == 0
    assert absent["sensitivity"] == absent["auc"] == {"value": None, "low": None, "high": None}
    present = [summary["per_class"][k]["sensitivity"]["value"] for k in (0, 2)]
    assert summary["macro"]["sensitivity"]["value"] == pytest.approx(np.mean(present), abs=1e-15)
    assert any("no cases here of 'b'" in note for note in summary["notes"])


def test_a_lone_case_has_the_interval_of_one_trial_and_none_where_cases_must_vary():
    targets = np.array([0] * 20 + [1])
    scores = np.random.default_rng(0).dirichlet(np.ones(2), 21)
    row = summarise(Task.BINARY, scores, targets, ("a", "b"), resamples=50)["per_class"][1]
    share = row["sensitivity"]["value"]
    assert share in (0.0, 1.0)
    assert (row["sensitivity"]["low"], row["sensitivity"]["high"]) == wilson(share, 1), "one case: nearly nothing known"
    assert row["auc"]["low"] is None
    assert row["f1"]["low"] is None
    assert row["specificity"]["low"] is not None


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("n", [0, 1, 2, 5])
@pytest.mark.parametrize("grouped", [False, True])
def test_small_sets_give_json_without_nan(task, n, grouped):
    generator = np.random.default_rng(n)
    classes = 2 if task is Task.BINARY else 3
    targets = generator.integers(0, 2, (n, classes) if task is Task.MULTILABEL else n)
    groups = tuple(f"p{row // 2}" for row in range(n)) if grouped else None
    scores = generator.dirichlet(np.ones(classes), n).reshape(n, classes)
    summary = summarise(task, scores, targets, tuple("abc")[:classes], groups=groups, resamples=30)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["n"] == n
    if n == 0:
        assert all(figure["value"] is None for _, figure in figures(summary))
        assert summary["notes"] == ["There are no images here, so nothing could be computed."]


def test_one_class_only():
    scores = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    summary = summarise(Task.MULTICLASS, scores, np.full(30, 2), ("a", "b", "c"), resamples=30)
    assert summary["auc"]["value"] is None
    assert summary["macro"]["specificity"]["value"] is None
    assert summary["accuracy"]["value"] == summary["balanced_accuracy"]["value"]
    assert any("No AUC" in note for note in summary["notes"])


def test_scores_that_do_not_fit_are_refused():
    scores, targets = np.full((4, 2), 0.5), np.array([0, 1, 0, 1])
    with pytest.raises(InputError, match=r"4 images and 3 classes"):
        summarise(Task.MULTICLASS, scores, targets, ("a", "b", "c"))
    with pytest.raises(InputError, match="2 patients are named for 4 images"):
        summarise(Task.BINARY, scores, targets, ("a", "b"), groups=("p", "q"))
    scores[2, 0] = np.nan
    with pytest.raises(InputError, match="1 of 4 images are not finite"):
        summarise(Task.BINARY, scores, targets, ("a", "b"))
    with pytest.raises(InputError, match="two classes, not 3"):
        summarise(Task.BINARY, np.full((4, 3), 1 / 3), targets, ("a", "b", "c"))


def test_headline_names_the_positive_class_or_the_average():
    scores, targets, _ = breast()
    lines = dict(headline(summarise(Task.BINARY, scores, targets, ("bad", "good"), positive=0, resamples=20)))
    assert "sensitivity of bad" in lines
    assert {"PPV of bad", "NPV of bad"} <= set(lines)
    assert " to " in lines["AUC"]
    multi = dict(headline(summarise(Task.ORDINAL, scores, targets, ("one", "two"), resamples=0)))
    assert "macro F1" in multi
    assert " to " not in multi["AUC"]
    assert "quadratic kappa" in multi


def test_each_figure_has_the_interval_that_is_named():
    scores, targets, patients = breast()
    names = ("malignant", "normal")
    summary = summarise(Task.BINARY, scores, targets, names)
    row, how = summary["per_class"][1], summary["interval"]["methods"]
    assert how["accuracy"] == how["per_class"]["sensitivity"] == how["per_class"]["npv"] == "Wilson"
    assert how["auc"] == how["per_class"]["auc"] == "DeLong"
    assert how["mcc"] == how["macro"] == how["per_class"]["f1"] == "bootstrap"
    assert ends(summary["accuracy"]) == wilson(round(summary["accuracy"]["value"] * 156), 156)
    assert ends(row["npv"]) == wilson(row["tn"], row["tn"] + row["fn"])
    assert ends(row["precision"]) == wilson(row["tp"], row["tp"] + row["fp"])
    assert ends(summary["auc"]) == ends(row["auc"]) == auc_interval(scores[:, 1], targets)
    assert "Wilson" in summary["accuracy"]["definition"]
    assert "DeLong" in summary["auc"]["definition"]
    assert "bootstrap" in summary["macro"]["definition"]
    assert "2000 resamples" in summary["interval"]["method"]
    grouped = summarise(Task.BINARY, scores, targets, names, groups=patients)
    flat = {name for name in grouped["interval"]["methods"].values() if isinstance(name, str)}
    assert flat | set(grouped["interval"]["methods"]["per_class"].values()) == {"bootstrap"}
    assert "not independent" in grouped["interval"]["method"]
    assert ends(grouped["accuracy"]) != ends(summary["accuracy"])
    each_alone = summarise(Task.BINARY, scores, targets, names, groups=[f"p{k}" for k in range(156)])
    assert each_alone["interval"]["methods"] == how
    assert ends(each_alone["auc"]) == ends(summary["auc"])


def test_without_resamples_the_formulas_remain():
    scores, targets, patients = breast()
    summary = summarise(Task.BINARY, scores, targets, ("malignant", "normal"), resamples=0)
    assert summary["accuracy"]["low"] is not None
    assert summary["mcc"]["low"] is None
    assert summary["interval"]["methods"]["mcc"] is None
    grouped = summarise(Task.BINARY, scores, targets, ("malignant", "normal"), groups=patients, resamples=0)
    assert all(figure["low"] is None for _, figure in figures(grouped))
    assert grouped["interval"]["method"] == "none"


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("task", list(Task))
def test_a_perfect_figure_has_no_interval_of_width_zero(task, grouped):
    """90 right of 90: nobody knows that the next will be right too."""
    targets = np.arange(90) % 2
    truth = one_hot(targets, 2)
    groups = [f"p{k // 3}" for k in range(90)] if grouped else None
    given = truth.astype(np.int64) if task is Task.MULTILABEL else targets
    summary = summarise(task, truth, given, ("a", "b"), groups=groups, resamples=200)
    found = dict(figures(summary))
    assert all(figure["value"] == 1 for figure in found.values())
    for path, figure in found.items():
        assert figure["high"] in (1.0, None), path
        assert figure["low"] is None or 0.6 < figure["low"] < 0.99, path
        assert (figure["low"] is None) == (path in ("mcc", "quadratic_kappa")), path
    if task is Task.BINARY and not grouped:
        assert ends(summary["auc"]) == wilson(45, 45)


@pytest.mark.parametrize("seed", range(3))
def test_quadratic_kappa_equals_scikit_learn_and_weights_are_copies(seed):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 5, 200)
    scores = generator.dirichlet(np.ones(5), 200)
    scores[np.arange(200), np.clip(targets + generator.integers(-1, 2, 200), 0, 4)] += 0.8
    summary = summarise(Task.ORDINAL, scores, targets, tuple("abcde"), resamples=200)
    answers = decide(Task.ORDINAL, scores)
    expected = sk.cohen_kappa_score(targets, answers, weights="quadratic")
    kappa = summary["quadratic_kappa"]
    assert kappa["value"] == pytest.approx(expected, abs=1e-12)
    assert kappa["low"] < kappa["value"] < kappa["high"]
    assert "Cohen" in kappa["definition"]
    weights = generator.integers(0, 3, (4, 200))
    several = quadratic_kappa(one_hot(answers, 5), one_hot(targets, 5), weights.astype(float))
    copies = [sk.cohen_kappa_score(np.repeat(targets, w), np.repeat(answers, w), weights="quadratic") for w in weights]
    assert several == pytest.approx(copies, abs=1e-12)
    assert summarise(Task.MULTICLASS, scores, targets, tuple("abcde"), resamples=0)["quadratic_kappa"] is None
    only = summarise(Task.ORDINAL, one_hot(np.zeros(5, int), 5), np.zeros(5, int), tuple("abcde"), resamples=20)
    assert only["quadratic_kappa"]["value"] is None


def test_f050_one_threshold_or_one_a_label():
    generator = np.random.default_rng(0)
    labels = (generator.random((80, 2)) < 0.5).astype(np.int64)
    scores = np.clip(generator.normal([0.3, 0.7] + 0.2 * (labels - 0.5), 0.05), 0, 1)
    plain = summarise(Task.MULTILABEL, scores, labels, ("a", "b"), resamples=20)
    same = summarise(Task.MULTILABEL, scores, labels, ("a", "b"), threshold=[0.5, 0.5], resamples=20)
    assert same == plain | {"threshold": [0.5, 0.5]}
    assert plain["threshold"] == 0.5
    own = summarise(Task.MULTILABEL, scores, labels, ("a", "b"), threshold=[0.3, 0.7], resamples=20)
    assert own["accuracy"]["value"] > 0.95 > plain["accuracy"]["value"]
    assert own["threshold"] == [0.3, 0.7]
    assert (decide(Task.MULTILABEL, scores, threshold=(0.3, 0.7)) == (scores >= [0.3, 0.7])).all()
    with pytest.raises(InputError, match="3 thresholds were given for a multi-label task; give one number, or 2"):
        summarise(Task.MULTILABEL, scores, labels, ("a", "b"), threshold=[0.3, 0.5, 0.7])
    with pytest.raises(InputError, match="2 thresholds were given for a binary task; give one number"):
        decide(Task.BINARY, scores, threshold=[0.3, 0.7])


def test_f052_one_class_that_takes_nearly_all_answers_is_mentioned():
    targets = np.array([0] * 200 + [1] * 10)
    score = np.where(np.arange(210) < 3, 0.9, 0.1)
    summary = summarise(Task.BINARY, np.column_stack([1 - score, score]), targets, ("no", "yes"), resamples=20)
    assert any("99% of the answers are 'no', which 95% of the images are" in note for note in summary["notes"])
    right = summarise(Task.BINARY, one_hot(targets, 2), targets, ("no", "yes"), resamples=20)
    assert not any("of the answers" in note for note in right["notes"]), "as often as there are cases"
    alone = summarise(Task.BINARY, one_hot(targets * 0, 2), targets * 0, ("no", "yes"), resamples=20)
    assert not any("of the answers" in note for note in alone["notes"]), "there are no other cases"


def test_f052_labels_that_are_never_given_are_mentioned():
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]] * 10)
    scores = labels * [0.9, 0.2, 0.1]
    notes = summarise(Task.MULTILABEL, scores, labels, ("a", "b", "c"), resamples=20)["notes"]
    assert any("never answered 'b' (20 images)" in note for note in notes)


def test_npv_of_a_class_is_the_precision_of_the_other():
    scores, targets, _ = breast()
    for threshold in (0.0, 0.4, 1.0):
        one, other = summarise(Task.BINARY, scores, targets, ("a", "b"), threshold=threshold, resamples=0)["per_class"]
        assert one["npv"] == other["precision"]
        assert other["npv"] == one["precision"]
