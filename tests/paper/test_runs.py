"""Runs of the paper's tables: made once, resumed, several at once until a deadline."""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from medmamba.errors import InputError
from medmamba.paper import launching, schedule
from medmamba.paper.cells import RunResult
from medmamba.paper.job import Job
from medmamba.paper.pace import Pace
from medmamba.paper.plans import ABLATIONS, PLANS, RIVALS, Run
from medmamba.paper.run_file import read_run
from medmamba.paper.runs import is_finished, run_missing
from medmamba.paper.worker import make
from medmamba.training.keeper import Keeper
from medmamba.training.recipe import load_recipe
from medmamba.training.rules import settle

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "paper"


def some(model: str, *seeds: int, data: str = "breastmnist") -> list[Run]:
    return [Run(data, model, "medmnist", 224, seed) for seed in seeds]


def starts(out: Path) -> list[list]:
    return [json.loads(line) for line in (out / "work" / "starts").read_text().splitlines()]


def job(phantoms: Path, folder: Path) -> Job:
    run = Run("small", "medmamba_nano", "quick", 32, epochs=2)
    return Job(run, str(phantoms), str(folder / "out"), str(folder / "work"), "cpu", commit="abc")


def test_a_run_is_written_whole_and_leaves_no_weights(phantoms: Path, tmp_path: Path) -> None:
    asked = job(phantoms, tmp_path)
    path = make(asked)
    assert path == tmp_path / "out/runs/small/medmamba_nano/quick-32-epochs2-seed0.json"
    assert [each for each in (tmp_path / "work").rglob("*") if each.is_file()] == []
    assert sorted((tmp_path / "out").rglob("*.*")) == [path, path.with_suffix(".npz")]
    result = RunResult(path, read_run(path))
    entries, arrays = result.entries, result.arrays
    assert (entries["epochs"], entries["seed"], entries["commit"], entries["image_size"]) == (2, 0, "abc", [32, 32])
    assert entries["command"].startswith("medmamba train small.npz --out RUN --model medmamba_nano --recipe quick")
    assert str(phantoms) not in path.read_text()
    assert arrays["scores"].shape == (24, 2)
    assert np.array_equal(arrays["targets"], np.arange(48, 72) % 2)
    right = (arrays["scores"][:, 1] >= 0.5) == arrays["targets"]
    assert entries["test"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert entries["test"]["auc"]["low"] <= entries["test"]["auc"]["value"] <= entries["test"]["auc"]["high"]
    assert is_finished(asked.run, tmp_path / "out")
    assert not is_finished(Run("small", "medmamba_nano", "quick", 32, epochs=3), tmp_path / "out")
    path.write_text(path.read_text().replace('"batch_size": 32', '"batch_size": 64'))
    assert not is_finished(asked.run, tmp_path / "out")  # made with another recipe of that name


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_scores(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(job(phantoms, tmp_path / "whole"))
    save = Keeper.save

    def told(self: Keeper, *arguments: object) -> None:
        save(self, *arguments)
        if len(self.history) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "save", told)
        assert make(job(phantoms, tmp_path)) is None
    assert not (tmp_path / "out").exists()
    assert len((tmp_path / "work/small/medmamba_nano/quick-32-epochs2-seed0/history.csv").read_text().splitlines()) == 2
    path = make(job(phantoms, tmp_path))
    one, other = (json.loads(each.read_text()) for each in (whole, path))
    assert one["test"] == other["test"]
    with np.load(whole.with_suffix(".npz")) as first, np.load(path.with_suffix(".npz")) as second:
        assert np.array_equal(first["scores"], second["scores"])


def test_every_run_is_made_once_and_results_of_other_settings_are_replaced(places: tuple[Path, Path]) -> None:
    data, out = places
    plan = [*some("good", 0, 1, 2), *some("good", 0, data="pneumoniamnist"), *some("good", 0, data="busi")]
    summary = run_missing(plan, data, out, ["cuda:1", "cuda:0"], 1)
    assert sorted(summary.done) == sorted(run.name for run in plan[:4])
    assert summary.absent == [plan[4].name]
    assert {(device, visible) for _, _, device, visible, _ in starts(out)} == {("cuda", "0"), ("cuda", "1")}
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert {threads_ for *_, threads_ in starts(out)} == {str(threads)}
    assert run_missing(plan, data, out).there == [run.name for run in plan[:4]]
    path = out / "runs" / f"{plan[1].name}.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 7'))
    (out / "runs" / f"{plan[0].name}.npz").unlink()
    assert sorted(run_missing(plan, data, out).done) == [plan[0].name, plan[1].name]
    assert Counter(seed for _, seed, *_ in starts(out)) == {0: 3, 1: 2, 2: 1}


def test_a_failing_run_is_told_tried_again_alone_and_stops_no_other(places: tuple[Path, Path]) -> None:
    data, out = places
    lines: list[str] = []
    plan = [*some("broken", 0), *some("wrong", 0), *some("good", 0, 1)]
    summary = run_missing(plan, data, out, ["cpu"], 2, report=lines.append)
    assert sorted(summary.done) == [run.name for run in plan[2:]]
    assert set(summary.failed) == {plan[0].name, plan[1].name}
    assert "out of memory" in summary.failed[plan[0].name]
    assert "no such model" in summary.failed[plan[1].name]
    assert any("FAILED" in line and "no such model" in line for line in lines)
    assert Counter(model for model, *_ in starts(out)) == {"broken": 2, "wrong": 1, "good": 2}
    assert starts(out)[-1][0] == "broken"


def test_the_deadline_stops_what_is_at_work_and_starts_nothing_more(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = places
    monkeypatch.setattr(schedule, "GRACE", 0.7)
    summary = run_missing([*some("slow", 0), *some("deaf", 0), *some("good", 0)], data, out, ["cpu"], 2, 1.5)
    assert sorted(summary.stopped) == sorted(run.name for run in (*some("slow", 0), *some("deaf", 0)))
    assert summary.waiting == [some("good", 0)[0].name]
    assert "2 stopped, 1 waiting" in str(summary)


def test_a_run_that_would_not_end_in_time_is_passed_over_unless_it_may_be_cut(places: tuple[Path, Path]) -> None:
    data, out = places
    first = some("good", 0, data="pneumoniamnist")
    run_missing(first, data, out)  # 0.4 s an image: 218 s for BreastMNIST, 1,883 s for PneumoniaMNIST
    plan = [*some("good", 1, data="pneumoniamnist"), *some("good", 1)]
    summary = run_missing(plan, data, out, deadline_seconds=600)
    assert (summary.done, summary.waiting) == ([plan[1].name], [plan[0].name])
    assert run_missing(plan, data, out, deadline_seconds=600, cut=True).done == [plan[0].name]


def test_nothing_is_left_at_work_when_this_process_is_told_to_stop(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = places
    monkeypatch.setattr(schedule, "PATIENCE", 0.3)
    monkeypatch.setattr(schedule, "NEWS", 0.3)
    workers = []
    start = launching.Launcher.start
    monkeypatch.setattr(launching.Launcher, "start", lambda *each: workers.append(start(*each)) or workers[-1])

    def interrupted(line: str) -> None:
        if "at work" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_missing(some("deaf", 0, 1), data, out, ["cpu"], 2, report=interrupted)
    assert len(workers) == 2
    assert all(worker.poll() is not None for worker in workers)


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_names_every_run_once_and_known_recipes(name: str) -> None:
    plan = PLANS[name]()
    assert len({run.name for run in plan}) == len(plan) >= 18
    assert {run.seed for run in plan} == ({0} if name == "figures" else {0, 1, 2})
    for recipe in {run.recipe for run in plan}:
        load_recipe(recipe)


def test_the_order_is_the_issues_and_holds_all_tables() -> None:
    plan = PLANS["all"]()
    first = [run.model for run in plan[:27]]
    assert set(first) == {"medmamba_tiny", "resnet18", "convnext_tiny"}
    assert {(run.model, run.data) for run in plan[27:48]} >= {(ABLATIONS[0], "breastmnist"), (ABLATIONS[0], "busi")}
    names = {run.name for run in plan}
    for name in set(PLANS) - {"figures"}:
        assert {run.name for run in PLANS[name]()} <= names
    assert len(set(RIVALS)) >= 11


def test_the_pace_is_that_of_as_many_epochs(places: tuple[Path, Path]) -> None:
    data, out = places
    whole, short = some("good", 0)[0], Run("pneumoniamnist", "good", "medmnist", 224, epochs=20)
    run_missing([whole], data, out)  # 0.4 s an image
    entries = read_run(whole.file(out))
    pace = Pace(out, out / "work")
    assert pace.seconds(whole) == pytest.approx(30 + 0.4 * 546)
    assert pace.seconds(short) == 0
    pace.learn({**entries, "recipe_settings": {**entries["recipe_settings"], "epochs": 20}, "train_seconds": 80.0})
    assert pace.seconds(short) == pytest.approx(30 + 0.08 * 4708)
    assert pace.seconds(whole) == pytest.approx(30 + 0.4 * 546)
    assert pace.seconds(Run("busi", "good", "medmnist")) == pytest.approx(30 + 0.4 * 544)
    whole.file(out).write_text("{")  # is made again, and tells nothing meanwhile
    assert Pace(out, out / "work").seconds(whole) == 0


def test_a_run_whose_recipe_has_rules_is_known_again_and_has_a_pace(places: tuple[Path, Path]) -> None:
    data, out = places
    run, before = Run("breastmnist", "good", "strong", 224), Run("breastmnist", "good", "medmnist", 224)
    run_missing([before], data, out)
    entries, path = read_run(before.file(out)), run.file(out)
    settled = [settle(load_recipe("strong"), images=n, grey=lambda: True)[0].to_dict() for n in (546, 5000)]
    assert settled[0]["epochs"] > settled[1]["epochs"]
    for settings, expected in zip(settled, (True, False), strict=True):  # the second is of more images than it had
        about = {**entries, "recipe": "strong", "recipe_settings": settings, "train_images": 546}
        path.write_text(json.dumps(about))
        path.with_suffix(".npz").touch()
        assert is_finished(run, out) is expected
    path.write_text(json.dumps({**about, "recipe_settings": settled[0]}))
    assert Pace(out, out / "work").seconds(run) == pytest.approx(30 + 400 / 546 * 546)


def test_a_run_of_a_network_without_drop_path_is_known_again(places: tuple[Path, Path]) -> None:
    data, out = places
    before = Run("breastmnist", "good", "medmnist", 224)
    run_missing([before], data, out)
    run = Run("breastmnist", "densenet121", "strong", 224)
    path = run.file(out)
    path.parent.mkdir(parents=True)
    settings = settle(load_recipe("strong"), images=546, grey=lambda: True)[0].to_dict()
    about = {**read_run(before.file(out)), "model": "densenet121", "recipe": "strong", "train_images": 546}
    for rate, expected in {None: True, settings["drop_path_rate"]: False}.items():
        path.write_text(json.dumps({**about, "recipe_settings": {**settings, "drop_path_rate": rate}}))
        path.with_suffix(".npz").touch()
        assert is_finished(run, out) is expected


def test_runs_recorded_before_a_setting_existed_are_still_finished() -> None:
    """Those of the repository: none would be made again."""
    files = sorted(RESULTS.rglob("runs/**/*.json"))
    assert files
    for file in files:
        entries = json.loads(file.read_text())
        if "search" not in entries:
            epochs = entries["recipe_settings"]["epochs"]
            recipe = load_recipe(entries["recipe"], epochs=epochs).to_dict()
            assert json.loads(json.dumps(recipe)) == entries["recipe_settings"], file


def test_impossible_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give 1 or more"):
        run_missing([], tmp_path, tmp_path, [], 2)
