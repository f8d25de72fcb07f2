"""The page: its parts for every task, that its numbers are those of the JSON, and that nothing in it runs or asks."""

import json
import re
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from medmamba.bundle import Bundle
from medmamba.cli.verbs.report import Report
from medmamba.data import Dataset
from medmamba.data.dataset import ImageSet
from medmamba.data.preprocessing import Preprocessing
from medmamba.decisions import Conformal, Decisions
from medmamba.errors import InputError
from medmamba.report import write_report
from medmamba.report.cases import Case, pictures, sureness
from medmamba.report.page import without_folders
from medmamba.report.stress import read_robustness
from medmamba.report.verdict import sets_keep, verdict
from medmamba.tasks import Task

FILES = [
    "confusion_matrix.png",
    "curves.json",
    "metrics.json",
    "reliability.png",
    "report.html",
    "reporting-checklists.md",
    "roc.png",
    "scores.csv",
]
SECTIONS = [
    "Data",
    "Results",
    "Confusion matrix",
    "ROC and precision-recall curves",
    "Reliability of the probabilities",
    "Each class against the rest",
    "Hardest cases",
    "Limits",
    "How it was made",
]
CASES = [
    (Task.BINARY, ("benign", "malignant")),
    (Task.MULTICLASS, ("a", "b", "c")),
    (Task.ORDINAL, ("1", "2", "3")),
    (Task.MULTILABEL, ("x", "y", "z")),
]


@dataclass
class Known:
    """A classifier that answers from a table; the first pixel of an image says which row is its own."""

    bundle: Bundle
    table: np.ndarray
    device = "cpu"
    backend = "reference"
    complexity = None
    kind = None
    model = None

    def scores(self, images, *, batch_size=64, progress=None):
        return np.stack([self.table[int(images.read(row).flat[0])] for row in range(len(images))])


def case(task=Task.BINARY, classes=("benign", "malignant"), n=60, **of_images):
    generator = np.random.default_rng(0)
    shape = (n, len(classes)) if task is Task.MULTILABEL else n
    targets = generator.integers(0, 2 if task is Task.MULTILABEL else len(classes), shape)
    array = np.zeros((n, 2, 2), dtype=np.uint8)
    array[:, 0, 0] = np.arange(n)
    images = ImageSet(tuple(f"test/{row}" for row in range(n)), targets, array=array)
    images = replace(images, **of_images)
    bundle = Bundle("resnet10t", task, tuple(classes), Preprocessing(32, 32))
    data = Dataset("toy", task, tuple(classes), {"test": lambda: images}, bundle.positive)
    return Known(bundle, generator.dirichlet(np.ones(len(classes)), n)), data


def written(tmp_path, classifier, data, **options):
    report = write_report(classifier, data, out=tmp_path / "out", **({"resamples": 30} | options))
    return report, (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("task", "classes"), CASES)
def test_every_task_has_all_sections_in_order_and_all_files(tmp_path, task, classes):
    report, html = written(tmp_path, *case(task, classes))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == report
    assert re.findall(r"<h2>(.*?)</h2>", html) == SECTIONS
    assert html.count("medical device") == 1


@pytest.mark.parametrize(("task", "classes"), CASES)
def test_nothing_runs_and_nothing_is_asked_of_anyone(tmp_path, task, classes):
    html = written(tmp_path, *case(task, classes))[1]
    assert "<script" not in html
    assert "http" not in html
    assert "url(" not in html
    assert "@import" not in html
    addresses = re.findall(r'(?:src|href)="?([^">]*)', html)
    assert addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert not re.search(r"\b(nan|NaN|inf|None)\b", re.sub(r'"data:[^"]*"', "", html))


