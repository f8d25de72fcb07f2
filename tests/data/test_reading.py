"""Every awkward file gives the pixels of a second conversion, of numpy alone, or one sentence, the same everywhere."""

import csv
import gzip
import io
import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicoms import save
from pictures import save_image
from PIL import Image, TiffImagePlugin

from medmamba.data import Reading, read_image
from medmamba.data.pages import gif_frames, tiff_pages
from medmamba.data.quiet import quiet
from medmamba.errors import InputError

LOSSY = 5  # mean difference of 255 between a picture and its JPEG
UNTIL = np.arange(16 * 16).reshape(16, 16)


@pytest.fixture
def odd(data_folder: Path) -> Path:
    return data_folder / "odd/images"


def by_hand(path: Path) -> np.ndarray:
    """The documented rule, in numpy, from what Pillow decodes; no mode is converted by it."""
    image = Image.open(path)
    values = np.asarray(image).astype(np.float64)
    alpha = None
    if image.mode == "P":
        alpha = np.full(256, 255.0)
        stated = image.info.get("transparency", b"")
        if isinstance(stated, int):
            alpha[stated] = 0
        else:
            alpha[: len(stated)] = list(stated)
        palette = np.zeros((256, 3))
        colours = np.array(image.getpalette()).reshape(-1, 3)
        palette[: len(colours)] = colours
        values, alpha = palette[values.astype(int)], alpha[values.astype(int)][..., None]
    elif image.mode in ("LA", "RGBA"):
        values, alpha = values[..., :-1], values[..., -1:]
    elif image.mode == "CMYK":
        values = (255 - values[..., :3]) * (255 - values[..., 3:]) / 255
    elif image.mode == "1":
        values = values * 255
    elif image.mode in ("I;16", "I;16B", "I", "F"):
        values = (values - values.min()) / max(values.max() - values.min(), 1e-9) * 255
    if alpha is not None:
        values = values * alpha / 255
    turns = {3: 2, 6: 3}.get(image.getexif().get(0x0112, 1), 0)
    pixels = np.rint(np.rot90(values, turns))
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def test_every_odd_image_is_as_converted_by_hand_or_refused(odd: Path) -> None:
    with (odd.parent / "images.csv").open() as file:
        expected = {row["file"]: row["expected"].startswith("ok") for row in csv.DictReader(file)}
    assert len(expected) == 25
    limit = Image.MAX_IMAGE_PIXELS
    for name, good in expected.items():
        if not good:
            with pytest.raises(InputError, match=name):
                read_image(odd / name)
            continue
        pixels, truth = read_image(odd / name), by_hand(odd / name)
        assert pixels.dtype == np.uint8
        assert pixels.shape == truth.shape, name
        assert np.abs(pixels - truth).max() <= (1 if name == "cmyk.jpg" else 0), name
    assert limit == Image.MAX_IMAGE_PIXELS


def test_exif_orientation_is_applied(odd: Path) -> None:
    upright = read_image(odd / "upright.png").astype(int)
    for name in ("exif_orientation_3.jpg", "exif_orientation_6.jpg"):
        turned = read_image(odd / name)
        assert turned.shape == (160, 192, 3)
        assert np.abs(turned - upright).mean() < LOSSY


def test_f020_all_modes_of_one_picture_are_the_same(tmp_path: Path) -> None:
    grey = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    picture = Image.fromarray(grey)
    for name, mode in {"L.png": "L", "LA.png": "LA", "RGB.png": "RGB", "RGBA.png": "RGBA", "P.png": "P"}.items():
        picture.convert(mode).save(tmp_path / name)
        pixels = read_image(tmp_path / name).astype(int)
        assert np.abs((pixels if pixels.ndim == 2 else pixels[..., 0]) - grey).max() <= 3, name
    picture.convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "x.jpg")[..., 1].astype(int) - grey).max() <= 12


