"""Splits are stratified, keep patients whole, follow the seed and survive tiny classes."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from medmamba.data.splits import make_splits, split_word
from medmamba.errors import InputError

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def counts(splits: np.ndarray, chosen: np.ndarray) -> list[int]:
    return [int((splits[chosen] == name).sum()) for name in SHARES]


def test_each_class_is_cut_in_the_shares_asked_for() -> None:
    targets = np.repeat([0, 1, 2], [100, 50, 30])
    splits = make_splits(targets, None, 0, SHARES)
    assert counts(splits, targets == 0) == [70, 10, 20]
    assert counts(splits, targets == 1) == [35, 5, 10]
    assert counts(splits, targets == 2) == [21, 3, 6]


def test_totals_are_right_even_where_no_class_divides_evenly() -> None:
    targets = np.repeat(np.arange(50), 7)
    splits = make_splits(targets, None, 0, SHARES)
    total = counts(splits, targets >= 0)
    assert abs(total[0] - 245) <= 10  # a unit of each class in val is a little more than its share
    assert min(counts(splits, targets == 3)) >= 1


def test_the_seed_decides_and_nothing_else() -> None:
    targets = np.repeat([0, 1], [40, 60])
    first = make_splits(targets, None, 3, SHARES)
    assert (first == make_splits(targets, None, 3, SHARES)).all()
    assert (first != make_splits(targets, None, 4, SHARES)).any()


def test_a_patient_never_crosses_splits_and_classes_stay_balanced() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), rng.integers(1, 9, 200))
    targets = (groups % 4 == 0).astype(np.int64)
    splits = make_splits(targets, [f"p{group}" for group in groups], 0, SHARES)
    assert all(len(set(splits[groups == group])) == 1 for group in range(200))
    for name, share in SHARES.items():
        assert (splits == name).mean() == pytest.approx(share, abs=0.02)
        assert targets[splits == name].mean() == pytest.approx(targets.mean(), abs=0.04)


def test_rare_labels_of_a_multi_label_task_reach_every_split() -> None:
    rng = np.random.default_rng(1)
    targets = (rng.random((400, 5)) < [0.5, 0.3, 0.1, 0.05, 0.03]).astype(np.int64)
    splits = make_splits(targets, None, 0, SHARES)
    for label in range(5):
        here = targets[:, label] == 1
        got = counts(splits, here)
        assert min(got) >= 1
        assert got[0] / here.sum() == pytest.approx(0.7, abs=0.1)
    assert (splits == "train").mean() == pytest.approx(0.7, abs=0.03)


def test_f069_a_class_with_one_image_stays_in_train() -> None:
    targets = np.repeat([0, 1, 2], [50, 20, 1])
    for seed in range(20):
        splits = make_splits(targets, None, seed, {"train": 0.8, "val": 0.2})
        assert splits[70] == "train"
        assert [(splits[targets == 0] == "val").sum(), (splits[targets == 1] == "val").sum()] == [10, 4]


def test_a_class_with_one_patient_stays_in_train() -> None:
    targets = np.array([0] * 20 + [1] * 5)
    groups = [f"p{index}" for index in range(20)] + ["only"] * 5
    assert set(make_splits(targets, groups, 0, SHARES)[20:]) == {"train"}


def test_every_class_can_be_learnt_where_patients_have_images_of_several() -> None:
    """Labels of which each patient has two or three: whoever is dealt out for a rare one takes the others along."""
    rng = np.random.default_rng(0)
    for seed in range(200):
        units = rng.integers(3, 9)
        owners = [set(rng.choice(6, rng.integers(1, 4), replace=False).tolist()) for _ in range(units)]
        rows = [(unit, label) for unit, labels in enumerate(owners) for label in sorted(labels)]
        groups, targets = zip(*rows, strict=True)
        splits = make_splits(np.array(targets), [f"p{group}" for group in groups], seed, SHARES)
        split_of = dict(zip(groups, splits.tolist(), strict=True))
        sizes = Counter(split_of.values())
        assert set(sizes) == set(SHARES)
        for label in set(targets):
            places = [split_of[unit] for unit, labels in enumerate(owners) if label in labels]
            assert "train" in places or all(sizes[place] == 1 for place in places)


def test_no_split_is_empty_however_small_the_data() -> None:
    for sizes in pairwise(range(1, 9)):
        targets = np.repeat([0, 1], sizes)
        splits = make_splits(targets, None, 0, SHARES)
        assert set(splits) == set(SHARES)


def test_fewer_units_than_splits_are_refused_in_words() -> None:
    with pytest.raises(InputError, match="2 patients cannot be cut into train, val, test"):
        make_splits(np.zeros(9, np.int64), ["a"] * 4 + ["b"] * 5, 0, SHARES)


@pytest.mark.parametrize(
    ("text", "split"),
    [("Training", "train"), ("valid", "val"), ("VALIDATION", "val"), (" Test ", "test"), ("testing", "test")],
)
def test_words_for_splits(text: str, split: str) -> None:
    assert split_word(text) == split
    assert split_word(text + "s") is None
