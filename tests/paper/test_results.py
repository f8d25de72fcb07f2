"""Tables 3 to 7: ours beside the paper's, from run files with drawn scores; nothing is filled in."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from run_files import write_run

from medmamba.cli import main
from medmamba.errors import InputError
from medmamba.paper import reproduce as making
from medmamba.paper import results
from medmamba.paper.reproduce import WHAT, plan_of, reproduce
from medmamba.paper.results_figures import figure_lines, runs_of_figure
from medmamba.paper.results_page import page, read_sheet
from medmamba.paper.results_summary import summary
from medmamba.paper.schedule import Summary
from medmamba.paper.sheet import html, markdown

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Runs of two models on BreastMNIST and BUSI."""
    folder = tmp_path_factory.mktemp("results")
    for seed in SEEDS:
        write_run(folder, "breastmnist", "medmamba_tiny", seed, n=156, skill=6.0)  # all right: far above the paper
        write_run(folder, "breastmnist", "medmamba_tiny_scan", seed, n=156, skill=0.0)
        write_run(folder, "breastmnist", "resnet18", seed, n=156, skill=1.2)
        write_run(folder, "retinamnist", "resnet18", seed, classes=5)  # 60 test images, not 400
        write_run(folder, "busi", "medmamba_tiny", seed, classes=3)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder in which BreastMNIST and RetinaMNIST seem to lie."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("breastmnist", "retinamnist"):
        (folder / f"{name}.npz").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def table6(out, data):
    models = ("medmamba_tiny", "resnet18", "resnet50", "auto-sklearn", "convnext_tiny")
    return reproduce("table6", data=data, out=out, models=models, run=False)


def records(sheet, **wanted):
    return [each for each in sheet.records if all(each.get(name) == value for name, value in wanted.items())]


