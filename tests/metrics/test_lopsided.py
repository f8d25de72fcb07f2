"""A model that always answers the same is said to, in what `evaluate` writes and prints."""

import numpy as np
import pytest

from medmamba.cli.console import print_headline
from medmamba.metrics import summarise
from medmamba.metrics.calibration_summary import summarise_calibration
from medmamba.metrics.lopsided import class_rows, lopsided
from medmamba.tasks import Task


def test_rows_are_those_of_a_summary():
    generator = np.random.default_rng(0)
    targets, decisions = generator.integers(0, 3, (2, 50))
    rows = class_rows("abc", decisions, targets)
    full = summarise(Task.MULTICLASS, np.eye(3)[decisions], targets, "abc", resamples=0)["per_class"]
    for row, other in zip(rows, full, strict=True):
        assert row["sensitivity"] == other["sensitivity"]["value"]
        assert all(row[key] == other[key] for key in ("name", "n", "tp", "fp", "fn", "tn"))
    assert class_rows("ab", np.array([0]), np.array([0]))[1]["sensitivity"] is None


@pytest.mark.parametrize(
    ("decisions", "targets", "words"),
    [
        ([0] * 100, [0] * 93 + [1] * 7, ["never answered 'b' (7 images).", "100% of the answers are 'a', which 93%"]),
        ([0] * 97 + [1] * 3, [0] * 93 + [1] * 7, ["97% of the answers are 'a', which 93% of the images are."]),
        ([0] * 95 + [1] * 5, [0] * 93 + [1] * 7, []),
        ([0] * 97 + [1] * 3, [0] * 97 + [1] * 3, []),  # as often as it is so
        ([0] * 10, [0] * 10, []),
        ([], [], []),
    ],
)
def test_f052_one_answer_for_nearly_all_images_is_told(decisions, targets, words):
    rows = class_rows("ab", np.array(decisions, np.int64), np.array(targets, np.int64))
    sentences = lopsided(Task.BINARY, rows, len(targets))
    assert len(sentences) == len(words)
    assert all(word in sentence for word, sentence in zip(words, sentences, strict=True))


def test_f052_a_label_that_is_never_given_is_told():
    targets = np.zeros((100, 2), np.int64)
    targets[:3] = 1
    decisions = targets * [1, 0]
    assert lopsided(Task.MULTILABEL, class_rows("ab", decisions, targets), 100) == [
        "The model never answered 'b' (3 images)."
    ]


def test_the_recall_of_each_class_is_printed_with_its_number_of_images(capsys):
    decisions, targets = np.array([0] * 8 + [1] * 2), np.array([0] * 6 + [1] * 4)
    report = summarise(Task.BINARY, np.eye(2)[decisions], targets, ("healthy", "sick"), resamples=0)
    calibration = {"after": summarise_calibration(Task.BINARY, np.eye(2)[decisions], targets, resamples=0)}
    rest = {"subgroups": {}, "calibration": calibration, "prediction_sets": None, "scope": None}
    print_headline(report | rest | {"data": {"name": "x", "split": "test"}})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    start = next(number for number, line in enumerate(lines) if line[:1] == ["class"])
    assert lines[start][:3] == ["class", "n", "sensitivity"]
    assert lines[start + 1][:3] == ["healthy", "6", "1.000"]
    assert lines[start + 2][:3] == ["sick", "4", "0.500"]
