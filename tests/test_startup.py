"""What starting the package loads, in fresh processes: that, and not the processor, decides how fast it starts."""

import json
import subprocess
import sys

import numpy as np
from PIL import Image

from medmamba.cli import main


def loaded_by(command: str) -> set[str]:
    """Modules that a fresh process holds when it ends, after a command."""
    tell = "import atexit, json, sys; atexit.register(lambda: print(json.dumps(sorted(sys.modules))))"
    run = subprocess.run([sys.executable, "-c", f"{tell}; {command}"], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_c02_importing_does_nothing_and_loads_no_torch():
    before, after = loaded_by("pass"), loaded_by("import medmamba")
    assert {name.partition(".")[0] for name in after - before} <= {"medmamba", *sys.stdlib_module_names}
    run = subprocess.run([sys.executable, "-c", "import medmamba"], capture_output=True, text=True, check=True)
    assert run.stdout == run.stderr == ""


def test_help_loads_nothing_that_computes():
    command = "from medmamba.cli import main; main(['--help'])"
    heavy = {"torch", "numpy", "PIL", "numba", "timm", "lightning", "sklearn", "matplotlib", "fastapi", "onnxruntime"}
    assert not heavy & loaded_by(command)


def test_predicting_one_image_loads_nothing_of_training(tmp_path):
    run = tmp_path / "run"
    arguments = ["--model", "medmamba_nano", "--recipe", "quick", "--epochs", "1", "--image-size", "32", "32"]
    assert main(["train", "phantoms:60", "--out", str(run), *arguments]) == 0
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(tmp_path / "a.png")
    command = f"from medmamba.cli import main; assert main(['predict', {str(run)!r}, {str(tmp_path / 'a.png')!r}]) == 0"
    unwanted = {"lightning", "sklearn", "matplotlib", "torchmetrics", "timm", "torchvision", "torch._dynamo"}
    assert not unwanted & loaded_by(command)
