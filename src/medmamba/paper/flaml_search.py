"""A classical model chosen by FLAML (Wang et al. 2021, MLSys): trees and logistic regression on a table of numbers.

It stands where the paper's tables 3 to 6 have auto-sklearn. The trials are fitted on the training rows, the best one is
taken by its AUC on the validation rows, and it is not fitted again: nothing else has a say.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from medmamba.errors import FailedError, InputError
from medmamba.metrics import auc
from medmamba.tasks import Task

# gradient boosting, random forest, extremely randomised trees, logistic regression with an L1 penalty; in FLAML's names
ESTIMATORS = ("lgbm", "rf", "extra_tree", "lrl1")
FEWEST_TRIALS = 2  # with one, FLAML leaves the validation rows out


@dataclass(frozen=True)
class Budget:
    """When a search ends; one of the two.

    Attributes:
        seconds: Of the clock on the wall. What is tried in them depends on the machine and on what else it does, so two
            runs with one seed may differ.
        trials: Models fitted, the estimators in turn. Two runs with one seed, one machine and one set of versions are
            equal, however long they take.
    """

    seconds: float | None = None
    trials: int | None = None

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.trials is None):
            raise InputError("a search ends after seconds or after trials; give one of the two")
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise InputError(f"{self.seconds} seconds are no time to search in; give more than 0")
        if self.trials is not None and self.trials < FEWEST_TRIALS:
            raise InputError(f"{self.trials} trials leave nothing to choose from; give {FEWEST_TRIALS} or more")

    def __str__(self) -> str:
        return f"{self.trials}trials" if self.seconds is None else f"{self.seconds:g}s"


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of numbers with their classes.

    Attributes:
        values: (n, d), float32, finite.
        targets: Class indices (n,), int64.
    """

    values: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True, eq=False)
class View:
    """The training rows as FLAML sees them: columns of mean 0 and deviation 1, classes without a gap."""

    mean: np.ndarray
    deviation: np.ndarray
    present: np.ndarray
    classes: int

    @classmethod
    def of(cls, train: Table, classes: int) -> View:
        """From rows (n, d)."""
        deviation = train.values.std(axis=0)
        deviation[deviation == 0] = 1
        return cls(train.values.mean(axis=0), deviation, np.unique(train.targets), classes)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """(n, d) to the same shape."""
        return (values - self.mean) / self.deviation

    def labels(self, targets: np.ndarray) -> np.ndarray:
        """Class indices (n,) to places among the classes that are present."""
        return np.searchsorted(self.present, targets)

    def scores(self, model: Any, scaled: np.ndarray) -> np.ndarray:
        """Probabilities (n, classes), float64; a class without training rows has 0."""
        scores = np.zeros((len(scaled), self.classes))
        scores[:, self.present] = model.predict_proba(scaled)
        return scores


@dataclass(frozen=True, eq=False)
class Found:
    """The model that a search chose.

    Attributes:
        view: How rows reach it.
        model: Has `predict_proba`.
        record: About the search, as JSON takes it: `estimators`, `budget_seconds`, `budget_trials`, `repeatable`,
            `trials` made, `best_trial` (from 1), `best_estimator`, `best_config`, `validation_auc` of the best of each
            estimator (None where none ended), `seed`, `threads`, `wall_seconds` and `processor_seconds`: where the
            second is far below the first, the machine had other work.
    """

    view: View
    model: Any
    record: dict[str, Any]

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Probabilities, (n, classes), float64, of rows (n, d)."""
        return self.view.scores(self.model, self.view.scaled(values))


def require_flaml() -> None:
    """Raise `InputError` with what to install where FLAML or its AutoML is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of FLAML without AutoML, which we say in our own words
            from flaml import AutoML  # noqa: F401
    except ImportError:
        raise InputError(
            "the AutoML baseline needs FLAML, which is not installed; pip install 'medmamba[automl]'"
        ) from None