def test_f019_grey_stays_grey_and_colour_colour(tmp_path: Path) -> None:
    assert read_image(save_image(tmp_path / "a.png", 7)).tolist() == [[7] * 5] * 4
    assert read_image(save_image(tmp_path / "b.png", 7, "RGB")).tolist() == [[[7] * 3] * 5] * 4


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "I", "F"]
)
def test_modes_that_tiff_can_hold(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(np.dstack([UNTIL, UNTIL[::-1], UNTIL.T]).astype(np.uint8))
    if mode in ("I;16", "I;16B", "I", "F"):
        kind = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4", "F": "<f4"}[mode]
        picture = Image.frombytes(mode, (16, 16), (UNTIL * 3 + 7).astype(kind).tobytes())
        expected = UNTIL
    elif mode in ("1", "L", "LA"):
        picture = picture.convert("L").convert(mode)
        expected = np.asarray(picture.convert("L"))
    else:
        picture = (
            picture.convert("P").convert("PA")
            if mode == "PA"
            else picture.convert("RGB").convert(mode)
            if mode != "LAB"
            else lab(picture)
        )
        expected = np.asarray(picture.convert("RGB"))
    try:
        picture.save(tmp_path / "x.tif")
    except (OSError, KeyError):
        pytest.skip(f"Pillow writes no TIFF of {mode}")
    assert np.abs(read_image(tmp_path / "x.tif").astype(int) - expected).max() <= (2 if mode == "YCbCr" else 0)


def lab(picture: Image.Image) -> Image.Image:
    from PIL import ImageCms

    return ImageCms.profileToProfile(
        picture, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_white_is_zero_comes_right(tmp_path: Path, compression: str | None) -> None:
    for pixels in (UNTIL.astype(np.uint8), (UNTIL * 200).astype(np.uint16), UNTIL.astype(np.float32)):
        options = {"compression": compression} if compression else {}
        stored = pixels.max() - pixels if pixels.dtype == np.uint8 else pixels
        Image.fromarray(stored).save(tmp_path / "x.tif", tiffinfo={262: 0}, **options)
        if pixels.dtype == np.uint8:  # Pillow's writer inverts 8 bits as its reader does
            assert TiffImagePlugin.TiffImageFile(tmp_path / "x.tif").tag_v2[262] in (0, 1)
            assert (read_image(tmp_path / "x.tif") == stored).all()
        else:
            assert (read_image(tmp_path / "x.tif") == 255 - UNTIL).all()


def test_alpha_is_laid_on_black(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], np.uint8), "RGBA").save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[200, 100, 50], [0, 0, 0]]]
    Image.fromarray(np.array([[[200, 255], [200, 0], [200, 128]]], np.uint8), "LA").save(tmp_path / "la.png")
    assert read_image(tmp_path / "la.png").tolist() == [[200, 0, 100]]


def test_f071_rows_are_rows_in_every_format(tmp_path: Path) -> None:
    picture = np.zeros((40, 60), np.uint8)
    picture[:5, :5] = 255
    for name in ("x.png", "x.tif", "x.bmp", "x.gif"):
        Image.fromarray(picture).save(tmp_path / name)
    np.save(tmp_path / "x.npy", picture)
    np.save(tmp_path / "columns.npy", np.asfortranarray(picture))
    save(tmp_path / "x.dcm", picture)
    for path in sorted(tmp_path.iterdir()):
        pixels = read_image(path)
        assert pixels.shape[:2] == (40, 60), path.name
        assert pixels[:5, :5].min() == 255, path.name
        assert pixels[5:].max() == pixels[:, 5:].max() == 0, path.name


@pytest.mark.parametrize("kind", ["<u2", ">u2", "i2", "u4", "f2", "f4", ">f8"])
def test_arrays_of_other_types_are_scaled(tmp_path: Path, kind: str) -> None:
    np.save(tmp_path / "x.npy", (UNTIL * 3 + 5).astype(kind))
    assert (read_image(tmp_path / "x.npy") == UNTIL).all()
    np.save(tmp_path / "y.npy", np.dstack([UNTIL] * 3).astype(kind))
    assert (read_image(tmp_path / "y.npy") == UNTIL[..., None]).all()


