"""The pictures: that they are drawn for every task and awkward names, nothing cut off, pyplot never touched."""

import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from medmamba.drawing import COLOURS, require_matplotlib
from medmamba.errors import InputError
from medmamba.evaluation import plots
from medmamba.metrics import summarise
from medmamba.tasks import Task

AWKWARD = ("_hidden", "$x_1", "costs $5 or $6", "a name that is far too long for one line of a small picture")


def drawn(task, names, n=60, absent=None):
    generator = np.random.default_rng(0)
    shape = (n, len(names)) if task is Task.MULTILABEL else n
    targets = generator.integers(0, 2 if task is Task.MULTILABEL else len(names), shape)
    if absent is not None:
        targets[targets == absent] = 0
    scores = generator.dirichlet(np.ones(len(names)), n)
    summary = summarise(task, scores, targets, names, resamples=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in
                (plots.confusion_matrix(summary), plots.roc(summary, scores, targets))]  # fmt: skip


@pytest.mark.parametrize("task", list(Task))
def test_nothing_is_cut_off(task):
    for picture in drawn(task, AWKWARD[:2] if task is Task.BINARY else AWKWARD):
        assert min(picture.shape[:2]) > 300
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (border == 255).all(), "something touches the edge"
        assert (picture < 250).any()


def test_an_absent_class_has_no_curve_and_breaks_nothing():
    whole, absent = drawn(Task.MULTICLASS, ("a", "b", "c"))[1], drawn(Task.MULTICLASS, ("a", "b", "c"), absent=2)[1]
    third = tuple(int(COLOURS[2][k : k + 2], 16) for k in (1, 3, 5))
    assert (whole == third).all(axis=-1).any()
    assert not (absent == third).all(axis=-1).any()


@pytest.mark.parametrize("classes", [30, 70])
def test_many_classes_stay_small_enough_to_look_at(classes):
    for picture in drawn(Task.MULTICLASS, tuple(f"class {k}" for k in range(classes)), n=300):
        assert max(picture.shape[:2]) < 3000


def test_one_class_only_still_gives_pictures():
    scores, targets = np.full((5, 3), 1 / 3), np.zeros(5, dtype=np.int64)
    summary = summarise(Task.MULTICLASS, scores, targets, ("a", "b", "c"), resamples=20)
    for png in (plots.confusion_matrix(summary), plots.roc(summary, scores, targets)):
        Image.open(io.BytesIO(png)).load()


def test_pyplot_is_never_imported_and_matplotlib_not_before_it_is_needed():
    code = """
import sys
import numpy as np
from medmamba.errors import InputError
from medmamba.evaluation import plots
from medmamba.metrics import summarise
from medmamba.tasks import Task
assert "matplotlib" not in sys.modules
scores, targets = np.array([[0.4, 0.6], [0.7, 0.3]]), np.array([1, 0])
plots.roc(summarise(Task.BINARY, scores, targets, ("a", "b"), resamples=0), scores, targets)
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'medmamba\[train\]'"):
        require_matplotlib("train")