def search(
    task: Task,
    train: Table,
    val: Table,
    classes: int,
    budget: Budget,
    *,
    positive: int = 1,
    seed: int = 0,
    threads: int = 1,
) -> Found:
    """Choose and fit a classical model.

    Args:
        task: Binary, multi-class or ordinal, the last without regard to the order, as MedMNIST does.
        train: What models are fitted on; columns are scaled by its means and deviations.
        val: What the choice is made by.
        classes: How many there are.
        budget: When to end. A model at work when the time is up is given up where it can be.
        positive: Index of the positive class of a binary task.
        seed: Of the search and of the models.
        threads: Of each model.

    Raises:
        InputError: FLAML is missing, or there is nothing to learn from or to choose by.
        FailedError: No model was ready in time.
    """
    require_flaml()
    _check(task, train, val, threads)
    view, trials = View.of(train, classes), 0

    def loss(rows: Any, _targets: Any, model: Any, *_: Any, **__: Any) -> tuple[float, dict[str, float]]:
        nonlocal trials
        trials += 1
        area = auc(task, view.scores(model, rows), val.targets, positive)
        assert area is not None  # `_check` saw two classes
        return 1 - area, {"auc": area}

    began, worked = time.perf_counter(), time.process_time()
    automl = _fit(view, train, val, loss, budget, seed, threads)
    seconds = {"wall_seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - worked}
    if automl.model is None:
        raise FailedError(f"no model was ready after {seconds['wall_seconds']:.0f} seconds; give the search more time")
    record = {
        "estimators": list(ESTIMATORS),
        "budget_seconds": budget.seconds,
        "budget_trials": budget.trials,
        "repeatable": budget.trials is not None,
        "trials": trials,
        "best_trial": automl.best_iteration + 1,
        "best_estimator": automl.best_estimator,
        "best_config": {name: np.asarray(value).item() for name, value in automl.best_config.items()},
        "validation_auc": {name: _area(lost) for name, lost in automl.best_loss_per_estimator.items()},
        "seed": seed,
        "threads": threads,
        **{name: round(value, 1) for name, value in seconds.items()},
    }
    return Found(view, automl, record)


def _check(task: Task, train: Table, val: Table, threads: int) -> None:
    if task is Task.MULTILABEL:
        raise InputError(
            "the AutoML baseline takes one class an image, not a multi-label task; choose another data set"
        )
    if threads < 1:
        raise InputError(f"{threads} threads compute nothing; give 1 or more")
    for name, table in {"training": train, "validation": val}.items():
        if (count := len(np.unique(table.targets))) < 2:
            raise InputError(f"the {name} split has images of {count} classes; give it images of two or more")
    if strange := sorted(set(val.targets.tolist()) - set(train.targets.tolist())):
        raise InputError(f"class number {strange[0]} has validation images and no training image; give it some")


def _fit(view: View, train: Table, val: Table, loss: Any, budget: Budget, seed: int, threads: int) -> Any:
    """FLAML's object after its search."""
    from flaml import AutoML
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    automl = AutoML()
    with threadpool_limits(limits=threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a trial that has not converged is judged like any other
        automl.fit(
            view.scaled(train.values),
            view.labels(train.targets),
            X_val=view.scaled(val.values),
            y_val=view.labels(val.targets),
            task="binary" if len(view.present) == 2 else "multiclass",
            metric=loss,
            time_budget=-1 if budget.seconds is None else budget.seconds,
            max_iter=budget.trials,
            # the usual way to choose an estimator goes by the time that each took, and is not repeatable
            learner_selector="sample" if budget.trials is None else "roundrobin",
            estimator_list=list(ESTIMATORS),
            custom_hp={name: {"random_state": {"domain": seed}} for name in ESTIMATORS},  # else the same for all seeds
            eval_method="holdout",
            retrain_full=False,  # on training and validation rows together
            sample=False,  # every trial has all rows
            auto_augment=False,
            skip_transform=True,  # rows are numbers without gaps
            n_jobs=threads,
            seed=seed,
            verbose=0,
            mlflow_logging=False,
        )
    return automl


def _area(loss: float) -> float | None:
    return 1 - float(loss) if np.isfinite(loss) else None