def test_arrays_that_are_no_image(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    for array, words in [
        (np.zeros((40, 64, 64), np.uint8), "an array of 40 x 64 x 64, which may be a volume"),
        (np.zeros((4, 4, 4), np.uint8), "an array of 4 x 4 x 4, which may be a volume"),
        (np.zeros(9, np.uint8), "an array of 9, which"),
        (np.zeros((2, 2), complex), "an array of complex128"),
        (np.zeros((0, 2), np.uint8), "an array without pixels"),
        (np.array([["a"]], object), "an array of object"),
    ]:
        np.save(path, array)
        with pytest.raises(InputError, match=f"x.npy is {words}"):
            read_image(path)
    np.save(path, UNTIL.astype(np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match="it holds 255 bytes of pixels, and its header asks for 256"):
        read_image(path)
    path.write_bytes(content.replace(b"(16, 16)", b"(99999999, 99999999)").replace(b" " * 12, b"", 1))
    with pytest.raises(InputError, match=r"x\.npy "):
        read_image(path)


def test_f063_a_header_that_promises_a_huge_image_allocates_nothing(odd: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"bomb_header\.png has 60000 x 60000 pixels"):
        read_image(odd / "bomb_header.png")
    with pytest.raises(InputError, match="states 60000 x 60000 pixels, which 74 bytes cannot hold"):
        read_image(odd / "bomb_header.png", Reading(max_pixels=10**10))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_f063_the_limit_is_ours_and_pillows_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for name in ("x.png", "x.jpg", "x.tif", "x.bmp"):
        Image.fromarray(UNTIL.astype(np.uint8)).save(tmp_path / name)
        assert read_image(tmp_path / name).shape == (16, 16), name
        with pytest.raises(InputError, match="16 x 16 pixels, more than 255; shrink it, or raise --max-pixels"):
            read_image(tmp_path / name, Reading(max_pixels=255))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        with pytest.raises(InputError, match="more than 255"):
            read_image(tmp_path / name, Reading(max_pixels=255))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    monkeypatch.undo()
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_jpeg_of_more_scans_than_sense(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(UNTIL.astype(np.uint8)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    (tmp_path / "x.jpg").write_bytes(content[:last] + content[last:-2] * 50 + content[-2:])
    with pytest.raises(InputError, match=r"x.jpg is a JPEG of 256 pixels in \d+ scans"):
        read_image(tmp_path / "x.jpg", Reading(max_pixels=256))
    (tmp_path / "y.jpg").write_bytes(content)
    assert read_image(tmp_path / "y.jpg", Reading(max_pixels=256)).shape == (16, 16)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_f038_pages_are_chosen_and_said(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    pages = [Image.new("RGB", (6, 4), (60 * k, 0, 0)) for k in range(1, 4)]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    pages[0].save(tmp_path / "x", kind, save_all=True, append_images=pages[1:], **options)
    with caplog.at_level(logging.WARNING):
        for chosen, number in {"first": 1, "middle": 2, "3": 3, "1": 1}.items():
            assert read_image(tmp_path / "x", Reading(frame=chosen))[0, 0, 0] == 60 * number
            assert caplog.messages.pop() == f"{tmp_path / 'x'} has 3 frames or pages: frame {number} is used"
    with pytest.raises(InputError, match="has 3 frames, and frame 4 was asked for"):
        read_image(tmp_path / "x", Reading(frame="4"))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "big TIFF"])
def test_pages_are_counted_as_pillow_counts_them_but_not_without_end(tmp_path: Path, kind: str) -> None:
    first = Image.new("P", (2, 2))
    options = {"big_tiff": True} if kind == "big TIFF" else {}
    for count in (1, 2, 7, 300):
        more = [Image.fromarray(np.full((2, 2), k % 250, np.uint8)) for k in range(1, count)]
        first.save(tmp_path / "x", kind[-4:].strip(), save_all=True, append_images=more, **options)
        with Image.open(tmp_path / "x") as image, (tmp_path / "x").open("rb") as file:
            assert (gif_frames if kind == "GIF" else tiff_pages)(file) == image.n_frames == count


def chain_of_pages(pages: int, *, circle: bool = False) -> bytes:
    """A TIFF of 4 x 4 pixels, again and again."""
    content = bytearray(b"II*\0" + struct.pack("<I", 24) + bytes(16))
    tags = [(256, 3, 4), (257, 3, 4), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 3, 4), (279, 4, 16)]
    for page in range(pages):
        content += struct.pack("<H", len(tags)) + b"".join(
            struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags
        )
        last = 24 if circle else 0
        content += struct.pack("<I", len(content) + 4 if page < pages - 1 else last)
    return bytes(content)


@pytest.mark.parametrize("content", [chain_of_pages(100_000), chain_of_pages(3, circle=True)], ids=["long", "circle"])
def test_pages_without_end_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tif").write_bytes(chain_of_pages(3))
    assert read_image(tmp_path / "x.tif", Reading(frame="3")).shape == (4, 4)
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(InputError, match="has more than 5000 frames or pages"):
        read_image(tmp_path / "x.tif")


def test_a_gif_of_ten_thousand_frames_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("P", (1, 1)).save(file, "GIF")
    content = file.getvalue()
    image = content[content.rindex(b",\0\0\0\0\1\0\1\0") : -1]
    (tmp_path / "x.gif").write_bytes(content[:-1] + image * 10_000 + b";")
    with pytest.raises(InputError, match="has more than 5000 frames or pages"):
        read_image(tmp_path / "x.gif")


@pytest.mark.parametrize(("kind", "place"), [("GIF", 6), ("BMP", 18)])
def test_a_header_that_its_file_cannot_keep(tmp_path: Path, kind: str, place: int) -> None:
    path = tmp_path / "x"
    for side in (1, 40, 3000):  # of one colour, the smallest files that there are
        Image.new("L", (side, side)).save(path, kind)
        assert read_image(path).shape[:2] == (side, side)
    content = bytearray(path.read_bytes()[:600])
    content[place : place + 4] = struct.pack("<HH", 9000, 9000) if kind == "GIF" else struct.pack("<I", 9000)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x states 9000 x .* pixels, which 600 bytes cannot hold; replace it"):
        read_image(path)


def test_a_tiff_whose_rows_have_no_strips(tmp_path: Path) -> None:
    for pixels in (UNTIL.astype(np.uint8), UNTIL.astype(np.uint16)):
        Image.fromarray(pixels).save(tmp_path / "x.tif")
        content = (tmp_path / "x.tif").read_bytes()
        entry = (
            content.index(struct.pack("<HH", 257, 4))
            if struct.pack("<HH", 257, 4) in content
            else content.index(struct.pack("<HH", 257, 3))
        )
        taller = content[: entry + 8] + struct.pack("<I", 300) + content[entry + 12 :]
        (tmp_path / "x.tif").write_bytes(taller)
        with pytest.raises(InputError, match=r"x\.tif is a TIFF whose strips or tiles do not cover it"):
            read_image(tmp_path / "x.tif")


def test_a_webp_larger_than_there_are(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (6, 4), (60 * k, 0, 0)) for k in range(1, 4)]
    pages[0].save(tmp_path / "x.webp", save_all=True, append_images=pages[1:], lossless=True)
    content = (tmp_path / "x.webp").read_bytes()
    assert content[12:16] == b"VP8X"
    (tmp_path / "x.webp").write_bytes(content[:24] + struct.pack("<I", 40_000)[:3] + content[27:])
    with pytest.raises(InputError, match="states 40001 x 4 pixels, more than WebP can hold"):
        read_image(tmp_path / "x.webp")


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.webp").open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWEBPVP8 ")
        file.truncate(3 << 30)  # without taking room
    with pytest.raises(InputError, match=r"x\.webp is a file of 3221225472 bytes, more than"):
        read_image(tmp_path / "x.webp")


