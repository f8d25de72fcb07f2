"""What several seeds say together, against a slow loop over resamples."""

from pathlib import Path

import numpy as np
import pytest

from medmamba.errors import InputError
from medmamba.metrics import accuracy, auc, f1
from medmamba.metrics.intervals import resample_weights
from medmamba.paper.cells import FIGURES, RunResult, mean_over_sets, paired, summarise
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
