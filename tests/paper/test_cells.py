"""What several seeds say together, against a slow loop over resamples."""

from pathlib import Path

import numpy as np
import pytest

from medmamba.errors import InputError
from medmamba.metrics import accuracy, auc, f1
from medmamba.metrics.intervals import resample_weights
from medmamba.paper.cells import as_one, mean_over_sets, paired, paired_over_sets, summarise
from medmamba.paper.run_result import FIGURES, RunResult
from medmamba.tasks import Task, decide


def result(seed: int, n: int = 60, classes: int = 3, skill: float = 1.0, groups: bool = False) -> RunResult:
    """A run whose scores know something of the targets."""
    rng = np.random.default_rng((seed, int(10 * skill)))
    targets = np.arange(n) % classes
    logits = rng.normal(size=(n, classes)) + skill * np.eye(classes)[targets]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    task = Task.BINARY if classes == 2 else Task.MULTICLASS
    made = RunResult(Path(f"run-{seed}.json"), {"seed": seed, "task": str(task), "positive": classes - 1})
    arrays = {"scores": scores.astype(np.float32), "targets": targets}
    if groups:
        arrays["groups"] = np.arange(n) // (2 * classes) * classes + targets
    made.__dict__["arrays"] = arrays
    return made


def slow(runs: list[RunResult], rows: np.ndarray, name: str) -> list[float]:
    """One figure of each run on drawn rows."""
    values = []
    for run in runs:
        scores, targets = run.arrays["scores"][rows].astype(float), run.arrays["targets"][rows]
        decisions = decide(run.task, scores, threshold=0.5, positive=run.entries["positive"])
        if name == "auc":
            values.append(auc(run.task, scores, targets, run.entries["positive"]))
        elif name == "f1":
            values.append(float(np.mean(f1(decisions, targets, scores.shape[1]))))
        else:
            values.append(accuracy(decisions, targets))
    return values


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["accuracy", "auc", "f1"])
def test_cell_and_difference_equal_a_loop_over_resamples(name: str, classes: int, groups: bool) -> None:
    a, b = ([result(seed, classes=classes, skill=skill, groups=groups) for seed in range(3)] for skill in (1.0, 2.0))
    resamples = 200
    arrays = a[0].arrays
    units = arrays["groups"].astype(str).tolist() if groups else None
    (weights,) = resample_weights(arrays["targets"], units, resamples, 5)
    chosen = np.random.default_rng((5, 1)).integers(0, 3, (resamples, 3))
    drawn: dict[str, list[float]] = {"cell": [], "difference": []}
    for row, seeds in zip(weights, chosen, strict=True):
        rows = np.repeat(np.arange(len(row)), row.astype(int))
        first, second = (np.mean([slow(runs, rows, name)[seed] for seed in seeds]) for runs in (a, b))
        drawn["cell"].append(first)
        drawn["difference"].append(second - first)
    cell, difference = summarise(a, resamples=resamples, seed=5), paired(a, b, resamples=resamples, seed=5)[name]
    for found, values in ((cell.figures[name], drawn["cell"]), (difference, drawn["difference"])):
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)
    everything = np.arange(len(arrays["targets"]))
    values = slow(a, everything, name)
    assert cell.figures[name].values == pytest.approx(values)
    assert (cell.figures[name].mean, cell.figures[name].sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert difference.mean == pytest.approx(np.mean(slow(b, everything, name)) - np.mean(values))


def test_a_cell_is_the_same_for_the_same_seed_and_any_order_and_has_all_figures() -> None:
    runs = [result(seed) for seed in range(3)]
    cell = summarise(runs)
    assert cell == summarise(runs[::-1])
    assert (cell.runs, cell.seeds, cell.n) == (3, (0, 1, 2), 60)
    assert set(cell.figures) == set(FIGURES)
    for estimate in cell.figures.values():
        assert estimate.low < estimate.mean < estimate.high


def test_seeds_that_differ_widen_the_interval() -> None:
    alike = [result(0), result(0), result(0)]
    for seed, run in enumerate(alike):
        run.entries["seed"] = seed
    different = [result(seed, skill=skill) for seed, skill in enumerate((0.3, 1.0, 2.5))]
    widths = [
        summarise(runs).figures["accuracy"].high - summarise(runs).figures["accuracy"].low
        for runs in (alike, different)
    ]
    assert widths[1] > 1.3 * widths[0]
    assert summarise(alike).figures["accuracy"].sd == 0
    assert summarise(alike[:1]).figures["accuracy"].sd is None


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(InputError, match="different seeds"):
        summarise([result(0), result(0)])
    with pytest.raises(InputError, match="none"):
        summarise([])
    with pytest.raises(InputError, match="different images"):
        summarise([result(0), result(1, n=63)])
    with pytest.raises(InputError, match="no pairs"):
        paired([result(0)], [result(1)])


def test_of_a_cell_images_count_once_seeds_add_their_own_spread_and_patients_count_whole() -> None:
    def cell(shares: tuple[float, ...], patients: bool = False) -> float:
        """The width of the interval of accuracy, of 400 images; each patient's four all right or all wrong."""
        runs = []
        for seed, share in enumerate(shares):
            run = result(seed, n=400, classes=2)
            targets = run.arrays["targets"]
            patient = np.arange(400) // 8 * 2 + targets
            order = np.random.default_rng(0).permutation(100)
            right = order[patient] < 100 * share
            answers = np.where(right, targets, 1 - targets)
            run.arrays["scores"] = np.eye(2, dtype=np.float32)[answers]
            if patients:
                run.arrays["groups"] = patient
            runs.append(run)
        estimate = summarise(runs).figures["accuracy"]
        return estimate.high - estimate.low

    one = cell((0.8,))
    assert one == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 400), rel=0.1)
    assert cell((0.8, 0.8, 0.8)) == pytest.approx(one, rel=0.05)  # three equal seeds say no more than one
    assert cell((0.7, 0.8, 0.9)) > 2 * 1.96 * np.sqrt(0.02 / 9)  # of seeds drawn with replacement: 0.02 / 3 / 3
    assert cell((0.8,), patients=True) > 1.7 * one