def test_f063_a_small_file_of_many_pixels(tmp_path: Path) -> None:
    def png(side: int) -> bytes:
        chunks = {b"IHDR": struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0), b"IEND": b""}
        chunks[b"IDAT"] = zlib.compress(bytes((side // 8 + 1) * side), 9)
        order = (b"IHDR", b"IDAT", b"IEND")
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(chunks[name]))
            + name
            + chunks[name]
            + struct.pack(">I", zlib.crc32(name + chunks[name]))
            for name in order
        )

    (tmp_path / "x.png").write_bytes(png(20_000))
    with pytest.raises(InputError, match=r"x\.png has 20000 x 20000 pixels, more than 178956970"):
        read_image(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes(png(4000))
    assert read_image(tmp_path / "x.png").shape == (4000, 4000)


def test_a_page_larger_than_the_first_is_under_the_limit_too(tmp_path: Path) -> None:
    small, large = Image.new("L", (4, 4)), Image.new("L", (40, 40))
    small.save(tmp_path / "x.tif", save_all=True, append_images=[large])
    assert read_image(tmp_path / "x.tif", Reading(max_pixels=100)).shape == (4, 4)
    with pytest.raises(InputError, match="40 x 40 pixels, more than 100"):
        read_image(tmp_path / "x.tif", Reading(frame="2", max_pixels=100))


def test_one_frame_alone_is_its_own_middle_and_has_no_second(tmp_path: Path) -> None:
    path = save_image(tmp_path / "x.png", 9)
    assert read_image(path, Reading(frame="middle")).max() == 9
    with pytest.raises(InputError, match=r"x\.png has only one frame, and frame 2 was asked for"):
        read_image(path, Reading(frame="2"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("svg.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is not an image: expected PNG"),
        ("eps.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image"),
        ("pdf.png", b"%PDF-1.7\n", "is not an image"),
        ("fits.png", b"SIMPLE  =                    T".ljust(2880), "is not an image"),
        ("ppm.png", b"P6 1 1 255\nabc", "is not an image"),
        ("jp2.png", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "is not an image"),
        ("volume.nii.gz", gzip.compress(bytes(400), mtime=0), "NIfTI volume, and volumes are not supported"),
        ("renamed.png", bytes(344) + b"n+1\0" + bytes(100), "NIfTI volume"),
        ("empty.png", b"", "is empty"),
        ("short.png", b"\x89PNG\r\n\x1a\n", "cannot be read as an image"),
        ("short.tif", b"II*\0", "cannot be read as an image"),
        ("dicom.png", bytes(128) + b"DICM" + bytes(300), "is a damaged DICOM file"),
        ("x.dcm", b"GIF", "does not begin as a DICOM file does"),
    ],
)
def test_what_is_no_image_is_refused_in_words(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} .*{words}"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "lzw.tif", "bmp", "gif", "webp"])
def test_cut_anywhere_a_picture_is_whole_or_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    options = {"compression": "tiff_lzw"} if kind == "lzw.tif" else {}
    noise = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)
    whole, content = read_image(path), path.read_bytes()
    refused = 0
    for size in range(0, len(content), 5):
        path.write_bytes(content[:size])
        try:
            assert (read_image(path) == whole).all()
        except InputError:
            refused += 1
    assert refused >= 0.85 * len(range(0, len(content), 5))  # not what stands behind the pixels


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.png does not exist"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(InputError, match=tmp_path.name):
        read_image(tmp_path)


def test_f064_names_in_any_script_are_read(tmp_path: Path) -> None:
    assert read_image(save_image(tmp_path / "données 影像/x-ray #1 (2).png", 9)).tolist() == [[9] * 5] * 4


def test_f065_the_name_says_nothing(tmp_path: Path) -> None:
    Image.fromarray(UNTIL.astype(np.uint8)).save(tmp_path / "x.png")
    for name in ("x.JPG", "x.TIF", "x.dcm", "x", "x.npy"):
        (tmp_path / name).write_bytes((tmp_path / "x.png").read_bytes())
        assert (read_image(tmp_path / name) == UNTIL).all()


def tiff_with_a_long_tag(path: Path) -> Path:
    """Pillow warns of it: a tag's data lie beyond the end of the file."""
    Image.fromarray(UNTIL.astype(np.uint8)).save(path, tiffinfo={270: "x" * 40})
    content = path.read_bytes()
    entry = content.index(struct.pack("<HH", 270, 2))
    path.write_bytes(content[: entry + 4] + struct.pack("<I", 10**6) + content[entry + 8 :])
    return path


def test_decoders_warnings_stay_here_and_others_do_not(tmp_path: Path) -> None:
    path = tiff_with_a_long_tag(tmp_path / "x.tif")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Image.open(path).load()
        assert caught, "Pillow does warn of this file"
        caught.clear()
        assert (read_image(path) == UNTIL).all()
        assert not caught
        Image.open(path).load()
        assert caught, "afterwards Pillow warns as before"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (read_image(path) == UNTIL).all()


def test_quiet_is_of_one_thread(recwarn: pytest.WarningsRecorder) -> None:
    inside, over = threading.Event(), threading.Event()

    def stay() -> None:
        with quiet():
            inside.set()
            over.wait(60)
            warnings.warn("kept", stacklevel=1)

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait(60)
    warnings.warn("shown", stacklevel=1)
    over.set()
    thread.join()
    assert [str(warning.message) for warning in recwarn.list] == ["shown"]


def test_four_threads_read_as_one(tmp_path: Path, data_folder: Path, recwarn: pytest.WarningsRecorder) -> None:
    files = [
        path for path in sorted((data_folder / "odd").glob("*/*")) if path.suffix in (".png", ".tif", ".dcm", ".jpg")
    ]
    files = [*files, tiff_with_a_long_tag(tmp_path / "x.tif")] * 3

    def read(path: Path) -> bytes:
        try:
            return read_image(path).tobytes()
        except InputError as reason:
            return str(reason).encode()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, files)) == [read(path) for path in files]
    assert not recwarn.list


