"""Runs with variants of a recipe and from backbones, and the plans that are made of them."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from medmamba.data import open_data
from medmamba.data.phantoms import make_phantoms
from medmamba.data.related import sources_of
from medmamba.errors import InputError
from medmamba.paper import recipe_plans
from medmamba.paper.backbone_runs import BackboneRun, has_weights, read_backbone
from medmamba.paper.command_line import chosen, make_plans
from medmamba.paper.job import Job, Unit
from medmamba.paper.pace import Pace
from medmamba.paper.plans import Run
from medmamba.paper.recipe_plans import LABELLED, PARTS, RECIPE_PLANS, changed_parts, unrelated
from medmamba.paper.run_file import read_run
from medmamba.paper.runs import is_finished, run_missing
from medmamba.paper.sets import find, locate
from medmamba.paper.variants import OPTIONS, by_file, by_option, variant, write_recipe
from medmamba.paper.worker import make
from medmamba.training import TrainConfig
from medmamba.training.keeper import Keeper
from medmamba.training.recipe import Recipe, load_recipe

RETINA = Run("retinamnist", "medmamba_tiny", "strong")


def make_sets(folder: Path) -> Path:
    """Three files of phantoms, of other numbers of images."""
    for name, train in (("one", 32), ("two", 40), ("three", 24)):
        images, labels, _ = make_phantoms(train + 32, 32, seed=train)
        parts = {"train": slice(0, train), "val": slice(train, train + 16), "test": slice(train + 16, None)}
        arrays = {f"{part}_images": images[rows] for part, rows in parts.items()}
        np.savez(folder / f"{name}.npz", **arrays, **{f"{part}_labels": labels[rows] for part, rows in parts.items()})
    return folder


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    folder = tmp_path / "sets"
    folder.mkdir()
    return make_sets(folder)


def job(run: Unit, sets: Path, folder: Path, keep: Path | None = None) -> Job:
    kept = None if keep is None else str(keep)
    return Job(run, str(sets), str(folder / "out"), str(folder / "work"), "cpu", commit="abc", keep=kept)


# names, commands, recipes


def test_the_name_of_a_run_tells_its_settings_and_its_backbone() -> None:
    assert replace(RETINA, settings={"mixup": 0.0}).name == "retinamnist/medmamba_tiny/strong-224-mixup_0.0-seed0"
    run = Run(
        "busi", "medmamba_tiny", "strong", epochs=30, settings={"mixup": 0.1, "ema": None}, init="general", seed=2
    )
    assert run.name == "busi/medmamba_tiny/strong-224-epochs30-ema_none-mixup_0.1-init_general-seed2"
    assert RETINA.name == "retinamnist/medmamba_tiny/strong-224-seed0"
    assert run.needs == BackboneRun("general", ("a", "b"), "medmamba_tiny", "strong", seed=2).name
    assert run.needs == "backbones/general-seed2"
    assert RETINA.needs == ""


def test_the_command_names_options_and_says_what_stands_in_the_recipe_file(sets: Path) -> None:
    run = Run("one", "medmamba_tiny", "strong", settings={"imbalance": "focal", "mixup": 0.0, "ema": None}, init="far")
    assert run.command(sets) == (
        "medmamba train one.npz --out RUN --model medmamba_tiny --recipe strong.yaml --image-size 224 224 --seed 0 "
        "--imbalance focal --init backbones/far-seed0  # strong.yaml is the recipe strong with mixup: 0.0, ema: null"
    )
    assert (
        replace(run, settings={"batch_size": 16}, init="", epochs=3)
        .command(sets)
        .endswith("--recipe strong --image-size 224 224 --seed 0 --epochs 3 --batch-size 16")
    )
    backbone = BackboneRun("far", ("one", "two"), "medmamba_tiny", "strong", seed=1, epochs=9)
    assert backbone.command(sets) == (
        "medmamba pretrain one.npz two.npz --out backbones/far-seed1 --model medmamba_tiny --recipe strong "
        "--image-size 224 224 --seed 1 --epochs 9"
    )


def test_the_options_are_those_that_the_command_line_has() -> None:
    shared = set(TrainConfig.__dataclass_fields__) & set(Recipe.__dataclass_fields__)
    assert shared == set(OPTIONS)
    changes = {"mixup": 0.0, "epochs": 3}
    assert (by_option(changes), by_file(changes)) == ({"epochs": 3}, {"mixup": 0.0})


def test_a_replaced_setting_loses_its_rule_and_a_file_says_the_same(tmp_path: Path) -> None:
    strong = load_recipe("strong")
    assert set(strong.rules) == {"epochs"}
    changed = variant("strong", {"augment": "light", "ema": None})
    assert changed == replace(strong, augment="light", ema=None)
    assert variant("strong", {"epochs": 30}) == replace(strong, epochs=30, rules={})
    file = write_recipe(tmp_path / "new", changed)
    assert file.name == "strong.yaml"
    assert load_recipe(str(file)) == changed
    assert load_recipe(str(write_recipe(tmp_path, load_recipe("medmnist")))) == load_recipe("medmnist")
    with pytest.raises(InputError, match="mixup"):
        variant("strong", {"mixup": -1.0})


def test_a_job_says_whether_it_is_a_run_or_a_backbone() -> None:
    backbone = BackboneRun("far", ("one", "two"), "medmamba_tiny", "strong")
    for run in (replace(RETINA, settings={"ema": None}, init="far"), backbone):
        asked = Job(run, "data", "out", "work", "cpu")
        assert Job.from_json(asked.to_json()) == asked


# real ones


def test_a_run_starts_from_a_backbone_of_its_seed_and_says_so(sets: Path, tmp_path: Path) -> None:
    backbone = BackboneRun("both", ("one", "two"), "medmamba_nano", "quick", 32, seed=1, epochs=1)
    settings = {"ema": None, "augment": "none"}
    run = Run("one", "medmamba_nano", "quick", 32, 1, epochs=1, settings=settings, init="both")
    with pytest.raises(InputError, match="have backbones/both-seed1 made first"):
        make(job(run, sets, tmp_path))
    path = make(job(backbone, sets, tmp_path))
    assert path == tmp_path / "out/backbones/both-seed1.json"
    entries = read_backbone(path)
    assert [each["name"] for each in entries["data"]] == ["one", "two"]
    assert [each["images"] for each in entries["data"]] == [{"train": 32, "val": 16}, {"train": 40, "val": 16}]
    assert sum(each["share"] for each in entries["data"]) == pytest.approx(1)
    mean = np.mean([each["validation_auc"] for each in entries["data"]])
    assert entries["validation"]["auc"] == pytest.approx(mean)
    assert has_weights(tmp_path / "work/backbones/both-seed1")
    assert is_finished(backbone, tmp_path / "out")
    assert not is_finished(replace(backbone, sets=("one", "three")), tmp_path / "out")
    assert not is_finished(replace(backbone, epochs=2), tmp_path / "out")

    made = make(job(run, sets, tmp_path))
    assert made == tmp_path / "out/runs/one/medmamba_nano/quick-32-epochs1-augment_none-ema_none-init_both-seed1.json"
    told = read_run(made)
    assert told["settings"] == settings
    assert told["init"] == {
        "name": "both",
        "sets": ["one", "two"],
        "recipe": "quick",
        "seed": 1,
        **{name: entries[name] for name in ("commit", "device", "seconds", "epochs", "best_epoch")},
    }
    assert told["recipe"] == told["recipe_settings"]["name"] == "quick"
    assert told["recipe_settings"]["ema"] is None
    assert told["recipe_settings"]["augment"] == "none"
    assert str(tmp_path) not in made.read_text() + path.read_text()
    left = {each.relative_to(tmp_path / "work").parts[:2] for each in (tmp_path / "work").rglob("*") if each.is_file()}
    assert left == {("backbones", "both-seed1")}
    assert is_finished(run, tmp_path / "out")
    for other in ({"init": "far"}, {"init": ""}, {"settings": {**settings, "mixup": 0.5}}, {"settings": {}}):
        path = replace(run, **other).file(tmp_path / "out")
        for ending in (".json", ".npz"):
            path.with_suffix(ending).write_bytes(made.with_suffix(ending).read_bytes())
        assert not is_finished(replace(run, **other), tmp_path / "out")


def test_the_recipe_of_a_run_in_work_holds_what_was_changed(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TrainConfig] = []

    def told(*_: object, config: TrainConfig, **__: object) -> None:
        seen.append(config)
        raise InputError("no further")

    monkeypatch.setattr("medmamba.training.fit", told)
    run = Run("one", "medmamba_nano", "strong", 32, settings={"mixup": 0.0, "label_smoothing": 0.0, "epochs": 30})
    with pytest.raises(InputError, match="no further"):
        make(job(run, sets, tmp_path))
    file = yaml.safe_load(Path(seen[0].recipe).read_text())
    assert file["label_smoothing"] == 0
    assert file["epochs"] == yaml.safe_load(json.dumps(load_recipe("strong").to_dict()["rules"]["epochs"]))
    assert load_recipe(seen[0].recipe, epochs=seen[0].epochs) == variant("strong", run.settings)


@pytest.mark.slow
def test_a_backbone_that_was_stopped_goes_on_and_is_kept_where_asked(sets: Path, tmp_path: Path) -> None:
    backbone = BackboneRun("both", ("one", "two"), "medmamba_nano", "quick", 32, epochs=2)
    save, keep = Keeper.save, tmp_path / "keep"

    def told(self: Keeper, *arguments: object) -> None:
        save(self, *arguments)
        if len(self.history) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "save", told)
        assert make(job(backbone, sets, tmp_path, keep)) is None
    folder = tmp_path / "work" / backbone.name
    assert not has_weights(folder)
    assert not is_finished(backbone, tmp_path / "out")
    assert make(job(backbone, sets, tmp_path, keep)) is not None
    assert is_finished(backbone, tmp_path / "out")
    assert has_weights(keep / backbone.name)
    assert not folder.exists()


# played ones


def backbone(model: str = "good") -> BackboneRun:
    return BackboneRun("far", ("breastmnist", "pneumoniamnist"), model, "medmnist")


STARTED = Run("breastmnist", "good", "medmnist", init="far")


def test_a_run_waits_for_its_backbone_and_lets_others_pass(places: tuple[Path, Path]) -> None:
    data, out = places
    lines: list[str] = []
    plan = [STARTED, backbone(), *(replace(STARTED, init="", seed=seed) for seed in (1, 2))]
    summary = run_missing(plan, data, out, ["cpu"], 2, report=lines.append)
    assert sorted(summary.done) == sorted(run.name for run in plan)
    order = [line.split()[1] for line in lines if line.startswith(("start ", "done "))]
    assert order.index(STARTED.name) > max(index for index, name in enumerate(order) if name == backbone().name)
    assert order[:2] == [backbone().name, plan[2].name]
    assert run_missing(plan, data, out).there == [run.name for run in plan]


def test_a_backbone_is_made_again_only_for_runs_that_need_it(places: tuple[Path, Path]) -> None:
    data, out = places
    plan = [backbone(), STARTED]
    run_missing(plan, data, out)
    weights = out / "work" / backbone().name / "backbone.json"
    weights.unlink()
    assert run_missing(plan, data, out).there == [run.name for run in plan]
    STARTED.file(out).unlink()
    assert run_missing(plan, data, out).done == [run.name for run in plan]
    STARTED.file(out).unlink()
    assert run_missing(plan, data, out).done == [STARTED.name]


@pytest.mark.parametrize("model", ["wrong", "broken"])  # the second is tried twice
def test_a_run_fails_with_its_backbone(places: tuple[Path, Path], model: str) -> None:
    data, out = places
    plan = [backbone(model), STARTED, replace(STARTED, init="")]
    summary = run_missing(plan, data, out, ["cpu"], 2)
    assert set(summary.failed) == {backbone().name, STARTED.name}
    assert summary.failed[STARTED.name] == "backbones/far-seed0, which it starts from, failed"
    assert summary.done == [plan[2].name]
    assert not summary.waiting


def test_a_run_whose_backbone_has_no_data_is_absent_and_one_that_was_stopped_is_waited_for(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = places
    monkeypatch.setattr("medmamba.paper.schedule.GRACE", 0.5)
    summary = run_missing([backbone("slow"), STARTED], data, out, ["cpu"], 2, 1.0)
    assert (summary.stopped, summary.waiting) == ([backbone().name], [STARTED.name])
    (data / "medmnist/pneumoniamnist_reassembled.npz").unlink()
    assert run_missing([backbone(), STARTED], data, out).absent == [backbone().name, STARTED.name]


def test_variants_have_the_pace_of_their_recipe(places: tuple[Path, Path]) -> None:
    data, out = places
    plain = replace(STARTED, init="")
    run_missing([plain], data, out)  # 0.4 s an image
    pace, expected = Pace(out, out / "work"), pytest.approx(30 + 0.4 * 546)
    assert pace.seconds(STARTED) == expected
    assert pace.seconds(replace(plain, settings={"mixup": 0.5})) == expected
    assert pace.seconds(replace(plain, settings={"epochs": 7})) == 0
    assert pace.seconds(backbone()) == 0


# plans


@pytest.mark.parametrize("name", RECIPE_PLANS)
def test_plans_name_every_run_once(name: str) -> None:
    plan = RECIPE_PLANS[name]()
    names = {run.name for run in plan}
    assert len(names) == len(plan)
    assert names <= {run.name for run in RECIPE_PLANS["all"]()}
    assert {run.seed for run in plan} == {0, 1, 2}
    assert {(run.recipe, run.image_size) for run in plan} == {("strong", 224)}


def test_plans_hold_what_is_asked_in_the_order_of_its_worth() -> None:
    rivals, busi, pretraining = (RECIPE_PLANS[name]() for name in ("rivals", "busi", "pretraining"))
    assert (len(rivals), len(busi), len(pretraining)) == (4 * 3 * 3, 6 * 3, 3 + 4 * 3)
    assert [run.model for run in rivals[:9]] == ["medmamba_tiny"] * 9
    assert [run.model for run in busi[::3]][-2:] == ["densenet169", "medvit_tiny"]
    assert [isinstance(run, BackboneRun) for run in pretraining] == [True] * 3 + [False] * 12
    assert {run.needs for run in pretraining[3:]} == {run.name for run in pretraining[:3]}


def test_a_part_that_the_recipe_has_already_is_left_out() -> None:
    kept, every = changed_parts("strong"), variant("strong", {})
    assert all(variant("strong", part) != every for part in kept)
    assert {"ema": None} in kept
    plain = changed_parts("quick")  # no mixup, no rule
    assert {"mixup": 0.0} not in plain
    assert [part["epochs"] for part in plain if "epochs" in part] == [load_recipe("quick").epochs // 3]
    assert len({json.dumps(part) for part in PARTS}) == len(PARTS)
    assert len(recipe_plans.parts()) == 9 * (1 + len(kept))


def test_breastmnist_is_kept_away_from_busi_both_ways() -> None:
    assert unrelated(LABELLED, "busi") == ("retinamnist", "pneumoniamnist", "bccd", "isic2017")
    assert "busi" not in unrelated(LABELLED, "breastmnist")
    assert unrelated(LABELLED, "retinamnist") == tuple(name for name in LABELLED if name != "retinamnist")
    backbones = [run for run in RECIPE_PLANS["pretraining"]() if isinstance(run, BackboneRun)]
    assert {run.sets for run in backbones} == {unrelated(LABELLED, "busi")}


def test_names_tell_of_the_sets_what_their_files_tell(data_folder: Path) -> None:
    at_hand = [name for name in LABELLED if find(data_folder, name)]
    assert "busi" in at_hand
    sources = {name: set(sources_of(open_data(locate(data_folder, name)))) for name in at_hand}
    for target in at_hand:
        others = tuple(name for name in at_hand if name != target and not sources[name] & sources[target])
        assert unrelated(at_hand, target) == others


def test_a_choice_of_runs_keeps_the_backbones_that_they_need() -> None:
    plan = [*RECIPE_PLANS["pretraining"](), *RECIPE_PLANS["busi"]()]
    kept = chosen(plan, ["busi"], ["medmamba_tiny"])
    assert [run.name for run in kept if isinstance(run, BackboneRun)] == [f"backbones/apart-seed{k}" for k in range(3)]
    assert len(kept) == 9
    assert all(isinstance(run, Run) and run.model == "resnet18" for run in chosen(plan, None, ["resnet18"]))


def test_the_script_makes_the_plan_that_is_named(places: tuple[Path, Path]) -> None:
    data, out = places
    before = signal.getsignal(signal.SIGTERM)
    words = [str(data), "--out", str(out), "--work", str(out / "work"), "--devices", "0", "--only", "one"]
    try:
        plans = {"all": lambda: [replace(STARTED, init="", model="wrong")], "one": lambda: [replace(STARTED, init="")]}
        assert make_plans(plans, "about", out, words) == 0
        assert replace(STARTED, init="").file(out).is_file()
        assert make_plans(plans, "about", out, words[:-2]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