def numbers(value):
    """Every number of a JSON file, as a page writes it."""
    if isinstance(value, dict):
        return set().union(*map(numbers, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(numbers, value)) if value else set()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return set()
    return {f"{value:.3f}", f"{value:,}"}


@pytest.mark.parametrize(("task", "classes"), CASES)
def test_every_figure_in_a_table_is_one_of_the_json_file(tmp_path, task, classes):
    report, html = written(tmp_path, *case(task, classes))
    known = numbers(report)
    cells = re.findall(r"<td class=number[^>]*>(.*?)</td>", html)
    assert len(cells) > 30
    for cell in cells:
        plain = re.sub(r"<small>\d+%</small>", "", cell)  # a share of a row of the matrix
        for figure in re.findall(r"-?[\d.,]*\d", re.sub(r"<[^>]*>", " ", plain)):
            assert figure in known, cell


def test_the_figures_that_matter_stand_in_their_rows(tmp_path):
    report, html = written(tmp_path, *case())
    row = report["per_class"][1]
    auc = f"{row['auc']['value']:.3f}<small>{row['auc']['low']:.3f} to {row['auc']['high']:.3f}</small>"
    line = next(
        line for line in html.split("<tr>") if line.startswith(f"<td>malignant</td><td class=number>{row['n']}<")
    )
    assert auc in html
    assert "malignant" in line
    matrix = html.split("<h2>Confusion matrix</h2>")[1].split("<h2>")[0]
    counts = [int(n) for n in re.findall(r'rgba\([^)]*\)">(\d+)<small>', matrix)]
    assert counts == np.ravel(report["confusion_matrix"]).tolist()


def test_names_of_classes_and_files_are_escaped(tmp_path):
    names = tuple(f'<b onload="x">{row}</b>.png' for row in range(60))
    _, html = written(tmp_path, *case(classes=("<b>good</b>", '"><img src=x>'), names=names))
    assert "<b>good" not in html
    assert "<img src=x" not in html
    assert '<b onload="x">' not in html
    assert "&lt;b&gt;good&lt;/b&gt;" in html
    assert "&lt;b onload=&quot;x&quot;&gt;" in html


def test_one_image_and_an_absent_class_are_no_trouble(tmp_path):
    report, html = written(tmp_path / "one", *case(Task.MULTICLASS, ("a", "b", "c"), n=1))
    assert report["n"] == 1
    assert "No curve can be drawn" in html
    classifier, data = case(Task.MULTICLASS, ("a", "b", "c"))
    targets = np.minimum(data.split("test").targets, 1)
    absent = replace(data.split("test"), targets=targets)
    report, html = written(tmp_path / "absent", classifier, replace(data, splits={"test": lambda: absent}))
    assert report["absent_classes"] == ["c"]
    assert re.findall(r"<h2>(.*?)</h2>", html) == SECTIONS
    assert "There are no cases here of &#x27;c&#x27;" in html


def test_the_verdict_compares_with_the_most_frequent_class_and_warns(tmp_path):
    classifier, data = case()
    report, html = written(tmp_path, classifier, data)
    said = " ".join(verdict(classifier.bundle, report, None))
    assert "answers 'malignant' from a probability of 0.5 on, else 'benign'" in said
    assert f"AUC is {report['auc']['value']:.3f} (" in said
    assert f"always answering '{report['majority_baseline']['class']}'" in said
    assert "Warning" not in said  # the note is about the accuracy, which stands there already
    assert "no better than" in said or "not clearly better than" in said
    warned = verdict(classifier.bundle, report | {"notes": ["evaluated in spite of x", *report["notes"]]}, None)
    assert warned[-1] == "Warning: Evaluated in spite of x."
    assert 'class="verdict bad"' in html
    classifier.table = np.eye(2)[data.split("test").targets] * 0.98 + 0.01
    report, html = written(tmp_path, classifier, data)
    said = " ".join(verdict(classifier.bundle, report, None))
    assert ", better than always" in said
    assert 'class="verdict bad"' not in html


def test_sets_that_break_their_promise_are_said_to(tmp_path):
    classifier, data = case()
    for quantile, keeps in ((0.999, True), (0.05, False)):
        conformal = Conformal(0.1, (quantile, quantile), by_class=False)
        classifier.bundle = replace(classifier.bundle, decisions=Decisions(conformal=conformal, fitted={"n": 50}))
        report, html = written(tmp_path, classifier, data)
        assert sets_keep(report["prediction_sets"]) is keeps
        assert f"Prediction sets {'keep' if keeps else 'break'} their promise" in html
        assert "<h2>Prediction sets and scope</h2>" in html


def test_the_hardest_cases_are_the_surest_errors(tmp_path):
    classifier, data = case(Task.MULTICLASS, ("a", "b", "c"))
    targets = data.split("test").targets
    classifier.table = np.eye(3)[targets] * 0.7 + 0.1
    classifier.table[17] = np.roll(np.array([0.9, 0.05, 0.05]), int(targets[17]) + 1)
    classifier.table[4] = 0.3
    classifier.table[4, targets[4]] = 0.4
    html = written(tmp_path, classifier, data)[1].split("<h2>Hardest cases</h2>")[1]
    wrong, right = html.split("<h3>Right and unsure</h3>")
    assert re.findall(r"test/\d+", wrong) == ["test/17"]
    assert re.findall(r"test/\d+", right)[0] == "test/4"


def test_sureness_is_measured_from_the_threshold():
    bundle = replace(case()[0].bundle, threshold=0.2)
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [1.0, 0.0]])
    right, sure = sureness(bundle, scores, np.array([0, 1, 0, 1]))
    assert right.tolist() == [True, True, False, False]
    assert sure == pytest.approx([0.5, 0, 0.75, 1])
    labels = replace(bundle, task=Task.MULTILABEL, threshold=0.5)
    right, sure = sureness(labels, np.array([[0.9, 0.4], [0.9, 0.6]]), np.array([[1, 0], [0, 0]]))
    assert right.tolist() == [True, False]
    assert sure == pytest.approx([0.2, 0.8])


