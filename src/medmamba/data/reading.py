"""From a file to pixels: the one place that decodes images, and the one that finds them."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from medmamba.errors import InputError

logger = logging.getLogger(__name__)

EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")
# Found in folders although they cannot be read yet, so that each gets a row that says so.
REFUSED_EXTENSIONS = (".dcm", ".dicom", ".npy", ".nii", ".nii.gz")
LITTER = ("thumbs.db", "desktop.ini", "__macosx")

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")
_MAX_PIXELS = 178_956_970  # as Pillow's default; checked here too, since a host program may have lifted Pillow's


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read one image, whatever its name says: the format is told by the content.

    The EXIF orientation is applied; alpha is laid on black; palettes, CMYK and other colour spaces become RGB; 16-bit,
    32-bit and float grey images are scaled from the file's own least and greatest value to 0 to 255. Of several
    pages or frames the first is taken, with a warning in the log.

    Args:
        path: A PNG, JPEG, TIFF, BMP, WebP or GIF file.

    Returns:
        uint8, (h, w) if grey or (h, w, 3) if RGB.

    Raises:
        InputError: The file is missing, damaged, too large or of another kind; the message names it.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(352)
            _refuse(path, head)
            file.seek(0)
            with Image.open(file, formats=_FORMATS) as image:
                return _decode(image, path)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except Image.UnidentifiedImageError:
        raise InputError(f"{path} is not an image: expected {', '.join(_FORMATS)} content") from None
    except Exception as error:  # a damaged file makes decoders raise nearly anything
        raise InputError(f"{path} cannot be read as an image ({error}); replace or remove it") from error


def _refuse(path: Path, head: bytes) -> None:
    """Name what cannot be read yet, by content or name, instead of a decoder's puzzled error."""
    name = path.name.lower()
    if not head:
        raise InputError(f"{path} is empty (0 bytes); replace or remove it")
    if head.startswith(b"\x93NUMPY") or name.endswith(".npy"):
        raise InputError(f"{path} is a NumPy array, which may be a volume; save the slices as PNG or TIFF images")
    if head[344:347] in (b"n+1", b"ni1") or name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{path} is a NIfTI volume, and volumes are not supported; save its slices as PNG images")
    if head[128:132] == b"DICM" or name.endswith((".dcm", ".dicom")):
        raise InputError(f"{path} is a DICOM file, which cannot be read yet; convert it to PNG")


def _decode(image: Image.Image, path: Path) -> np.ndarray:
    if image.width * image.height > _MAX_PIXELS:
        raise InputError(f"{path} has {image.width} x {image.height} pixels, more than {_MAX_PIXELS}; shrink it first")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's MPO holds previews of the same picture
        logger.warning("%s has %d pages or frames: only the first is used", path, frames)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _scale(np.asarray(image))
    if image.has_transparency_data:
        grey = image.mode in ("L", "LA", "La", "1")
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba).convert("L" if grey else "RGB")
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    return np.array(image)


def _scale(values: np.ndarray) -> np.ndarray:
    """Grey values (h, w) of any depth to uint8 by the file's own range; values that are not finite become 0."""
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = values[finite].min(), values[finite].max()
    scaled = np.where(finite, values - low, 0.0) * (255.0 / (high - low) if high > low else 0.0)
    return np.rint(scaled).astype(np.uint8)


def is_litter(name: str) -> bool:
    """Whether a file or folder name is hidden (`.x`, `._x`) or left behind by an operating system."""
    return name.startswith(".") or name.lower() in LITTER


def walk_images(folder: Path, extensions: tuple[str, ...] = EXTENSIONS) -> tuple[list[Path], Counter[str]]:
    """All images below a folder, told by extension in any case, sorted by path.

    Returns:
        The files, and how many others were passed over, by extension (`hidden or system` for litter).
    """
    found: list[Path] = []
    skipped: Counter[str] = Counter()
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_litter(name))
        for name in files:
            if is_litter(name):
                skipped["hidden or system"] += 1
            elif name.lower().endswith(extensions):
                found.append(Path(parent, name))
            else:
                skipped[Path(name).suffix.lower() or "no extension"] += 1
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix()), skipped


def skipped_sentence(skipped: Counter[str]) -> str:
    """What was passed over, in words; an empty string if nothing was."""
    if not skipped:
        return ""
    kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(skipped.items()))
    return f"skipped {skipped.total()} files that are not images: {kinds}"


def find_images(paths: Sequence[str | os.PathLike[str]]) -> list[tuple[str, Path]]:
    """Expand what a user names into images to read, in the order given.

    Args:
        paths: Each a file, a folder (searched to any depth, sorted), a glob pattern, or a list file `.txt` with one
            path a line, relative to the list. A path that does not exist is kept: it becomes a row with an error.

    Returns:
        (name, path) of each image; the name is the path as text.

    Raises:
        InputError: A folder or list holds no image.
    """
    return [(str(path), path) for given in paths for path in _expand(Path(given))]


def _expand(given: Path) -> Iterator[Path]:
    if given.is_dir():
        found, skipped = walk_images(given, EXTENSIONS + REFUSED_EXTENSIONS)
        if not found:
            raise InputError(f"the folder {given} holds no images; expected files ending in {', '.join(EXTENSIONS)}")
        if skipped:
            logger.warning("%s: %s", given, skipped_sentence(skipped))
        yield from found
    elif given.is_file() and given.suffix.lower() == ".txt":
        yield from _listed(given)
    elif not given.exists() and glob.has_magic(str(given)):
        matches = [Path(match) for match in sorted(glob.glob(str(given), recursive=True)) if Path(match).is_file()]
        yield from matches or [given]
    else:
        yield given


def _listed(listing: Path) -> list[Path]:
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"the list {listing} is not UTF-8 text with one path a line; save it as UTF-8") from None
    paths = [listing.parent / line.strip() for line in lines if line.strip()]
    if not paths:
        raise InputError(f"the list {listing} names no images; expected one path a line")
    return paths