def test_figures_of_a_cell_are_those_of_its_run_files(table6, out):
    runs = [json.loads(path.read_text()) for path in sorted(out.glob("runs/breastmnist/resnet18/*.json"))]
    for metric in ("accuracy", "auc"):
        (record,) = records(table6, data="breastmnist", model="resnet18", metric=metric, image_size=224)
        values = [run["test"][metric]["value"] for run in runs]
        assert record["mean"] == pytest.approx(np.mean(values), abs=1e-9)
        assert record["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-9)
        assert record["low"] < record["mean"] < record["high"]
        assert record["runs"] == [f"runs/breastmnist/resnet18/medmnist-224-seed{seed}.json" for seed in SEEDS]
        inside = record["low"] - 5e-4 <= record["paper"] <= record["high"] + 5e-4
        assert record["paper_in_interval"] == inside


def test_a_row_says_what_became_of_it(table6):
    status = {(each["data"], each["printed_model"]): each["status"] for each in table6.records if "metric" in each}
    assert status["breastmnist", "MedMamba-T"] == "not reproduced"
    assert status["breastmnist", "ResNet50 (224)"] == "not run"
    assert status["retinamnist", "MedMamba-T"] == "not run"
    assert status["pathmnist", "MedMamba-T"] == "data absent"
    assert status["retinamnist", "ResNet18 (224)"] == "no comparison: 60 test images, the paper has 400"
    assert status["breastmnist", "Auto-sklearn"] == "cited, not run"
    assert ("pathmnist", "`convnext_tiny`") not in status  # not in the paper's table, and nothing of ours
    for each in records(table6, status="not run") + records(table6, status="data absent"):
        assert each["mean"] is None
        assert each["runs"] == []
    assert "Not reproduced: MedMamba-T on BreastMNIST" in " ".join(table6.lead)


def test_the_page_shows_both_and_the_difference(table6):
    text = markdown(table6)
    line = next(line for line in text.splitlines() if line.startswith("|  | ours, seeds 0 1 2") and "not rep" in line)
    assert line.endswith("| not reproduced: AUC, OA |")
    after = text.splitlines()[text.splitlines().index(line) + 1]
    assert after == "|  | difference | +0.175 | +0.147 |  |"
    assert [part.title for part in table6.parts[:2]] == ["RetinaMNIST", "BreastMNIST"]  # those with runs first
    assert "Data absent: put pathmnist.npz" in text
    assert "The runs say of their data: drawn.npz is not the official file." in text
    assert "<script" not in html(table6)


def test_a_row_is_reproduced_only_if_all_its_values_lie_in_the_intervals(out, data, monkeypatch):
    from medmamba.paper import rows

    cell = rows.comparisons("table6", "breastmnist", ["resnet18"], out, SEEDS, ["breastmnist"])[0]
    inside = {"accuracy": True, "auc": True}
    monkeypatch.setattr(rows.Comparison, "inside", lambda self, metric: inside[metric])
    assert rows.comparisons("table6", "breastmnist", ["resnet18"], out, SEEDS, [])[0].status == "in our interval"
    inside["auc"] = False
    found = rows.comparisons("table6", "breastmnist", ["resnet18"], out, SEEDS, [])[0]
    assert found.status == "not reproduced"
    assert rows.verdict(found) == "not reproduced: AUC"
    inside["auc"] = None
    found = rows.comparisons("table6", "breastmnist", ["resnet18"], out, SEEDS, [])[0]
    assert (found.status, rows.verdict(found)) == ("no interval", "no interval: AUC")
    assert cell.found is not None
    assert cell.found.seeds == SEEDS


def test_the_printed_value_is_taken_as_rounded(out):
    """133 of 156 images are 0.85256, which the paper prints as 0.853."""
    from medmamba.paper.cells import Estimate
    from medmamba.paper.networks import network
    from medmamba.paper.ours import Ours
    from medmamba.paper.printed import values
    from medmamba.paper.rows import Comparison

    (paper,) = (
        v for v in values("table6") if (v.data, v.model, v.metric) == ("breastmnist", "medmamba_tiny", "accuracy")
    )
    for high, inside in ((133 / 156, True), (0.8524, False)):
        found = Ours((), SEEDS, {"accuracy": Estimate(0.8, 0.01, 0.75, high, ())}, 156)
        cell = Comparison("table6", "breastmnist", network("medmamba_tiny"), "T", {"accuracy": paper}, found, "")
        assert cell.inside("accuracy") is inside


def test_the_order_of_the_ablations_is_tested_with_intervals(out):
    sheet = results.sheet(plan_of("table7", None, out))
    steps = records(sheet, kind="step")
    assert {(step["data"], step["first"], step["second"]) for step in steps} == set()
    for seed in SEEDS:
        write_run(out, "breastmnist", "medmamba_tiny_split", seed, n=156, skill=2.0)
    sheet = results.sheet(plan_of("table7", None, out))
    steps = {(step["first"], step["second"]): step for step in records(sheet, kind="step")}
    assert len(steps) == 2
    step = steps["medmamba_tiny_scan", "medmamba_tiny_split"]
    assert step["accuracy"]["low"] > 0
    assert step["accuracy"]["verdict"] == "as in the paper"
    order = next(part for part in sheet.parts if part.title == "The order")
    assert "as in the paper" in order.words[1]
    assert sheet.parts[0].title == "BreastMNIST"


def test_what_augmentation_alone_does_is_tested_with_intervals(out):
    assert records(results.sheet(plan_of("table6", None, out)), kind="factor") == []
    for seed in SEEDS:
        write_run(out, "breastmnist", "medmamba_tiny", seed, n=156, skill=1.0)
        write_run(out, "breastmnist", "medmamba_tiny+autoaugment", seed, n=156, skill=3.0)
    sheet = results.sheet(plan_of("table6", None, out))
    (factor,) = records(sheet, kind="factor")
    assert (factor["data"], factor["second"]) == ("breastmnist", "medmamba_tiny+autoaugment")
    assert factor["accuracy"]["low"] > 0
    words = "\n".join(summary([sheet]))
    assert f"BreastMNIST {100 * factor['accuracy']['mean']:+.1f} (" in words
    assert "costs T accuracy there" in words


def test_percent_and_macro_figures_of_tables_3_to_5(out):
    sheet = reproduce("table3", out=out, models=["medmamba_tiny"], run=False)
    found = {each["metric"]: each for each in records(sheet, data="busi")}
    run = json.loads((out / "runs/busi/medmamba_tiny/clinical-224-seed0.json").read_text())
    assert set(found) == {"precision", "sensitivity", "specificity", "f1", "accuracy", "auc"}
    assert abs(found["specificity"]["mean"] - run["test"]["specificity"]["value"]) < 0.2
    row = next(line for line in markdown(sheet).splitlines() if "ours, seeds" in line)
    assert f"{100 * found['accuracy']['mean']:.1f} ±" in row
    (printed,) = records(sheet, data="cervical-us", metric="accuracy")
    assert (printed["printed"], printed["paper"], printed["status"]) == ("86.2", 0.862, "data absent")


def test_a_sheet_comes_back_from_its_file(table6, out):
    assert markdown(read_sheet(out / "table6.json")) == markdown(table6)


def test_the_page_of_results_traces_every_figure_to_a_run(out, table6):
    text = page(out)
    assert text == page(out)
    assert "### BreastMNIST" in text
    assert "### PathMNIST" not in text
    assert "Without a run: ResNet50 (224) (not run), Auto-sklearn (cited, not run)" in text
    for record in table6.records:
        for name in record.get("runs", ()):
            entries = json.loads((out / name).read_text())
            line = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
            for fact in (str(entries["seed"]), entries["commit"][:10], entries["device"]):
                assert f"| {fact} |" in line


def test_the_page_says_first_what_was_reproduced_and_what_was_not(out, table6):
    text = page(out)
    short = text[text.index("## In short") : text.index("\n## Table")]
    head, _, *rows = [line.split(" | ") for line in short.splitlines() if line.startswith("|")]
    counts = {name.strip("| "): int(number.strip("| ")) for name, number in zip(head[1:], rows[-1][1:], strict=True)}
    assert rows[-1][0] == "| Table 6: MedMNIST"
    printed = {(each["data"], each["printed_model"]): each["status"] for each in table6.records if each.get("printed")}
    assert counts.pop("rows in print") == len(printed) == sum(counts.values())
    assert counts["not reproduced"] == list(printed.values()).count("not reproduced") >= 1
    missed = short[short.index("Not reproduced") :]
    assert "- MedMamba-T on BreastMNIST, 3 seeds: AUC 1.000 (1.000 to 1.000), in print 0.825; OA " in missed
    (record,) = records(table6, data="breastmnist", printed_model="MedMamba-T", metric="accuracy")
    assert f"OA {record['mean']:.3f} ({record['low']:.3f} to {record['high']:.3f}), in print 0.853" in missed


def test_runs_of_a_figure_are_traced_or_said_to_be_lost(out, table6, tmp_path):
    report = {"title": "Heat maps", "notes": ["One.", "Two."]}
    about = {"model": "medmamba_small12", "recipe": "clinical", "seed": 0}
    shown = [{"set": "busi", "title": "BUSI", "why_empty": None, "model": about}]
    shown.append({"set": "bccd", "title": "BCCD cells", "why_empty": "data absent", "model": None})
    name = "runs/busi/medmamba_small12/clinical-224-seed0.json"
    lines = "\n".join(figure_lines("figure5", report | {"panels": shown}, out, "here"))
    assert "![Figure 5: Heat maps](here/figure5.png)" in lines
    assert "One. Two." in lines
    assert "Nothing is shown of BCCD cells (data absent)" in lines
    assert "no run file is kept, so that they cannot be traced: busi/medmamba_small12/clinical-224-seed0." in lines
    assert runs_of_figure("figure5", report | {"panels": shown}) == [name]
    large = {"set": "pneumoniamnist", "model": about | {"recipe": "medmnist"}}
    assert runs_of_figure("figure5", {"panels": [large]}) == [
        "runs/pneumoniamnist/medmamba_small12/medmnist-224-epochs20-seed0.json"
    ]
    write_run(tmp_path, "busi", "medmamba_small12", 0, classes=3)
    assert "cannot be traced" not in "\n".join(figure_lines("figure5", report | {"panels": shown}, tmp_path, "here"))
    points = [{"points": [{"runs": ["busi/a/b.json"]}]}, {"points": [{"runs": ["busi/a/b.json"]}]}]
    assert runs_of_figure("figure4", {"panels": points}) == ["runs/busi/a/b.json"]


def test_without_runs_the_page_says_so(tmp_path):
    assert "There are no runs yet" in page(tmp_path)


def test_the_committed_page_is_what_is_generated():
    root = Path(__file__).parents[2]
    committed = (root / "docs" / "reference" / "results.md").read_text()
    folder = root / "benchmarks" / "results" / "paper"
    assert committed == page(folder)
    for name in re.findall(r"`(runs/\S+\.json)`", committed):
        entries = json.loads((folder / name).read_text())
        assert entries["commit"]
        assert entries["device"]
        assert entries["seed"] in SEEDS


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tabel6"], "there is no 'tabel6' to reproduce; did you mean 'table6'?; choose one of table1"),
        (["figure9"], "there is no 'figure9'"),
        (["table6", "--models", "resnet19", "--no-run"], "table6 has no model 'resnet19'; did you mean 'resnet1"),
        (["table1", "--models", "medmamba_tiny"], "leave --models out"),
        (["table6", "--data", "/nowhere", "--no-run"], "there is no folder /nowhere"),
        (["table6", "--seeds", "1", "1", "--no-run"], "give different numbers from 0 up"),
        (["table6"], "name their folder with --data"),
        (["figure3"], "name the folder that holds the data sets with --data"),
        (["figure7", "--data", ".", "--models", "resnet18"], "leave --models out"),
        (["figure7", "--data", ".", "--no-run"], "there is nothing to show"),
    ],
)
def test_wrong_requests_are_one_sentence_and_write_nothing(arguments, words, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MEDMAMBA_DATA", raising=False)
    assert main(["reproduce", *arguments, "--out", str(tmp_path / "r")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_damaged_run_file_is_named(out, tmp_path):
    path = write_run(tmp_path, "breastmnist", "resnet18", 0)
    path.with_suffix(".npz").unlink()
    with pytest.raises(InputError, match=r"seed0\.json has no scores beside it"):
        reproduce("table6", out=tmp_path, models=["resnet18"], run=False)
    path.write_text("{")
    with pytest.raises(InputError, match="is no run file"):
        reproduce("table6", out=tmp_path, models=["resnet18"], run=False)


def test_what_is_missing_is_asked_for_once(out, data, monkeypatch):
    asked = []
    monkeypatch.setattr(making, "run_missing", lambda plan, *rest, **_: asked.append((plan, rest)) or Summary())
    reproduce("table6", data=data, out=out, models=["resnet18_small_stem", "medmamba_tiny+autoaugment"], device="cpu")
    ((plan, (folder, results_folder, devices)),) = asked
    assert (folder, results_folder, devices) == (data, out, ("cpu",))
    assert {(run.data, run.model, run.recipe, run.image_size) for run in plan} == {
        (name, *rest)
        for name in ("breastmnist", "retinamnist")
        for rest in (("resnet18_small_stem", "medmnist", 28), ("medmamba_tiny", "medmnist-autoaugment", 224))
    }
    assert len(plan) == 2 * 2 * 3


def test_a_run_that_failed_is_told_after_the_table_is_written(data, tmp_path, capsys, monkeypatch):
    failed = Summary(failed={"breastmnist/resnet18/medmnist-224-seed0": "out of memory"})
    monkeypatch.setattr(making, "run_missing", lambda *_, **__: failed)
    assert main(["reproduce", "table6", "--data", str(data), "--out", str(tmp_path), "--models", "resnet18"]) == 1
    said = capsys.readouterr().err
    assert "1 of the runs failed" in said
    assert "breastmnist/resnet18/medmnist-224-seed0" in said
    assert (tmp_path / "table6.json").is_file()


def test_what_is_offered_exists():
    assert list(WHAT) == [f"table{number}" for number in range(1, 8)] + [f"figure{number}" for number in range(3, 8)]
