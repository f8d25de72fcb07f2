"""Time and memory of `medmamba check` on 10,000 images of 512 pixels, half PNG in grey and half JPEG in colour.

    python benchmarks/check_speed.py FOLDER

makes the images in FOLDER, which should be new and have 2 GB of room, checks them in a process of its own, and writes
benchmarks/results/check.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from epoch_rate import provenance
from PIL import Image
from processor import processor
from rich.progress import track

RESULTS = Path(__file__).parent / "results" / "check.json"
MUST = 180.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = [(arguments.folder, row, arguments.size) for row in range(arguments.images)]
    with ProcessPoolExecutor() as pool:
        size = sum(track(pool.map(make, rows, chunksize=50), "making images", total=len(rows)))
    results = {
        **provenance(torch.device("cpu"), None),
        "processor": processor(),
        "cores": os.cpu_count(),
        "images": arguments.images,
        "pixels": arguments.size,
        "gigabytes": size / 1e9,
        **timed(arguments.folder),
        "must_seconds": MUST,
    }
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


def make(what: tuple[Path, int, int]) -> int:
    """One picture of its own, in one of two classes and three splits; returns the size of its file."""
    folder, row, size = what
    random = np.random.default_rng(row)
    smooth = Image.fromarray(random.integers(0, 256, (12, 12), np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    pixels = np.clip(np.asarray(smooth, np.int16) + random.integers(-12, 13, (size, size)), 0, 255).astype(np.uint8)
    split = "train" if row % 10 < 7 else "val" if row % 10 < 8 else "test"
    place = folder / split / f"class{row // 10 % 2}"
    place.mkdir(parents=True, exist_ok=True)
    if row // 20 % 2:
        path, picture = place / f"{row:05}.png", Image.fromarray(pixels)
    else:
        path, picture = place / f"{row:05}.jpg", Image.fromarray(np.stack([pixels, 255 - pixels, pixels // 2], axis=-1))
    picture.save(path, quality=90)
    return path.stat().st_size


def timed(folder: Path) -> dict[str, Any]:
    """Seconds, peak memory and exit code of the command."""
    command = [sys.executable, "-m", "medmamba", "check", str(folder), "--out", str(folder.with_name("check-out"))]
    start = time.perf_counter()
    code = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    return {"seconds": seconds, "memory_gb": memory, "exit_code": code}


if __name__ == "__main__":
    main()
