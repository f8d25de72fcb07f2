"""Workers that are played, and a small data set."""

import json
from pathlib import Path

import numpy as np
import pytest

from medmamba.data.phantoms import make_phantoms
from medmamba.paper import launching, schedule
from medmamba.training.recipe import load_recipe

# stands in for a worker, without its imports; what it does, the model's name says
WORKER = """
import json, os, pathlib, signal, sys, time
job = json.loads(sys.argv[1])
run = job["run"]
with open(os.path.join(job["work"], "starts"), "a") as file:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    file.write(json.dumps([run["model"], run["seed"], job["device"], visible, os.environ["OMP_NUM_THREADS"]]) + "\\n")
if run["model"] == "wrong":
    sys.exit("no such model") if False else (print("ERROR no such model", file=sys.stderr), sys.exit(2))
if run["model"] == "broken":
    print("CUDA out of memory", file=sys.stderr); sys.exit(1)
if run["model"] == "slow":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); time.sleep(60)
if run["model"] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)
time.sleep(0.2)
about = {"schema": 1, "model": run["model"], "recipe": run["recipe"], "recipe_settings": RECIPE, "seed": run["seed"],
    "image_size": [run["image_size"]] * 2, "best_epoch": 1, "epochs": 1}
if job["kind"] == "backbone":
    name = f"backbones/{run['init']}-seed{run['seed']}"
    weights, path = pathlib.Path(job["work"], name, "backbone.json"), pathlib.Path(job["out"], name + ".json")
    for each in (weights, path):
        each.parent.mkdir(parents=True, exist_ok=True)
    weights.touch()
    path.write_text(json.dumps({**about, "name": run["init"], "sets": run["sets"], "validation": {"auc": 0.5},
        "data": [{"images": {"train": 500}} for each in run["sets"]]}))
    sys.exit()
variant = "".join(f"-{key}_{value}" for key, value in run["settings"].items())
variant += f"-init_{run['init']}" if run["init"] else ""
name = f"{run['data']}/{run['model']}/{run['recipe']}-{run['image_size']}{variant}-seed{run['seed']}"
path = pathlib.Path(job["out"], "runs", name + ".json")
path.parent.mkdir(parents=True, exist_ok=True)
path.with_suffix(".npz").touch()
path.write_text(json.dumps({**about, "data": run["data"], "model_args": run["model_args"],
    "settings": run["settings"], "init": {"name": run["init"]} if run["init"] else None,
    "train_seconds": 400.0, "train_images": 1000, "test": {"accuracy": {"value": 0.5}, "auc": {"value": 0.5}}}))
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Folders of data and of results; workers are those above."""
    recipe = json.loads(json.dumps(load_recipe("medmnist").to_dict()))
    script = tmp_path / "worker.py"
    script.write_text(f"RECIPE = json = None\nimport json\nRECIPE = json.loads({json.dumps(recipe)!r})\n{WORKER}")
    monkeypatch.setattr(launching, "WORKER", (str(script),))
    monkeypatch.setattr(schedule, "POLL", 0.02)
    data, out = tmp_path / "data", tmp_path / "out"
    for name in ("medmnist/breastmnist.npz", "medmnist/pneumoniamnist_reassembled.npz"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).touch()
    (out / "work").mkdir(parents=True)
    return data, out


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data with one small set."""
    folder = tmp_path_factory.mktemp("data")
    images, labels, _ = make_phantoms(72, 32)
    parts = {"train": slice(0, 32), "val": slice(32, 48), "test": slice(48, 72)}
    arrays = {f"{name}_images": images[part] for name, part in parts.items()}
    np.savez(folder / "small.npz", **arrays, **{f"{name}_labels": labels[part] for name, part in parts.items()})
    return folder
