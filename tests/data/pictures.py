"""Pictures for tests, made on the spot."""

from pathlib import Path

from PIL import Image


def save_image(path: Path, value: int = 0, mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if mode == "L" else (value,) * 3
    Image.new(mode, (5, 4), colour).save(path)
    return path