BAD = [
    "truncated.jpg",
    "truncated.png",
    "bad_crc.png",
    "empty.png",
    "text.jpg",
    "bomb_header.png",
    "mr_truncated_pixel_data.dcm",
]


@pytest.mark.parametrize("name", BAD)
def test_the_same_sentence_from_python_predict_and_train(
    name: str, odd: Path, tmp_path: Path, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    import medmamba
    from medmamba.bundle import Bundle
    from medmamba.cli import main
    from medmamba.data import Preprocessing
    from medmamba.tasks import Task

    data = make_folder({"a": 12, "b": 12})
    source = next(path for path in (odd / name, odd.parent / "dicom" / name) if path.exists())
    bad = data / "a" / name
    bad.write_bytes(source.read_bytes())
    with pytest.raises(InputError) as caught:
        read_image(bad)
    sentence = str(caught.value)

    bundle = Bundle("test_resnet", Task.BINARY, ("a", "b"), Preprocessing(32, 32))
    bundle.save(tmp_path / "model", bundle.build_model().state_dict())
    classifier = medmamba.load(tmp_path / "model", device="cpu")
    assert [answer.error for answer in classifier.predict([bad])] == [sentence]
    assert main(["predict", str(tmp_path / "model"), str(bad), "--device", "cpu"]) == 1
    assert list(csv.reader(io.StringIO(capsys.readouterr().out)))[1] == [str(bad), "", "", "", sentence]

    splits = (data / "splits.csv").open("w")
    with splits:
        splits.write("file,label,split\n" + "".join(f"{k}/{n:03}.png,{k},train\n" for k in "ab" for n in range(11)))
        splits.write(f"a/{name},a,train\na/011.png,a,val\nb/011.png,b,val\n")
    options = {"model": "test_resnet", "recipe": "quick", "image_size": (32, 32), "epochs": 1, "device": "cpu"}
    with pytest.raises(InputError) as caught:
        medmamba.fit(data, out=tmp_path / "run", **options)
    assert str(caught.value) == sentence
    arguments = ["--model", "test_resnet", "--recipe", "quick", "--image-size", "32", "32", "--device", "cpu"]
    assert main(["train", str(data), "--out", str(tmp_path / "run"), *arguments]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"medmamba: {sentence}"
    assert not (tmp_path / "run").exists()
