"""The tables of our own recipe, from run files with drawn scores, and the trace of the committed ones."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from run_files import write_run

from medmamba.metrics import auc
from medmamba.paper.cells import as_one, mean_over_sets, paired, paired_over_sets, summarise
from medmamba.paper.results_page import read_sheet
from medmamba.paper.run_file import read_run
from medmamba.paper.run_result import RunResult
from medmamba.paper.strong.entries import AHEAD, BEHIND, UNDECIDED, Entry, corrected, interval_words, number
from medmamba.paper.strong.found import SETS
from medmamba.paper.strong.marks import MARKS
from medmamba.paper.strong.page import TABLES, page, parts_tables, write_tables
from medmamba.tasks import Task
from medmamba.training.recipe import load_recipe

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
SEEDS = (0, 1, 2)
CLASSES = {"retinamnist": 5, "breastmnist": 2, "pneumoniamnist": 2, "busi": 3}
SKILL = {"medmamba_tiny": 2.5, "resnet18": 1.0, "convnext_tiny": 2.4}
FIGURE = re.compile(r"[+-]?\d*\.\d+(?:e[+-]?\d+)?")


def paper_run(results: Path, data: str, model: str, seed: int, skill: float) -> Path:
    return write_run(results / "paper", data, model, seed, classes=CLASSES[data], n=120, skill=skill)


def strong_run(results: Path, data: str, model: str, seed: int, skill: float, tag: str = "", **extra) -> Path:
    """A run with our recipe, its file named as its settings and start say."""
    source = write_run(results / "drawn", data, model, seed, classes=CLASSES[data], n=120, skill=skill)
    path = results / "recipe" / "runs" / data / model / f"strong-224{tag}-seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = json.loads(source.read_text()) | {"recipe": "strong", "recipe_settings": {"mixup": 0.2}} | extra
    path.write_text(json.dumps(entries))
    source.with_suffix(".npz").rename(path.with_suffix(".npz"))
    source.unlink()
    return path


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """All tables have runs; VMamba-T has none, ConvNeXt-T two seeds on BreastMNIST."""
    folder = tmp_path_factory.mktemp("results")
    for data in CLASSES:
        for model, skill in SKILL.items():
            for seed in SEEDS:
                paper_run(folder, data, model, seed, 0.5)
                if (data, model, seed) != ("breastmnist", "convnext_tiny", 2):
                    strong_run(folder, data, model, seed, skill)
    for seed in SEEDS:
        strong_run(folder, "retinamnist", "medmamba_tiny", seed, 0.5, "-mixup_0.0", settings={"mixup": 0.0})
        strong_run(folder, "retinamnist", "medmamba_tiny", seed, 1.5, "-epochs20")
        start = {"name": "general", "sets": ["bccd", "pneumoniamnist"]}
        strong_run(folder, "busi", "medmamba_tiny", seed, 5.0, "-init_general", init=start)
    (folder / "recipe" / "backbones").mkdir()
    about = {"name": "general", "seed": 0, "sets": ["bccd"], "commit": "abcdef", "device": "cpu", "seconds": 60.0}
    about["data"] = [{"name": "bccd", "share": 0.25, "validation_auc": 0.875}]
    (folder / "recipe" / "backbones" / "general-seed0.json").write_text(json.dumps(about))
    rates = {power: 0.321 if power == 2 else 10**-power for power in range(1, 9)}  # the highest is shown nowhere else
    judged = {"bccd": {"auc": 0.8125, "accuracy": 0.75}}
    trials = [
        {"settings": {"lr": rate, "odd": "new"}, "score": 0.7 + power / 100, "sets": judged, "commit": "abc"}
        for power, rate in rates.items()
    ]
    found = {"model": "medmamba_tiny", "sets": ["bccd"], "start": trials[0]["settings"], "trials": trials}
    found |= {"parts": {"train": 5, "choose": 6, "judge": 9}, "finalists": [{**trials[7], "score": 0.625}]}
    found |= {f"of_{kind}": {"image_size": [8, 8], "seed": 3, "images": 99} for kind in ("trials", "finalists")}
    (folder / "recipe-search.json").write_text(json.dumps(found))
    assert write_tables(folder) == list(TABLES)
    (folder / "strong.md").write_text(page(folder))
    return folder


def table(results: Path, name: str) -> dict:
    return json.loads((results / "recipe" / f"{name}.json").read_text())


def record(results: Path, name: str, **wanted):
    """The only one with these entries; sets may be given as `data`, one or `all`."""
    data = wanted.pop("data", None)
    sets = list(SETS) if data == "all" else [data]
    found = [
        each
        for each in table(results, name)["records"]
        if all(each.get(key) == value for key, value in wanted.items()) and (data is None or each["sets"] == sets)
    ]
    (one,) = found
    return one


def runs(results: Path, data: str, model: str, stem: str = "recipe/runs/{}/strong-224") -> list[RunResult]:
    paths = sorted(results.glob(f"{stem.format(f'{data}/{model}')}-seed?.json"))
    return [RunResult(path, read_run(path)) for path in paths]


def test_the_marks_are_those_of_the_issue():
    found = [(mark.mean("accuracy"), mark.mean("auc")) for mark in MARKS]
    assert np.round(found, 3).tolist() == [[0.765, 0.846], [0.799, 0.874], [0.806, 0.902]]
    assert MARKS[1].cell("retinamnist", "accuracy").printed_model == "MedMamba-X"


def test_main_table_is_over_seeds_and_sets_and_says_which_marks_are_reached(results):
    mine = [runs(results, data, "medmamba_tiny") for data in SETS]
    expected = mean_over_sets(mine)
    for metric in ("accuracy", "auc"):
        found = record(results, "main", model="medmamba_tiny", recipe="strong", metric=metric, data="all")
        assert (found["mean"], found["low"]) == (expected[metric].mean, expected[metric].low)
        assert len(found["runs"]) == 9
    one = record(results, "main", model="resnet18", recipe="strong", metric="auc", data="breastmnist")
    assert one["mean"] == summarise(runs(results, "breastmnist", "resnet18")).figures["auc"].mean
    paper = record(results, "main", model="resnet18", recipe="the paper's", metric="auc", data="breastmnist")
    assert paper["mean"] < one["mean"]
    assert all(name.startswith("paper/runs/") for name in paper["runs"])
    text = (results / "strong.md").read_text()
    accuracy = expected["accuracy"]
    for mark in MARKS:
        above = ["yes" if value > mark.mean("accuracy") else "no" for value in (accuracy.mean, accuracy.low)]
        row = (mark.name, "accuracy", number(mark.mean("accuracy")), interval_words(accuracy), *above)
        assert f"| {' | '.join(row)} |" in text
        word = "reached" if accuracy.mean > mark.mean("accuracy") else "not reached"
        assert (
            f"against {mark.name} in print, mean over the three sets: accuracy {number(accuracy.mean)} against" in text
        )
        assert f"against {number(mark.mean('accuracy'))}, {word}, the 95 % interval" in text


def test_what_has_not_run_says_so_and_fewer_seeds_are_counted(results):
    text = (results / "strong.md").read_text()
    assert "| VMamba-T | not run | not run | not run | not run |" in text
    few = record(results, "main", model="convnext_tiny", recipe="strong", metric="accuracy", data="breastmnist")
    assert few["seeds"] == [0, 1]
    assert re.search(r"\| ConvNeXt-T \| \S+ \(\S+ to \S+\), 2 seeds \|", text)
    pair = record(results, "rivals", rival="convnext_tiny", metric="auc", data="breastmnist")
    assert (pair["seeds"], pair["verdict"]) == ([0, 1], None)
    assert record(results, "rivals", rival="vmamba_tiny", metric="auc", data="all")["mean"] is None


def test_rivals_are_paired_and_the_place_is_said(results):
    mine, theirs = ([runs(results, data, model) for data in SETS] for model in ("medmamba_tiny", "resnet18"))
    expected = paired_over_sets(theirs, mine)["auc"]
    found = record(results, "rivals", rival="resnet18", metric="auc", data="all")
    assert [found[key] for key in ("mean", "low", "high", "p")] == [
        getattr(expected, key) for key in ("mean", "low", "high", "p")
    ]
    assert (found["mean"] > 0.1, found["verdict"]) == (True, AHEAD)
    one = record(results, "rivals", rival="resnet18", metric="accuracy", data="retinamnist")
    assert one["mean"] == paired(theirs[0], mine[0])["accuracy"].mean
    lifted = record(results, "rivals", model="resnet18", rival=None, metric="auc", data="retinamnist")
    before = runs(results, "retinamnist", "resnet18", "paper/runs/{}/medmnist-224")
    assert lifted["mean"] == paired(before, theirs[0])["auc"].mean
    means = {
        model: record(results, "main", model=model, recipe="strong", metric="auc", data="all")["mean"]
        for model in SKILL
    }
    place = 1 + sorted(means.values(), reverse=True).index(means["medmamba_tiny"])
    (lead,) = [each for each in table(results, "rivals")["lead"] if each.startswith("By AUC")]
    assert f"MedMamba-T is number {place} of 3: " in lead
    assert "Paired, MedMamba-T is ahead of ResNet-18" in lead


def test_busi_stands_beside_the_papers_recipe(results):
    found = record(results, "busi", model="resnet18", recipe="the paper's", kind="mean", metric="auc")
    assert found["runs"][0] == "paper/runs/busi/resnet18/clinical-224-seed0.json"
    rival = record(results, "busi", rival="resnet18", metric="auc")
    assert rival["mean"] > 0
    assert rival["sets"] == ["busi"]


def test_a_part_is_worth_what_is_lost_without_it(results):
    found = record(results, "parts", settings={"mixup": 0.0}, metric="auc")
    whole = runs(results, "retinamnist", "medmamba_tiny")
    without = runs(results, "retinamnist", "medmamba_tiny", "recipe/runs/{}/strong-224-mixup_0.0")
    assert found["mean"] == paired(without, whole)["auc"].mean > 0.1
    assert found["shown"] == "mixup 0.2, changed to 0"
    assert all("mixup_0.0" in name for name in found["less"])
    assert record(results, "parts", settings={"epochs": 20}, metric="auc")["mean"] > 0
    part, *_ = read_sheet(results / "recipe" / "parts.json").parts
    assert [row[0] for row in part.rows] == ["epochs 20", "mixup 0.2, changed to 0"]


def test_a_change_on_two_sets_that_share_no_image_has_their_mean(tmp_path):
    for data in ("retinamnist", "breastmnist", "busi"):
        for seed in SEEDS:
            strong_run(tmp_path, data, "medmamba_tiny", seed, 2.5)
            strong_run(tmp_path, data, "medmamba_tiny", seed, 0.5, "-mixup_0.0", settings={"mixup": 0.0})
    write_tables(tmp_path)
    found = [each for each in table(tmp_path, "parts")["records"] if each["metric"] == "auc"]
    assert [each["sets"] for each in found] == [["retinamnist", "busi"], ["breastmnist"], ["retinamnist"], ["busi"]]
    mean, _, *single = (each["mean"] for each in found)
    assert mean == pytest.approx(sum(single) / 2)
    assert "| mean of RetinaMNIST and BUSI | BreastMNIST |" in parts_tables(tmp_path)


def test_the_ensemble_is_the_mean_of_probabilities(results):
    several = runs(results, "busi", "medmamba_tiny")
    scores = np.mean([run.arrays["scores"].astype(float) for run in several], axis=0)
    expected = auc(Task.MULTICLASS, scores, several[0].arrays["targets"], 2)
    one = record(results, "ensemble", kind="as one", model="medmamba_tiny", metric="auc", data="busi")
    assert one["mean"] == pytest.approx(expected)
    gain = record(results, "ensemble", kind="gain", model="medmamba_tiny", metric="auc", data="busi")
    assert gain["mean"] == pytest.approx(expected - summarise(several).figures["auc"].mean)


def test_a_start_is_named_with_what_it_has_seen(results):
    found = record(results, "pretraining", init="general", metric="auc")
    assert (found["sets"], found["seen"], found["mean"] > 0) == (["busi"], ["bccd", "pneumoniamnist"], True)
    text = (results / "strong.md").read_text()
    assert "general, which has seen BCCD cells, PneumoniaMNIST |" in text
    assert "| general | 0 | BCCD cells, .250, .875 |" in text


def test_the_search_tells_the_first_and_the_best(results):
    text = (results / "strong.md").read_text()
    assert "8 trials of medmamba_tiny on small parts of BCCD cells" in text
    assert "The recipe as it was had rank 8, .7100." in text
    assert "The best of these, .6250, is the recipe." in text
    assert "the recipe as it was is not among them" in text
    assert "| rank 1 | rank 2 | rank 3 | rank 4 | rank 5 | rank 8, as it was |" in text
    assert "| lr | 1e-08 to 0.321 | 1e-08 | 1e-07 | 1e-06 | 1e-05 | 0.0001 | 0.1 |" in text
    assert "| odd | new | new |" in text


def test_verdicts_are_corrected_for_the_number_of_differences():
    def entry(p: float, sets: tuple[str, ...], mean: float = 0.1, seeds: tuple[int, ...] = SEEDS) -> Entry:
        from medmamba.paper.cells import Estimate

        figure = Estimate(mean, None, 0.0, 0.2, (), p)
        return Entry("difference", {}, sets, seeds, {"accuracy": figure, "auc": figure})

    single = [entry(p, ("busi",)) for p in (0.01, 0.02, 0.03, 0.04)]
    several = [entry(0.04, ("a", "b"), -0.1)]
    found = corrected([*single, *several, entry(0.001, ("busi",), seeds=(0, 1))])
    words = [each.verdicts.get("auc") for each in found]
    assert words == [AHEAD, UNDECIDED, UNDECIDED, UNDECIDED, BEHIND, None]
    assert [each.verdicts["auc"] for each in corrected(single[:1])] == [AHEAD]


def check_trace(folder: Path, text: str) -> None:
    """Every number of the page is in a table, every figure of a table comes out of the run files that it names."""
    shown = set()
    for name in TABLES:
        entries = table(folder, name)
        for each in entries["records"]:
            shown |= words_of(each)
            if each.get("runs"):
                assert each["mean"] == pytest.approx(from_files(folder, each), abs=1e-9), (name, each)
        for path, facts in entries["runs"].items():
            run = json.loads((folder / path).read_text())
            assert run["commit"]
            assert run["device"]
            assert run["seed"] in SEEDS
            assert {key: run[key] for key in facts} == facts
    tables, _, rest = text.partition("## How to read it")
    unknown = {figure for figure in FIGURE.findall(tables) if figure not in shown}
    assert unknown <= {"2403.03849"}
    for line in re.findall(r"^\| `.*$", rest, re.MULTILINE):
        name, seed, commit, device, _, _, n, accuracy, area = [cell.strip() for cell in line.strip("| ").split(" | ")]
        run = json.loads((folder / name.strip("`")).read_text())
        test = run["test"]
        assert (seed, commit, device, n) == (str(run["seed"]), run["commit"][:10], run["device"], str(test["n"]))
        assert (accuracy, area) == (f"{test['accuracy']['value']:.4f}", f"{test['auc']['value']:.4f}")


def words_of(each) -> set[str]:
    """The numbers of a record as the page may write them."""
    if isinstance(each, dict):
        return {word for value in each.values() for word in words_of(value)}
    if isinstance(each, list):
        return {word for value in each for word in words_of(value)}
    if isinstance(each, str):
        return {word if not word.startswith("0.") else word[1:] for word in FIGURE.findall(each)} | set(
            FIGURE.findall(each)
        )
    if not isinstance(each, int | float):
        return set()
    return {number(each), number(each, "+"), number(each, digits=4), f"{each:.3g}", f"{each / 60:.1f}"}


def from_files(folder: Path, each: dict) -> float:
    """The figure of a record from its run files: stated figures, or kept scores of several as one."""

    def mean(names: list[str]) -> float:
        sets: dict[str, list[float]] = {}
        for name in names:
            run = json.loads((folder / name).read_text())
            sets.setdefault(run["data"], []).append(run["test"][each["metric"]]["value"])
        return float(np.mean([np.mean(values) for values in sets.values()]))

    if each["kind"] in ("as one", "gain"):
        several = [RunResult(folder / name, read_run(folder / name)) for name in each["runs"]]
        one = as_one(several, resamples=1)[0][each["metric"]].mean
        return one - (mean(each["runs"]) if each["kind"] == "gain" else 0)
    return mean(each["runs"]) - (mean(each["less"]) if each.get("less") else 0)


def intervals(folder: Path, name: str) -> None:
    """The first figure of each kind in a table comes out again with its interval."""
    seen = set()
    for each in table(folder, name)["records"]:
        kind = (each["kind"], len(each.get("sets", ())))
        if kind in seen or not each.get("runs"):
            continue
        seen.add(kind)
        of, less = ([group(folder, each.get(side, ()), data) for data in each["sets"]] for side in ("runs", "less"))
        if each["kind"] == "difference":
            found = paired_over_sets(less, of) if len(of) > 1 else paired(less[0], of[0])
        elif each["kind"] == "mean":
            found = mean_over_sets(of) if len(of) > 1 else summarise(of[0]).figures
        else:
            found = as_one(of[0])[each["kind"] == "gain"]
        figure = found[each["metric"]]
        assert (figure.low, figure.high, figure.p) == pytest.approx((each["low"], each["high"], each["p"]))


def group(folder: Path, names, data: str) -> list[RunResult]:
    found = [RunResult(folder / name, read_run(folder / name)) for name in names]
    return [run for run in found if run.entries["data"] == data]


def test_every_number_of_drawn_runs_can_be_traced(results):
    text = (results / "strong.md").read_text()
    check_trace(results, text)
    for name in TABLES:
        intervals(results, name)
    shown = interval_words(summarise(runs(results, "busi", "resnet18")).figures["auc"])
    with pytest.raises(AssertionError):
        check_trace(results, text.replace(shown, shown.replace(".", ".0")))


def test_without_runs_the_page_says_so(tmp_path):
    assert "There are no runs with this recipe yet" in page(tmp_path)
    write_tables(tmp_path)
    text = page(tmp_path)
    assert "MedMamba-T has no runs with strong on all three sets yet" in text
    for words in ("No runs with a changed setting", "No runs from a pre-trained", "No trials of a search are kept"):
        assert words in text
    check_trace(tmp_path, text)


def test_the_committed_page_is_what_is_generated():
    text = (ROOT / "docs" / "reference" / "strong.md").read_text()
    assert text == page(RESULTS)
    block = f"<!-- results: benchmarks/results/recipe/parts.json -->\n{parts_tables(RESULTS)}<!-- end of results -->"
    assert block in (ROOT / "docs" / "how-to" / "small-data.md").read_text()
    assert text.count("Research software, not a medical device.") == 1
    found = record(RESULTS, "busi", model="medmamba_tiny", recipe="strong", kind="mean", metric="auc")
    words = "an AUC of {mean:.3f} ({low:.3f} to {high:.3f}) on `busi256`".format(**found)
    assert words in " ".join((ROOT / "README.md").read_text().split())


def test_every_committed_number_traces_to_runs_with_commit_seed_and_card():
    if not (RESULTS / "recipe").is_dir():
        pytest.skip("benchmarks/results/recipe does not exist yet: no run of the recipe strong is kept")
    check_trace(RESULTS, (ROOT / "docs" / "reference" / "strong.md").read_text())
    for name in TABLES:
        intervals(RESULTS, name)
    settings: dict[str, dict] = {}
    for path in (RESULTS / "recipe").glob("runs/*/*/*.json"):
        run = read_run(path)
        assert run["commit"]
        assert run["device"]
        assert run["seed"] in SEEDS
        cell = str(path).rpartition("-seed")[0]
        assert settings.setdefault(cell, run["recipe_settings"]) == run["recipe_settings"], "seeds of other recipes"
    found = json.loads((RESULTS / "recipe-search.json").read_text())
    kept = found["trials"]
    assert any(each["kind"] == "search" and each["trials"] == len(kept) for each in table(RESULTS, "search")["records"])
    for trial in (*kept, *found["finalists"]):
        assert trial["settings"]
        assert trial["commit"]
        assert all(figures["device"] for figures in trial["sets"].values())
        means = [(each["auc"] + each["accuracy"]) / 2 for each in trial["sets"].values()]
        assert trial["score"] == pytest.approx(sum(means) / len(means))


def test_the_recipe_is_the_best_finalist():
    found = json.loads((RESULTS / "recipe-search.json").read_text())
    best = max(found["finalists"], key=lambda each: each["score"])
    strong = load_recipe("strong")
    assert strong.rules["epochs"].steps * strong.batch_size == found["of_finalists"]["images"]
    for name, value in best["settings"].items():
        assert getattr(strong, name) == (pytest.approx(value, rel=0.1) if name == "lr" else value)


def test_a_table_comes_back_from_its_file(results):
    assert read_sheet(results / "recipe" / "main.json").title == "Three sets of MedMNIST"