def test_heat_maps_stand_beside_the_pictures_of_a_network(tmp_path):
    pytest.importorskip("pytorch_grad_cam")
    classifier, data = case(n=12)
    torch.manual_seed(0)
    classifier.model = classifier.bundle.build_model().eval()
    _, html = written(tmp_path, classifier, data)
    assert "where the network found evidence" in html
    assert html.count("data:image/jpeg") == 2 * html.count('class="case"')


def test_without_a_network_the_page_says_why_there_are_no_maps(tmp_path):
    _, html = written(tmp_path, *case())
    assert "Heat maps are left out: an exported file has no gradients" in html


def figure(value):
    return {"value": value, "low": max(0.0, value - 0.05), "high": min(1.0, value + 0.05)}


def sweep(report, **changes):
    """As `robustness.json` holds it, of two severities of one corruption."""
    figures = ("accuracy", "auc", "balanced_error", "flip_rate", "ece")
    clean = dict.fromkeys(figures, figure(0.3)) | {"accuracy": report["accuracy"]}
    cells = [
        {"corruption": "gaussian_<i>", "severity": k, **dict.fromkeys(figures, figure(0.1 * k))}
        for k in (5, 4, 3, 2, 1)
    ]
    corruptions = [{"name": "gaussian_<i>", "applies": True}, {"name": "colour", "applies": False}]
    about = {"name": "toy", "split": "test", "images": report["n"], "notes": []}
    return {
        "n": report["n"],
        "classes": report["classes"],
        "model": report["model"],
        "clean": clean,
        "cells": cells,
        "corruptions": corruptions,
        "data": about,
        "notes": ["colour: not applicable."],
    } | changes


def test_robustness_is_shown_worst_first_if_it_is_of_these_images(tmp_path):
    classifier, data = case()
    report, _ = written(tmp_path, classifier, data)
    folder = tmp_path / "robustness-test"
    folder.mkdir()
    (folder / "robustness.json").write_text(json.dumps(sweep(report)))
    _, html = written(tmp_path, classifier, data, robustness=folder)
    part = html.split("<h2>Robustness</h2>")[1].split("<h2>Limits</h2>")[0]
    assert re.findall(r"<tr><td>gaussian &lt;i&gt;</td><td class=number>(\d)</td>", part) == list("54321")
    assert part.count("<svg role=") == 1
    assert "gaussian &lt;i&gt; at severity 5 of 5 is the worst" in html
    assert "was not measured; `medmamba robustness`" not in html
    other = sweep(report, data={"name": "other", "split": "test", "images": 60, "notes": []})
    (folder / "robustness.json").write_text(json.dumps(other))
    _, html = written(tmp_path, classifier, data, robustness=folder)
    assert "<h2>Robustness</h2>" not in html
    assert "is of another data (other, here toy) and is left out" in html


