"""Every awkward file is read right or refused by name; images are found however they are named."""

import csv
import gzip
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import save_image
from PIL import Image

from medmamba.data import find_images, read_image
from medmamba.errors import InputError

Make = Callable[..., Path]


@pytest.fixture
def odd(data_folder: Path) -> Path:
    return data_folder / "odd/images"


def test_every_odd_image_is_read_or_refused_as_its_table_says(odd: Path) -> None:
    with (odd.parent / "images.csv").open() as file:
        expected = {row["file"]: row["expected"].startswith("ok") for row in csv.DictReader(file)}
    assert len(expected) == 25
    limit = Image.MAX_IMAGE_PIXELS
    for name, good in expected.items():
        if good:
            image = read_image(odd / name)
            assert image.dtype == np.uint8
            assert image.ndim == 2 or image.shape[2:] == (3,)
        else:
            with pytest.raises(InputError, match=name):
                read_image(odd / name)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_exif_orientation_is_applied(odd: Path) -> None:
    upright = read_image(odd / "upright.png").astype(int)
    for name in ("exif_orientation_3.jpg", "exif_orientation_6.jpg"):
        turned = read_image(odd / name)
        assert turned.shape == (160, 192, 3)
        assert np.abs(turned - upright).mean() < 5


def test_other_colour_spaces_become_rgb(odd: Path) -> None:
    upright = read_image(odd / "upright.png").astype(int)
    for name in ("palette.png", "progressive.jpg", "two_pages.tif"):
        assert read_image(odd / name).ndim == 3
    assert np.abs(read_image(odd / "palette.png") - upright).mean() < 12
    assert read_image(odd / "cmyk.jpg").shape[2] == 3
    assert np.abs(read_image(odd / "cmyk.jpg") - upright).mean() < 30
    assert (read_image(odd / "png_named.jpg") == read_image(odd / "upright.png")).all()


def test_sixteen_bits_and_floats_keep_their_contrast(odd: Path) -> None:
    png, tif, real = (read_image(odd / name) for name in ("gray16.png", "gray16.tif", "float32.tif"))
    assert (png.min(), png.max()) == (0, 255)
    assert png.std() > 20
    assert (png == tif).all()
    assert np.abs(png.astype(int) - real).max() <= 1


def test_sixteen_bits_are_scaled_by_the_range_of_the_file(tmp_path: Path) -> None:
    values = np.array([[1000, 1500], [2000, 1250]], np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").tolist() == [[0, 128], [255, 64]]
    Image.fromarray(np.full((2, 2), 700, np.uint16)).save(tmp_path / "flat.png")
    assert read_image(tmp_path / "flat.png").tolist() == [[0, 0], [0, 0]]
    floats = np.array([[np.nan, 1.0], [3.0, np.inf]], np.float32)
    Image.fromarray(floats).save(tmp_path / "x.tif")
    assert read_image(tmp_path / "x.tif").tolist() == [[0, 0], [255, 0]]


def test_alpha_is_laid_on_black(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], np.uint8), "RGBA").save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[200, 100, 50], [0, 0, 0]]]
    Image.fromarray(np.array([[[200, 255], [200, 0], [200, 128]]], np.uint8), "LA").save(tmp_path / "la.png")
    grey = read_image(tmp_path / "la.png")
    assert grey.ndim == 2
    assert grey.tolist() == [[200, 0, 100]]


def test_one_bit_becomes_black_and_white(odd: Path) -> None:
    assert set(np.unique(read_image(odd / "one_bit.png"))) == {0, 255}


def test_a_header_that_promises_a_huge_image_allocates_nothing(odd: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="bomb_header"):
        read_image(odd / "bomb_header.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_the_limit_holds_where_pillows_own_was_lifted(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(InputError, match="60000 x 60000 pixels"):
        read_image(odd / "bomb_header.png")


def test_the_first_of_several_pages_is_used_and_said(odd: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read_image(odd / "two_pages.tif")
        read_image(odd / "upright.png")
    assert [record.getMessage().split("/")[-1] for record in caplog.records] == [
        "two_pages.tif has 2 pages or frames: only the first is used"
    ]


def test_f038_volumes_and_dicom_are_refused_in_words(tmp_path: Path) -> None:
    np.save(tmp_path / "volume.npy", np.zeros((40, 64, 64), np.uint8))
    (tmp_path / "brain.nii.gz").write_bytes(gzip.compress(bytes(400)))
    (tmp_path / "renamed.png").write_bytes(bytes(344) + b"n+1\0" + bytes(100))
    (tmp_path / "dicom.png").write_bytes(bytes(128) + b"DICM" + bytes(300))
    for path, word in [
        (tmp_path / "volume.npy", "NumPy array, which may be a volume"),
        (tmp_path / "brain.nii.gz", "volumes are not supported"),
        (tmp_path / "renamed.png", "NIfTI volume"),
        (tmp_path / "dicom.png", "is a DICOM file"),
    ]:
        with pytest.raises(InputError, match=f"{path.name} .*{word}"):
            read_image(path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.png does not exist"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(InputError, match=tmp_path.name):
        read_image(tmp_path)


def test_f064_names_in_any_script_are_read(tmp_path: Path) -> None:
    assert read_image(save_image(tmp_path / "données 影像/x-ray #1 (2).png", 9)).tolist() == [[9] * 5] * 4


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
    assert "skipped 3 files that are not images: .md (1), hidden or system (2)" in caplog.text


def test_a_folder_or_list_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        find_images([tmp_path])
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(InputError, match="names no images"):
        find_images([tmp_path / "list.txt"])
