"""Damaged and hostile DICOM files are one sentence, within limits, and never repeat who somebody is."""

import logging
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicoms import EXPLICIT, SECRET, element, file_of, grey_header, number, save
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame

from medmamba.data import Reading, read_image
from medmamba.data.dicom import decoding
from medmamba.errors import InputError

resource = pytest.importorskip("resource")

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)
ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HH", 0xFFFE, tag) for tag in (0xE000, 0xE00D, 0xE0DD))
PRIVATE = 0x00091010
UNDEFINED = 0xFFFFFFFF


def refusal(path: Path, reading: Reading | None = None) -> str:
    """The error, which is one sentence with the file's name, without much memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as caught:
        read_image(path, reading or Reading())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes
    text = str(caught.value)
    assert text.startswith(f"{path} ")
    assert "\n" not in text
    return text.removeprefix(f"{path} ")


def write(path: Path, *elements: bytes, syntax: str = EXPLICIT) -> Path:
    path.write_bytes(file_of(*elements, syntax=syntax))
    return path


def good(rows: int = 8, columns: int = 8, more: bytes = b"") -> bytes:
    return grey_header(rows, columns, more=more) + element(0x7FE00010, b"OB", PIXELS.tobytes())


def test_the_smallest_good_file(tmp_path: Path) -> None:
    assert (read_image(write(tmp_path / "x.dcm", good())) == PIXELS).all()


def test_cut_anywhere_it_is_refused(tmp_path: Path, data_folder: Path) -> None:
    path = tmp_path / "cut.dcm"
    for whole in sorted((data_folder / "odd/dicom").glob("*.dcm")):
        content = whole.read_bytes()
        for size in range(0, len(content), 1024):
            path.write_bytes(content[:size])
            if (whole.name, size) == ("us_rgb.dcm", 231_424):  # only what stands behind its pixels is cut off
                assert (read_image(path) == read_image(whole)).all()
            else:
                refusal(path)
    content = file_of(good())
    for size in range(len(content)):
        path.write_bytes(content[:size])
        refusal(path)


@pytest.mark.parametrize("sized", [True, False])
def test_sequences_ten_thousand_deep(tmp_path: Path, sized: bool) -> None:
    content = b""
    if sized:  # wanted ones are looked into, others are stepped over
        for _ in range(10_000):
            content = element(0x52009229, b"SQ", ITEM + struct.pack("<I", len(content)) + content)
        path = write(tmp_path / "x.dcm", content, good())
        assert (read_image(path) == PIXELS).all()
        return
    start = element(PRIVATE, b"SQ", b"", length=UNDEFINED) + ITEM + b"\xff" * 4
    end = (ITEM_END + bytes(4)) + (SEQUENCE_END + bytes(4))
    assert "64 deep" in refusal(write(tmp_path / "x.dcm", start * 10_000 + end * 10_000, good()))
    shallow = write(tmp_path / "y.dcm", start * 60 + element(0x00100010, b"PN", b"x ") + end * 60, good())
    assert (read_image(shallow) == PIXELS).all()


def test_a_length_of_four_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    for tag, kind in ((PRIVATE, b"UN"), (0x00280010, b"UL"), (0x00281201, b"OW"), (0x00080005, b"UT")):
        for length in (UNDEFINED, UNDEFINED - 1, 0x7FFFFFFF):
            write(
                path,
                element(tag, kind, b"1234", length=length)
                if kind != b"UL"
                else element(tag, b"UN", b"", length=length),
            )
            refusal(path)
    native = grey_header(8, 8) + element(0x7FE00010, b"OB", PIXELS.tobytes(), length=UNDEFINED)
    assert "encapsulated" in refusal(write(path, native))
    assert "cut off" in refusal(write(path, grey_header(8, 8) + element(0x7FE00010, b"OB", b"", length=0xFFFFFFF0)))
    big = element(0x00281201, b"OW", bytes(300_000))
    assert "an element of 300000 bytes" in refusal(write(path, big, good()))


def test_elements_without_end(tmp_path: Path) -> None:
    path = write(tmp_path / "x.dcm", element(PRIVATE, b"LO", b"") * 310_000, good())
    with pytest.raises(InputError, match="more than 300000 elements"):
        read_image(path)
    path.write_bytes(bytes(128) + b"DICM" + element(0x00020100, b"SH", b"") * 100_000)
    with pytest.raises(InputError, match="elements about the file"):
        read_image(path)


def test_a_deflated_bomb_is_not_inflated(tmp_path: Path) -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(squeeze.compress(bytes(2**20)) for _ in range(50)) + squeeze.flush()
    assert "deflated" in refusal(write(tmp_path / "x.dcm", bomb, syntax="1.2.840.10008.1.2.1.99"))


@pytest.mark.parametrize(
    ("rows", "columns", "words"), [(0, 8, "0 rows"), (8, 0, "0 columns"), (65535, 65535, "pixels")]
)
def test_sizes_that_are_none_or_too_large(tmp_path: Path, rows: int, columns: int, words: str) -> None:
    assert words in refusal(write(tmp_path / "x.dcm", good(rows, columns)))


def test_f063_the_limit_of_pixels_can_be_changed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.dcm", good())
    assert "8 x 8 pixels, more than 63; shrink it, or raise --max-pixels" in refusal(path, Reading(max_pixels=63))
    assert (read_image(path, Reading(max_pixels=64)) == PIXELS).all()


@pytest.mark.parametrize("stated", ["0", "-1", "2", "1000000", "99999999999", "1A", "1e3"])
def test_a_number_of_frames_that_lies(tmp_path: Path, stated: str) -> None:
    content = element(0x00280008, b"IS", stated.encode().ljust(len(stated) + len(stated) % 2))
    said = refusal(write(tmp_path / "x.dcm", good(more=content)))
    assert "Number of Frames" in said or "64 bytes of pixels" in said
    fewer = grey_header(8, 8, more=element(0x00280008, b"IS", b"1 ")) + element(0x7FE00010, b"OB", bytes(640))
    assert "it holds 640 bytes of pixels, and its header asks for 64" in refusal(write(tmp_path / "y.dcm", fewer))


@pytest.mark.parametrize("frames", [1, 3])
def test_compressed_frames_that_are_not_as_many_as_said(tmp_path: Path, frames: int) -> None:
    path = save(tmp_path / "x.dcm", np.stack([PIXELS] * 2), syntax="1.2.840.10008.1.2.5", frames=[bytes(66)] * frames)
    assert f"it has 2 frames, and its compressed pixels are of {frames}" in refusal(path)


@pytest.mark.parametrize(
    "name",
    [
        *("MR_small_jpeg_ls_lossless.dcm", "JPEGLSNearLossless_08.dcm", "JPGExtended.dcm", "SC_rgb_jpeg_gdcm.dcm"),
        *("MR_small_jp2klossless.dcm", "SC_rgb_gdcm_KY.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm"),
    ],
)
def test_a_frame_that_was_cut_before_it_was_put_into_its_file(tmp_path: Path, name: str) -> None:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom does not bring {name}")
    whole = dcmread(path)
    frame = get_frame(whole.PixelData, 0, number_of_frames=1)
    for part in (0.99, 0.9, 0.5, 0.2):
        whole.PixelData = encapsulate([frame[: int(len(frame) * part)]])
        whole["PixelData"].is_undefined_length = True
        whole.save_as(tmp_path / "x.dcm")
        refusal(tmp_path / "x.dcm")


def test_a_stream_that_is_larger_than_the_header_says_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoder(*_: object, **__: object) -> None:
        pytest.fail("a decoder was called")

    monkeypatch.setattr(decoding, "_by_pillow", decoder)
    monkeypatch.setattr(
        "pydicom.pixels.get_decoder",
        lambda uid: type("D", (), {"available_plugins": ("pylibjpeg", "pillow", "pydicom"), "as_array": decoder}),
    )
    jpeg = b"\xff\xd8\xff%c\0\x0b\x08\xff\xff\xff\xff\x01\x01\x11\0\xff\xda"
    size = struct.pack(">8IH", 60000, 60000, 0, 0, 60000, 60000, 0, 0, 1) + b"\x07\1\1"
    j2k = b"\xff\x4f\xff\x51\0\x29\0\0" + size
    tiny_tiles = struct.pack(">8IH", 8, 8, 0, 0, 1, 1, 0, 0, 1) + b"\x07\1\1"
    cases = {
        "1.2.840.10008.1.2.4.50": (jpeg % 0xC0, "65535 x 65535"),
        "1.2.840.10008.1.2.4.70": (jpeg % 0xC3, "65535 x 65535"),
        "1.2.840.10008.1.2.4.80": (jpeg % 0xF7, "65535 x 65535"),
        "1.2.840.10008.1.2.4.51": (jpeg % 0xC3, "cannot be decoded (JPEG Extended)"),
        "1.2.840.10008.1.2.4.90": (j2k, "60000 x 60000"),
        "1.2.840.10008.1.2.4.91": (j2k[:-10], "cannot be decoded (JPEG 2000)"),
        "1.2.840.10008.1.2.5": (b"\2\0\0\0" + bytes(62), "cannot be decoded (RLE Lossless)"),
    }
    for syntax, (stream, words) in cases.items():
        assert words in refusal(save(tmp_path / "x.dcm", PIXELS, syntax=syntax, frames=[stream])), syntax
    big = np.zeros((100, 100), np.uint8)
    many = b"\xff\x4f\xff\x51\0\x29\0\0" + tiny_tiles.replace(struct.pack(">2I", 8, 8), struct.pack(">2I", 100, 100), 1)
    assert "cannot be decoded" in refusal(save(tmp_path / "x.dcm", big, syntax="1.2.840.10008.1.2.4.90", frames=[many]))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"PhotometricInterpretation": "CMYK"}, "photometric interpretation is missing or none"),
        ({"SamplesPerPixel": 3}, "3 samples a pixel, which does not go with MONOCHROME2"),
        ({"BitsAllocated": 12}, "8 in 12 bits"),
        ({"BitsStored": 9}, "9 in 8 bits"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "its palette is missing"),
    ],
)
def test_descriptions_that_make_no_sense(tmp_path: Path, changed: dict[str, object], words: str) -> None:
    assert words in refusal(save(tmp_path / "x.dcm", PIXELS, **changed))


def test_files_that_hold_no_image_or_are_in_another_form(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    assert "without pixel data" in refusal(write(path, element(0x00080060, b"CS", b"SR")))
    assert "does not say its Rows" in refusal(write(path, element(0x7FE00010, b"OB", b"12")))
    assert "(MPEG-4 AVC/H.264 High Profile / Level 4.1)" in refusal(
        write(path, good(), syntax="1.2.840.10008.1.2.4.102")
    )
    path.write_bytes(b"no DICOM" * 40)
    assert "does not begin as a DICOM file does" in refusal(path)
    shifted = grey_header(8, 8).replace(number(0x00280102, 7), number(0x00280102, 15))
    assert "lower part" in refusal(write(path, shifted + element(0x7FE00010, b"OB", PIXELS.tobytes())))


def test_a_syntax_that_is_no_syntax_is_not_repeated(tmp_path: Path) -> None:
    for name in ("../../x", SECRET, "1.2.3.4"):
        said = refusal(write(tmp_path / "x.dcm", good(), syntax=name))
        assert "a transfer syntax that is not read (an unknown one)" in said


def test_a_preamble_of_another_kind_of_file_changes_nothing(tmp_path: Path) -> None:
    for magic in (b"MZ", b"\x7fELF", b"II*\0", b"%PDF-1.7"):
        content = file_of(good())
        (tmp_path / "x.dcm").write_bytes(magic + content[len(magic) :])
        assert (read_image(tmp_path / "x.dcm") == PIXELS).all()


NAMES = [0x00100010, 0x00100020, 0x00080080, 0x00080090, 0x00101040]
MOVED = [0x00080005, 0x00280004, 0x00280008, 0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281056, 0x00020010]
MOVED += [0x00280010, 0x00280120, 0x00281101, 0x00281201, 0x00283000, 0x00283010, 0x52009229, 0x7FE00010]


def test_nothing_that_tells_who_somebody_is_gets_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    identity = b"".join(element(tag, b"PN", SECRET.encode() + b" ") for tag in NAMES)
    rest = element(0x00281050, b"DS", b"40") + element(0x00281051, b"DS", b"400 ")
    whole = file_of(identity, grey_header(8, 8), rest, element(0x7FE00010, b"OB", PIXELS.tobytes()))
    files = [whole, whole[:-10], whole[:300]]
    files += [
        whole.replace(struct.pack("<HH", 0x10, 0x10), struct.pack("<HH", tag >> 16, tag & 65535), 1) for tag in MOVED
    ]
    for kind in (
        b"DS",
        b"IS",
        b"UI",
        b"US",
        b"SQ",
        b"UN",
        b"OB",
        b"CS",
        b"??",
    ):  # with the name as a number or a sequence
        files += [
            whole.replace(struct.pack("<HH", 0x10, 0x10) + b"PN", struct.pack("<HH", tag >> 16, tag & 65535) + kind, 1)
            for tag in MOVED
        ]
    for syntax in decoding.SYNTAXES:  # the name where a decoder expects its stream
        stream = save(tmp_path / "y.dcm", PIXELS, syntax=syntax, frames=[SECRET.encode() * 6], PatientName=SECRET)
        files.append(stream.read_bytes())
    files += [whole[:at] + whole[at + 1 :] for at in range(140, len(whole) - 64, 3)]
    said: list[str] = []
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        for content in files:
            (tmp_path / "x.dcm").write_bytes(content)
            for reading in (Reading(), Reading(window="lung", frame="2")):
                try:
                    read_image(tmp_path / "x.dcm", reading)
                except InputError as reason:
                    said.append(str(reason))
    out, err = capfd.readouterr()
    assert len(said) > 200
    assert not warned
    assert not [record.name for record in caplog.records if not record.name.startswith("medmamba")]
    for text in (*said, caplog.text, out, err):
        assert "Marker" not in text
        assert "Nobody" not in text


@pytest.mark.parametrize("make", [lambda: 1 / 0, lambda: int(SECRET), lambda: [SECRET][3]])
def test_errors_of_other_makers_lose_their_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], object]
) -> None:
    path = write(tmp_path / "x.dcm", good())
    monkeypatch.setattr("medmamba.data.dicom.describe", lambda *_, **__: make())
    said = refusal(path)
    assert SECRET not in said
    assert "it cannot be read (" in said