def test_a_missing_or_damaged_file_of_robustness_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"no robustness\.json"):
        written(tmp_path, *case(), robustness=tmp_path)
    (tmp_path / "robustness.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read_robustness(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_nothing_half_written(tmp_path, monkeypatch):
    monkeypatch.setattr("medmamba.evaluation.plots.roc", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        written(tmp_path, *case())
    assert not (tmp_path / "out").exists()


def test_subgroups_stand_in_a_table_of_their_own(tmp_path):
    sites = tuple("north <1>" if row % 2 else "south" for row in range(60))
    _, html = written(tmp_path, *case(attributes={"site": sites}), by=("site",))
    part = html.split("<h2>Subgroups</h2>")[1].split("<h2>")[0]
    assert "north &lt;1&gt;" in part
    assert part.count("<td class=number>30</td>") == 2


def test_the_command_finds_what_robustness_wrote_and_says_where_the_page_is(tmp_path, monkeypatch, capsys):
    classifier, data = case()
    report, _ = written(tmp_path, classifier, data)
    monkeypatch.setattr("medmamba.predictor.load", lambda path, device: classifier)
    monkeypatch.setattr("sys.argv", ["medmamba", "report", "RUN", "<DATA>"])
    assert Report(tmp_path, data, resamples=20).run() == 0
    html = (tmp_path / "report-test" / "report.html").read_text()
    assert "<h2>Robustness</h2>" not in html
    assert "medmamba report RUN &lt;DATA&gt;" in html
    assert capsys.readouterr().out.rstrip().endswith(str(tmp_path / "report-test" / "report.html"))
    (tmp_path / "robustness-test").mkdir()
    (tmp_path / "robustness-test" / "robustness.json").write_text(json.dumps(sweep(report)))
    assert Report(tmp_path, data, resamples=20).run() == 0
    assert "<h2>Robustness</h2>" in (tmp_path / "report-test" / "report.html").read_text()


def test_without_grad_cam_the_page_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    classifier, data = case(n=6)
    classifier.model = classifier.bundle.build_model().eval()
    _, html = written(tmp_path, classifier, data)
    assert "Heat maps are left out: heat maps need grad-cam: pip install &#x27;medmamba[explain]&#x27;" in html


def test_many_classes_have_grey_curves_and_their_matrix_behind_a_click(tmp_path):
    _, html = written(tmp_path, *case(Task.MULTICLASS, [f"class {k}" for k in range(30)], n=250), resamples=5)
    curves = html.split("<h2>ROC and precision-recall curves</h2>")[1].split("<h2>")[0]
    assert "var(--c" not in curves
    assert curves.count("var(--grey)") > 30
    assert "<summary>30 x 30 cells</summary>" in html
    assert len(html) < 2_000_000


def test_groups_that_are_not_said_to_be_patients_are_not_called_so(tmp_path):
    groups = tuple(str(row // 2) for row in range(60))
    report, html = written(tmp_path / "groups", *case(groups=groups, unit="group"))
    assert report["data"]["unit"] == "group"
    assert "on the 60 images of 30 groups of the split test" in html
    assert "<th>patients</th><td>not known</td>" in html
    assert "do not say that these are patients" in html
    page = (tmp_path / "groups" / "out" / "reporting-checklists.md").read_text()
    assert "evaluated: 60 images of 30 groups" in page
    report, html = written(tmp_path / "patients", *case(groups=groups))
    assert report["data"]["unit"] == "patient"
    assert "images of 30 patients of" in html
    assert "do not say that these are patients" not in html
    assert written(tmp_path / "none", *case())[0]["data"]["unit"] == "image"


def test_the_paragraph_says_what_share_of_each_class_is_found(tmp_path):
    report, html = written(tmp_path / "binary", *case())
    assert (
        f"Its sensitivity for &#x27;malignant&#x27; is {report['positive_class']['sensitivity']['value']:.3f} (" in html
    )
    report, html = written(tmp_path / "classes", *case(Task.MULTICLASS, ("a", "b", "c")))
    row = report["per_class"][0]
    assert f"It finds {row['sensitivity']['value']:.0%} of the {row['n']} of &#x27;a&#x27;, " in html


def test_sets_that_name_every_class_are_said_to_leave_the_answer_to_a_person(tmp_path):
    classifier, data = case()
    conformal = Conformal(0.1, (0.9999, 0.9999), by_class=True)
    classifier.bundle = replace(classifier.bundle, decisions=Decisions(conformal=conformal, fitted={"n": 50}))
    report, html = written(tmp_path, classifier, data)
    assert report["prediction_sets"]["sizes"] == [0, 0, 60]
    assert "They name a single class for 0% of images and leave the rest to a person." in html


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("medmamba report runs/a data/b.csv", "medmamba report runs/a data/b.csv"),
        ("medmamba report /home/anna/runs/a --out=/tmp/x", "medmamba report a --out=x"),
        (r"medmamba report C:\Users\anna\a ~/data/b.csv", "medmamba report a b.csv"),
    ],
)
def test_commands_in_the_page_name_no_folder_of_a_disk(command, shown):
    assert without_folders(command) == shown


def test_an_empty_heat_map_is_said_to_be_empty():
    picture = np.zeros((4, 4), np.uint8)
    drawn = pictures([Case("a.png", "x", "y, 0.70", picture, picture, empty=True)])
    assert "empty heat map: no place spoke for the answer" in drawn
    assert "empty" not in pictures([Case("a.png", "x", "y, 0.70", picture, picture)])


def test_what_figures_mean_is_open_on_paper(tmp_path):
    _, html = written(tmp_path, *case())
    assert html.count('<details class="meaning">') == 2  # results and calibration
    printed = html.split("@media print { :root")[1].split("</style>")[0]
    assert ".meaning::details-content { content-visibility: visible" in printed


def test_a_promise_that_is_broken_for_one_class_names_it(tmp_path):
    classifier, data = case(Task.MULTICLASS, ("a", "b", "c"), n=150)
    targets = data.split("test").targets
    classifier.table = np.eye(3)[targets] * 0.7 + 0.1
    classifier.table[np.flatnonzero(targets == 1)[:20]] = (0.8, 0.1, 0.1)
    conformal = Conformal(0.1, (0.5, 0.5, 0.5), by_class=True)
    classifier.bundle = replace(classifier.bundle, decisions=Decisions(conformal=conformal, fitted={"n": 50}))
    report, html = written(tmp_path, classifier, data)
    row = report["prediction_sets"]["per_class"][1]
    assert (
        f"of all images, but for {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}) of &#x27;b&#x27;." in html
    )
