"""Images are found however they are named."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicoms import save
from pictures import save_image

from medmamba.data import find_images, open_data, read_image
from medmamba.data.finding import names_images
from medmamba.errors import InputError

Make = Callable[..., Path]


def test_f058_a_file_a_flat_and_a_nested_folder(make_folder: Make) -> None:
    flat, nested = make_folder({"": 7}, "flat"), make_folder({"a/b": 3, "c": 4}, "nested")
    assert len(find_images([flat])) == 7
    found = find_images([nested])
    assert [path.relative_to(nested).as_posix() for _, path in found][:4] == [
        "a/b/000.png",
        "a/b/001.png",
        "a/b/002.png",
        "c/000.png",
    ]
    assert len(found) == 7
    assert find_images([flat / "003.png"]) == [(str(flat / "003.png"), flat / "003.png")]


def test_f058_a_list_keeps_its_order_and_its_missing_path(make_folder: Make, tmp_path: Path) -> None:
    make_folder({"": 4}, "flat")
    listing = tmp_path / "list.txt"
    listing.write_text("flat/002.png\nflat/absent.png\n\nflat/000.png\n", encoding="utf-8")
    assert [path.name for _, path in find_images([listing])] == ["002.png", "absent.png", "000.png"]


def test_globs_are_sorted_and_an_empty_one_stays_as_a_row(make_folder: Make) -> None:
    flat = make_folder({"": 3}, "flat")
    assert [path.name for _, path in find_images([flat / "*.png"])] == ["000.png", "001.png", "002.png"]
    assert [name for name, _ in find_images([flat / "*.jpg"])] == [str(flat / "*.jpg")]
    odd_name = save_image(flat / "x[1].png")
    assert find_images([odd_name])[0][1] == odd_name


def test_order_and_repeats_are_the_users(make_folder: Make) -> None:
    flat = make_folder({"": 3}, "flat")
    paths = [flat / "002.png", flat / "absent.png", flat / "002.png"]
    assert [path for _, path in find_images(paths)] == paths


def test_what_a_folder_holds_besides_images(make_folder: Make, caplog: pytest.LogCaptureFixture) -> None:
    flat = make_folder({"": 1}, "flat")
    for name in ("notes.md", ".DS_Store", "._000.png", "scan.DCM"):
        (flat / name).write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        assert [path.name for _, path in find_images([flat])] == ["000.png", "scan.DCM"]
    assert "skipped 3 files of other kinds than images: .md (1), hidden or system (2)" in caplog.text


def test_dicom_is_found_without_an_extension_as_scanners_write_it(make_folder: Make) -> None:
    root = make_folder({"a": 1, "b": 1})
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    for name in ("IM0001", "1.2.840.113619.2.55", "x.DICOM", "DICOMDIR"):
        save(root / "a" / name, pixels)
    (root / "a/README").write_text("notes")
    np.save(root / "b/y.npy", pixels)
    (root / "b/z.nii.gz").write_bytes(b"x")
    found = sorted(path.name for _, path in find_images([root]))
    assert found == ["000.png", "000.png", "1.2.840.113619.2.55", "IM0001", "x.DICOM", "y.npy", "z.nii.gz"]
    data = open_data(root, classes=("a", "b"))
    named = sorted(name for split in data.splits for name in data.split(split).names)
    assert named == ["a/000.png", "a/1.2.840.113619.2.55", "a/IM0001", "a/x.DICOM", "b/000.png", "b/y.npy"]
    assert data.split("train").read(data.split("train").names.index("a/IM0001")).shape == (4, 5)


def test_f015_pixels_in_place_of_paths_are_refused_in_words() -> None:
    picture = np.zeros((20, 30), np.float32)
    with pytest.raises(
        InputError, match=r"by paths, and an object of type ndarray was given; save pixels as PNG, TIFF or \.npy"
    ):
        find_images([picture])
    with pytest.raises(InputError, match="named by paths, and an object of type ndarray was given"):
        find_images(picture)


def test_a_folder_or_list_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        find_images([tmp_path])
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(InputError, match="names no images"):
        find_images([tmp_path / "list.txt"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_passed_over_and_refused_and_nobody_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.png")
    save_image(tmp_path / "real.png")
    assert [path.name for _, path in find_images([tmp_path])] == ["pipe.png", "real.png"]
    with pytest.raises(InputError, match=r"pipe.png is no file"):
        read_image(tmp_path / "pipe.png")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("absent.png", True),
        ("A.DCM", True),
        ("volume.nii.gz", True),
        ("new/*.png", True),
        ("new/*", False),
        ("ru[n", False),
        ("list.txt", True),
        ("run", False),
        ("model.onnx", False),
        ("weights.pth", False),
        (".", False),
    ],
)
def test_what_names_images_by_itself(tmp_path, name, expected):
    assert names_images(tmp_path / name) is expected


def test_a_pattern_names_images_if_something_matches(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "IM0001").touch()
    assert names_images(tmp_path / "new" / "*")
    assert names_images(tmp_path / "ne[w]" / "IM*")


def test_a_folder_called_like_a_picture_is_a_folder_and_unnamed_dicom_an_image(tmp_path):
    (tmp_path / "run.png").mkdir()
    assert not names_images(tmp_path / "run.png")
    (tmp_path / "IM0001").write_bytes(b"\0" * 128 + b"DICM")
    assert names_images(tmp_path / "IM0001")
    (tmp_path / "IM0002").write_bytes(b"something else")
    assert not names_images(tmp_path / "IM0002")