def test_a_mean_over_sets_draws_each_by_itself() -> None:
    runs = [result(seed) for seed in range(3)]
    one, two = summarise(runs).figures["accuracy"], mean_over_sets([runs, runs])["accuracy"]
    assert mean_over_sets([runs])["accuracy"].low == one.low
    assert two.mean == pytest.approx(one.mean)
    assert two.values == pytest.approx((one.mean, one.mean))
    assert two.high - two.low == pytest.approx((one.high - one.low) / np.sqrt(2), rel=0.15)


def answers(seed: int, right: int, n: int = 100) -> RunResult:
    """A run that is sure of all its answers, of which the first `right` of each class of n / 2 are right."""
    run = result(seed, n=n, classes=2)
    targets = run.arrays["targets"]
    run.arrays["scores"] = np.eye(2, dtype=np.float32)[np.where(np.arange(n) // 2 < right, targets, 1 - targets)]
    return run


def test_a_paired_mean_over_sets_is_that_of_the_differences_and_each_set_is_drawn_by_itself() -> None:
    """By hand: b has 45 of 50 right in each class of the first set, a 40, with one seed 35; 50 and 30 in the second."""
    a = [[answers(0, 40), answers(1, 35)], [answers(0, 30)]]
    b = [[answers(1, 45), answers(0, 45)], [answers(0, 50)]]
    found = paired_over_sets(a, b)["accuracy"]
    assert found.values == pytest.approx(((0.1 + 0.2) / 2, 0.4))
    assert found.mean == pytest.approx((0.15 + 0.4) / 2)
    # drawn apart: the images of each set, and the first one's seeds (spread of the mean of two drawn with replacement)
    images = (np.mean([0.1, 0.2]) * 0.85 / 100, 0.4 * 0.6 / 100)
    half = 1.96 * np.sqrt(sum(images) + 0.05**2 / 2) / 2
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.012)
    one = paired(a[0], b[0])["accuracy"]
    alone = paired_over_sets(a[:1], b[:1])["accuracy"]
    assert (alone.mean, alone.low, alone.high, alone.p) == pytest.approx((one.mean, one.low, one.high, one.p))
    with pytest.raises(InputError, match="no pairs"):
        paired_over_sets(a, [b[0][:1], b[1]])


def test_a_difference_has_a_p_that_goes_with_its_interval() -> None:
    a, far, near = ([result(seed, n=150, skill=skill) for seed in range(3)] for skill in (1.0, 2.5, 1.15))
    assert paired(a, far)["auc"].p == pytest.approx(2 / 2001)
    found = paired(a, near)["auc"]
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    assert paired(a, a)["auc"].p == 1
    assert summarise(a).figures["auc"].p is None


def test_several_as_one_answer_by_the_mean_of_their_probabilities() -> None:
    runs = [result(seed, n=240) for seed in range(3)]
    one, gain = as_one(runs, resamples=200)
    mean = np.mean([run.arrays["scores"].astype(float) for run in runs], axis=0)
    targets = runs[0].arrays["targets"]
    assert one["accuracy"].mean == pytest.approx(np.mean(mean.argmax(axis=1) == targets))
    assert one["auc"].mean == pytest.approx(auc(Task.MULTICLASS, mean, targets, 2))
    assert gain["auc"].mean == pytest.approx(one["auc"].mean - np.mean([run.figures()[0][1] for run in runs]))
    assert gain["auc"].low > 0  # three noisy networks of equal skill
    (weights,) = resample_weights(targets, None, 200, 0)
    drawn = weights @ (mean.argmax(axis=1) == targets) / len(targets)
    assert (one["accuracy"].low, one["accuracy"].high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    alone, nothing = as_one(runs[:1], resamples=200)
    assert alone["auc"].mean == summarise(runs[:1]).figures["auc"].mean
    assert (nothing["auc"].low, nothing["auc"].high) == (0, 0)
    with pytest.raises(InputError, match="different images"):
        as_one([result(0), result(1, n=63)])


def test_several_as_one_are_those_of_the_ensemble_of_the_package() -> None:
    from torch import nn, tensor

    from medmamba.network.ensemble import Ensemble

    class Fixed(nn.Module):
        """Answers with given logits."""

        def __init__(self, scores: np.ndarray) -> None:
            super().__init__()
            self.logits = tensor(np.log(scores))

        def forward(self, _: object) -> object:
            return self.logits

    runs = [result(seed) for seed in range(3)]
    members = [Fixed(run.arrays["scores"].astype(float)) for run in runs]
    together = Ensemble(members, mirror=False, independent=False)(tensor([0.0])).softmax(dim=-1).numpy()
    one = as_one(runs, resamples=20)[0]
    assert one["auc"].mean == pytest.approx(auc(Task.MULTICLASS, together, runs[0].arrays["targets"], 2))
