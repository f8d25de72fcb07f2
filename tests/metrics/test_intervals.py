"""Wilson's interval; the bootstrap: what is drawn, that it repeats, that it ends in None and never in NaN."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm, t

from medmamba.metrics import bootstrap, summarise, wilson
from medmamba.metrics.intervals import resample_weights, units_and_strata
from medmamba.metrics.tails import expanded_tails, t_quantile
from medmamba.tasks import Task


def mean_score(scores, targets, weights):
    """The mean of one column, the simplest figure there is."""
    return (weights @ scores[:, None]) / weights.sum(axis=1, keepdims=True)


def weights_of(targets, groups=None, resamples=200, seed=0):
    return np.concatenate(list(resample_weights(targets, groups, resamples, seed)))


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 23), (2, 23), (81, 263), (7180, 7180)])
def test_wilson_equals_scipy(successes, trials):
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    low, high = wilson(successes, trials)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= successes / trials <= high <= 1
    assert low < high


def test_wilson_of_nothing_is_none():
    assert wilson(0, 0) is None


def test_images_are_drawn_within_their_class():
    targets = np.array([0] * 30 + [1] * 5 + [3] * 2)
    weights = weights_of(targets)
    assert weights.shape == (200, 37)
    for k, size in ((0, 30), (1, 5), (3, 2)):
        assert (weights[:, targets == k].sum(axis=1) == size).all()
    assert weights[:, 0].std() > 0.5
    assert abs(weights.mean() - 1) < 1e-12


def test_f035_patients_are_drawn_whole():
    groups = ["b", "a", "b", "c", "a", "b", "d"]
    weights = weights_of(np.array([0, 0, 0, 1, 0, 0, 1]), groups)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, 0] + weights[:, 1] == 2).all(), "two patients of class 0, two draws"


def test_a_patient_with_several_classes_counts_for_the_rarest():
    units, strata = units_and_strata(np.array([0, 0, 0, 1, 2, 2]), ["a", "a", "b", "b", "c", "c"])
    assert list(units) == [0, 0, 1, 1, 2, 2]
    assert len(set(strata)) == 3


def test_one_patient_an_image_is_the_same_as_no_patients():
    targets = np.array([0, 1, 0, 1, 1, 0])
    assert sorted(units_and_strata(targets, ["f", "e", "d", "c", "b", "a"])[1]) == [0, 0, 0, 1, 1, 1]


def test_draws_do_not_depend_on_the_size_of_portions(monkeypatch):
    targets = np.arange(100) % 3
    whole = weights_of(targets)
    monkeypatch.setattr("medmamba.metrics.intervals._WEIGHTS_AT_ONCE", 1000)
    assert (weights_of(targets) == whole).all()


def test_the_interval_of_a_mean_is_that_of_theory():
    scores = np.random.default_rng(0).normal(size=400)
    ((low, high),) = bootstrap(mean_score, scores, np.zeros(400, dtype=np.int64), resamples=4000)
    half = 1.96 * scores.std() / 20
    assert low == pytest.approx(scores.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(scores.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_quantiles_of_t_equal_scipy(level):
    df = np.array([3, 4.5, 5, 8, 20, 41, 1000.0, np.inf])
    expected = t.ppf((1 + level) / 2, df)
    found = t_quantile(level, df)
    assert found[df >= 3] == pytest.approx(expected, rel=0.01)
    assert found[df >= 5] == pytest.approx(expected[df >= 5], rel=0.001)
    assert found[df >= 20] == pytest.approx(expected[df >= 20], rel=1e-6)


def test_tails_are_those_of_hesterberg_where_all_images_are_drawn_alike():
    for n in (5, 10, 42, 1000):
        (tail,) = expanded_tails(0.95, np.array([n]), np.array([[0.3]]))
        assert tail == pytest.approx(norm.cdf(-np.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1)), rel=0.01)
    assert expanded_tails(0.95, np.array([2]), np.array([[0.3]])) < 1e-6, "two cases: the range of all resamples"
    assert expanded_tails(0.95, np.array([1, 30]), np.array([[0.0], [0.0]])) == pytest.approx(0.025), "constant"


def test_a_small_class_widens_the_figures_that_hang_on_it():
    sizes = np.array([1000, 4])
    of_many, of_both, of_few = expanded_tails(0.95, sizes, np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]))
    assert of_many == pytest.approx(norm.cdf(-np.sqrt(1000 / 999) * t.ppf(0.975, 999)), rel=1e-3)
    assert of_few == pytest.approx(norm.cdf(-np.sqrt(4 / 3) * t.ppf(0.975, 3)), rel=0.05)
    assert of_few < of_both < of_many


def test_the_interval_of_few_cases_is_that_of_student():
    """Ten cases of one class beside a thousand of another: Student's t with nine degrees of freedom."""
    generator = np.random.default_rng(0)
    scores, targets = generator.normal(size=1010), np.repeat([0, 1], [1000, 10])
    few = targets == 1

    def means(scores, targets, weights):
        return np.stack([(weights[:, side] @ scores[side]) / side.sum() for side in (few, ~few)], axis=1)

    intervals = bootstrap(means, scores, targets, resamples=20_000)
    for side, (low, high) in zip((few, ~few), intervals, strict=True):
        n = side.sum()
        half = t.ppf(0.975, n - 1) * scores[side].std(ddof=1) / np.sqrt(n)
        assert high - low == pytest.approx(2 * half, rel=0.05)


def test_level_widens_and_seed_repeats():
    scores, targets = np.random.default_rng(0).normal(size=100), np.zeros(100, dtype=np.int64)
    first, again, other = (bootstrap(mean_score, scores, targets, seed=seed)[0] for seed in (0, 0, 1))
    assert first == again
    assert first != other
    low, high = bootstrap(mean_score, scores, targets, level=0.99)[0]
    assert low < first[0]
    assert high > first[1]


def test_nothing_to_draw_from_gives_none():
    assert bootstrap(mean_score, np.array([0.3]), np.array([1])) == [None]
    assert bootstrap(mean_score, np.array([0.3, 0.4]), np.array([0, 1])) == [None]
    assert bootstrap(mean_score, np.array([0.3, 0.4]), np.array([0, 0]), groups=["a", "a"]) == [None]


def test_a_figure_that_is_often_undefined_has_no_interval():
    def sometimes(share):
        def statistic(scores, targets, weights):
            values = np.arange(len(weights), dtype=float)
            values[: int(share * len(weights))] = np.nan
            return values[:, None]

        return statistic

    targets = np.zeros(10, dtype=np.int64)
    assert bootstrap(sometimes(0.2), np.zeros(10), targets) == [None]
    ((low, high),) = bootstrap(sometimes(0.04), np.zeros(10), targets)
    assert 80 < low < high < 2000


def test_no_resamples_is_refused():
    with pytest.raises(ValueError, match="at least one resample"):
        bootstrap(mean_score, np.zeros(3), np.zeros(3, dtype=np.int64), resamples=0)


def test_a_thousand_resamples_do_not_sort_a_thousand_times(monkeypatch):
    sorted_arrays = []
    for name in ("sort", "argsort"):
        sort = getattr(np, name)
        monkeypatch.setattr(np, name, lambda *given, sort=sort, **ways: sorted_arrays.append(1) or sort(*given, **ways))
    generator = np.random.default_rng(0)
    scores, targets = generator.dirichlet(np.ones(7), 2000), generator.integers(0, 7, 2000)
    summarise(Task.MULTICLASS, scores, targets, [str(k) for k in range(7)], resamples=1000)
    assert 0 < len(sorted_arrays) < 100
