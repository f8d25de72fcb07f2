"""How fast the package starts, in fresh processes, and what it does not load. The limits are the product's promises."""

import subprocess
import sys
import time

import numpy as np
from PIL import Image

from medmamba.cli import main


def seconds(*command: str) -> float:
    """The least of three tries: what the program needs, without what else the machine does."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def test_c02_importing_does_nothing_and_loads_no_torch():
    command = (
        "import time, sys; start = time.perf_counter(); import medmamba; "
        "print(time.perf_counter() - start, 'torch' in sys.modules)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    assert all(run.stderr == "" for run in runs)
    assert all(run.stdout.split()[1] == "False" for run in runs)
    assert min(float(run.stdout.split()[0]) for run in runs) < 0.1


def test_help_is_quick():
    assert seconds("-m", "medmamba", "--help") < 0.5


def test_predicting_one_image_is_quick_and_loads_nothing_of_training(tmp_path):
    run = tmp_path / "run"
    arguments = ["--model", "medmamba_nano", "--recipe", "quick", "--epochs", "1", "--image-size", "32", "32"]
    assert main(["train", "phantoms:60", "--out", str(run), *arguments]) == 0
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(tmp_path / "a.png")
    assert seconds("-m", "medmamba", "predict", str(run), str(tmp_path / "a.png")) < 8
    command = (
        "import sys; from medmamba.cli import main; "
        f"code = main(['predict', {str(run)!r}, {str(tmp_path / 'a.png')!r}]); "
        "unwanted = {'lightning', 'sklearn', 'matplotlib', 'torchmetrics', 'timm', 'torchvision', 'torch._dynamo'}; "
        "unwanted &= set(sys.modules); "
        "print(sorted(unwanted), file=sys.stderr); "
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"
