"""DICOM files give the pixels that a second conversion, of numpy alone, gives from the samples that pydicom decodes."""

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicoms import SECRET, item, save
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array

from medmamba.data import Reading, read_image
from medmamba.data.reading import read_frames
from medmamba.errors import InputError

JPEG = 4  # of 255: decoders differ by 1 in Y, Cb and Cr, which makes 1 + 1.772 in blue, and rounding
RAMP = np.arange(0, 2048, dtype=np.uint16).reshape(32, 64)  # 12 bits
CT = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}


def by_hand(path: Path, frame: int = 0) -> np.ndarray:
    """The documented rule, for files without lookup tables but a palette's, in whole arrays of float64."""
    made = pydicom.dcmread(path)
    samples = pixel_array(made, index=frame, raw=True).astype(np.float64)
    photometric = made.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        tables = []
        for name in ("Red", "Green", "Blue"):
            count, first, bits = getattr(made, f"{name}PaletteColorLookupTableDescriptor")
            entries = np.frombuffer(getattr(made, f"{name}PaletteColorLookupTableData"), "<u2")[: count or 65536]
            tables.append(entries[np.clip(samples.astype(int) - first, 0, len(entries) - 1)] // 2 ** (bits - 8))
        return np.stack(tables, -1)
    if photometric.startswith("YBR_FULL"):
        y, b, r = samples[..., 0], samples[..., 1] - 128, samples[..., 2] - 128
        return np.clip(np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], -1), 0, 255)
    if samples.ndim == 3:
        return samples // 2 ** (made.BitsStored - 8)
    rescaled = (made.get("RescaleSlope", 1), made.get("RescaleIntercept", 0)) != (1, 0)
    units = samples * float(made.get("RescaleSlope", 1)) + float(made.get("RescaleIntercept", 0))
    if made.get("WindowCenter") not in (None, ""):
        center, width = (np.ravel(made[name].value)[0] for name in ("WindowCenter", "WindowWidth"))
        shown = ((units - (float(center) - 0.5)) / (float(width) - 1) + 0.5) * 255
    elif made.BitsStored <= 8 and made.PixelRepresentation == 0 and not rescaled:
        shown = samples * 255 / (2**made.BitsStored - 1)
    else:
        padding = made.get("PixelPaddingValue")
        low, high = np.percentile(units[samples != padding] if padding is not None else units, (0.5, 99.5))
        shown = (units - low) / (high - low) * 255
    shown = np.rint(np.clip(shown, 0, 255))
    return 255 - shown if photometric == "MONOCHROME1" else shown


def assert_as_by_hand(path: Path, frame: int = 0) -> None:
    pixels, expected = read_image(path, Reading(frame=str(frame + 1))), by_hand(path, frame)
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    made = pydicom.dcmread(path, stop_before_pixels=True)
    lossy = made.PhotometricInterpretation.startswith("YBR_FULL") or made.file_meta.TransferSyntaxUID.endswith(".50")
    tolerance = JPEG if lossy else 0
    assert np.abs(pixels - expected).max() <= tolerance, path.name


def test_every_odd_dicom_is_as_converted_by_hand(data_folder: Path) -> None:
    files = sorted((data_folder / "odd/dicom").glob("*.dcm"))
    assert len(files) == 10
    for path in files:
        if path.name != "mr_truncated_pixel_data.dcm":
            assert_as_by_hand(path)
    assert_as_by_hand(data_folder / "odd/dicom/mr_10frames_12bit_jpegls.dcm", 4)
    assert_as_by_hand(data_folder / "odd/dicom/us_ybr422_30frames_jpeg.dcm", 29)


def test_a_truncated_dicom_is_an_error_with_its_numbers(data_folder: Path) -> None:
    with pytest.raises(InputError, match=r"mr_truncated_pixel_data.dcm is cut off: it holds 8130 bytes .* 8192"):
        read_image(data_folder / "odd/dicom/mr_truncated_pixel_data.dcm")


@pytest.mark.filterwarnings("ignore:The pixel data is")  # from pydicom, in the conversion by hand
@pytest.mark.parametrize(
    "name",
    [
        *("MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm", "MR_small_padded.dcm"),
        *("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm", "CT_small.dcm"),
        *("693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm"),
        *("SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm"),
        *(
            "SC_rgb_jpeg_gdcm.dcm",
            "SC_rgb_jls_lossy_line.dcm",
            "SC_rgb_gdcm_KY.dcm",
            "SC_ybr_full_422_uncompressed.dcm",
        ),
        *("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_jpeg_no_color_transform.dcm", "ExplVR_BigEnd.dcm"),
        *("examples_overlay.dcm", "GDCMJ2K_TextGBR.dcm", "examples_jpeg2k.dcm", "liver_1frame.dcm", "rtdose.dcm"),
    ],
)
def test_files_that_pydicom_brings(name: str) -> None:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom does not bring {name}")
    assert_as_by_hand(Path(path))


def test_f074_windows_that_are_multi_valued_empty_odd_or_absent(tmp_path: Path) -> None:
    several = save(tmp_path / "a.dcm", RAMP, **CT, WindowCenter=["40", "50"], WindowWidth=["400", "350"])
    shown = read_image(several).ravel() / 255
    assert shown[-160 + 1024] == pytest.approx(0, abs=0.01)
    assert shown[240 + 1024] == pytest.approx(1, abs=0.01)
    assert shown[40 + 1024] == pytest.approx(0.5, abs=0.01)
    by_percentiles = read_image(save(tmp_path / "b.dcm", RAMP, **CT))
    assert (by_percentiles.min(), by_percentiles.max()) == (0, 255)
    low, high = np.percentile(RAMP, (0.5, 99.5))
    assert (by_percentiles == np.rint(np.clip((RAMP - low) / (high - low) * 255, 0, 255))).all()
    for center, width in [("", ""), ("40", ""), ("", "400"), ("40", "0"), ("40", "-5"), ("40", "0.5"), ("40", None)]:
        path = save(tmp_path / "c.dcm", RAMP, **CT, WindowCenter=center, WindowWidth=width)
        assert (read_image(path) == by_percentiles).all(), (center, width)
    raw = path.read_bytes()
    assert raw.count(b"LO\x04\x00HU") == 0
    words = save(tmp_path / "d.dcm", RAMP, **CT, WindowCenter="40", WindowWidth="400").read_bytes()
    (tmp_path / "d.dcm").write_bytes(words.replace(b"DS\x04\x00400 ", b"DS\x04\x00wide"))
    assert (read_image(tmp_path / "d.dcm") == by_percentiles).all()


def test_f075_a_stated_window_goes_before_the_files_own(tmp_path: Path) -> None:
    path = save(tmp_path / "x.dcm", RAMP, **CT, WindowCenter="40", WindowWidth="400")
    shown = read_image(path, Reading(window="-650,1500")).ravel() / 255
    for unit, expected in {-650: 0.5, 100: 1.0, -1024: (-1024 + 1400) / 1500}.items():
        assert shown[unit + 1024] == pytest.approx(expected, abs=0.01)


def test_f074_the_choice_is_in_the_log_for_those_who_ask(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    window = {"WindowCenter": "40", "WindowWidth": "400"}
    with caplog.at_level(logging.DEBUG, "medmamba"):
        read_image(save(tmp_path / "a.dcm", RAMP, **CT, **window), Reading(window="lung"))
        read_image(save(tmp_path / "b.dcm", RAMP, **CT, **window))
        read_image(save(tmp_path / "c.dcm", RAMP, **CT))
        read_image(save(tmp_path / "d.dcm", RAMP.astype(np.uint8)))
    said = ["the stated window", "the file's window", "percentiles", "the numbers as they are"]
    assert caplog.messages == [f"frame 1 is shown by {what}" for what in said]


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID"])
def test_functions_of_the_files_window(tmp_path: Path, function: str) -> None:
    path = save(tmp_path / "x.dcm", RAMP, **CT, WindowCenter="40", WindowWidth="400", VOILUTFunction=function)
    units = RAMP - 1024.0
    if function == "SIGMOID":
        expected = 255 / (1 + np.exp(-4 * (units - 40) / 400))
    else:
        expected = np.clip((units - 40) / 400 + 0.5, 0, 1) * 255
    assert (read_image(path) == np.rint(expected)).all()


def test_monochrome1_is_inverted_once_and_last(tmp_path: Path) -> None:
    options: dict[str, Any] = {**CT, "WindowCenter": "40", "WindowWidth": "400"}
    one = read_image(save(tmp_path / "1.dcm", RAMP, **options, PhotometricInterpretation="MONOCHROME1"))
    assert (one == 255 - read_image(save(tmp_path / "2.dcm", RAMP, **options))).all()
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = save(tmp_path / "3.dcm", eight, PhotometricInterpretation="MONOCHROME1")
    assert (read_image(path) == 255 - eight).all()
    assert (read_image(path, Reading(window="10,20")) == 255 - eight).all(), "no window for 8 bits without units"
    same = save(tmp_path / "4.dcm", eight, RescaleSlope="1", RescaleIntercept="0")
    assert (read_image(same, Reading(window="10,20")) == eight).all()
    units = save(tmp_path / "5.dcm", eight, RescaleSlope="2", RescaleIntercept="0")
    expected = np.rint(np.clip((2.0 * eight - 10) / 20 + 0.5, 0, 1) * 255)
    assert (read_image(units, Reading(window="10,20")) == expected).all()


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_signed_and_unsigned_numbers_of_each_depth(tmp_path: Path, bits: int, kind: type) -> None:
    least = -(2 ** (bits - 1)) if kind is np.int16 else 0
    values = np.linspace(least, least + 2**bits - 1, 64).round().astype(kind).reshape(8, 8)
    dirty = values if bits == 16 else (values & (2**bits - 1)) | (1 << bits)  # an overlay lies in the bits above
    path = save(tmp_path / "x.dcm", dirty.astype(kind), BitsStored=bits)
    low, high = np.percentile(values.astype(float), (0.5, 99.5))
    assert (read_image(path) == np.rint(np.clip((values - low) / (high - low) * 255, 0, 255))).all()


def test_padding_does_not_count(tmp_path: Path) -> None:
    values = np.arange(100, 356, dtype=np.int16).reshape(16, 16)
    values[:4] = -2000
    path = save(tmp_path / "x.dcm", values, PixelPaddingValue=-2000)
    low, high = np.percentile(values[4:], (0.5, 99.5))
    assert (read_image(path) == np.rint(np.clip((values - low) / (high - low) * 255, 0, 255))).all()
    values[4:6] = -1990
    limit = save(tmp_path / "y.dcm", values, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990)
    low, high = np.percentile(values[6:], (0.5, 99.5))
    assert (read_image(limit) == np.rint(np.clip((values - low) / (high - low) * 255, 0, 255))).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1), (3, 3, 5)])
def test_odd_lengths_are_filled_up(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = save(tmp_path / "x.dcm", values)
    assert (read_image(path) == (values if values.ndim == 2 else values[0])).all()


def test_planar_colours_and_one_bit(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    planes = np.ascontiguousarray(colours.transpose(2, 0, 1)).reshape(6, 5, 3)
    assert (read_image(save(tmp_path / "a.dcm", colours)) == colours).all()
    assert (read_image(save(tmp_path / "b.dcm", planes, PlanarConfiguration=1)) == colours).all()
    bits = np.random.default_rng(1).integers(0, 2, (3, 5, 7), dtype=np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    path = save(tmp_path / "c.dcm", bits, BitsAllocated=1, BitsStored=1)
    raw = pydicom.dcmread(path)
    raw.PixelData = packed
    raw.save_as(path)
    for frame in range(3):
        assert (read_image(path, Reading(frame=str(frame + 1))) == 255 * bits[frame]).all()


def test_tables_of_modality_voi_and_palette(tmp_path: Path) -> None:
    squares = (np.arange(256) ** 2).astype(np.uint16)
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    modality = item(LUTDescriptor=[256, 0, 16], LUTData=squares.tobytes(), ModalityLUTType="US")
    path = save(tmp_path / "a.dcm", stored, ModalityLUTSequence=[modality], WindowCenter="1000", WindowWidth="2001")
    expected = np.rint(np.clip((squares[stored] - 999.5) / 2000 + 0.5, 0, 1) * 255)
    assert (read_image(path) == expected).all()

    roots = np.rint(np.sqrt(np.arange(2048)) * 90).astype(np.uint16)  # 12 bits
    voi = item(LUTDescriptor=[2048, -1024, 12], LUTData=roots.tobytes())
    voi["LUTDescriptor"].VR = "SS"
    path = save(tmp_path / "b.dcm", RAMP, **CT, VOILUTSequence=[voi])
    assert (read_image(path) == np.rint(roots[RAMP] * 255.0 / 4095)).all()
    both = save(tmp_path / "c.dcm", RAMP, **CT, VOILUTSequence=[voi], WindowCenter="40", WindowWidth="400")
    window_alone = save(tmp_path / "d.dcm", RAMP, **CT, WindowCenter="40", WindowWidth="400")
    assert (read_image(both) == read_image(window_alone)).all()

    palette = np.random.default_rng(0).integers(0, 65536, (3, 16), dtype=np.uint16)
    tables = {}
    for name, plane in zip(("Red", "Green", "Blue"), palette, strict=True):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [16, 100, 16]
        tables[f"{name}PaletteColorLookupTableData"] = plane.tobytes()
    painted = save(tmp_path / "e.dcm", stored, PhotometricInterpretation="PALETTE COLOR", **tables)
    place = np.clip(stored.astype(int) - 100, 0, 15)
    assert (read_image(painted) == np.moveaxis(palette[:, place] >> 8, 0, -1)).all()


def test_rescale_and_window_of_each_frame(tmp_path: Path) -> None:
    frames = np.stack([RAMP, RAMP])
    groups = [
        item(
            PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept="0", RescaleType="US")],
            FrameVOILUTSequence=[item(WindowCenter=center, WindowWidth="1001")],
        )
        for slope, center in (("1", "500"), ("2", "1500"))
    ]
    path = save(tmp_path / "x.dcm", frames, PerFrameFunctionalGroupsSequence=groups)
    for frame, (slope, center) in enumerate([(1, 500), (2, 1500)]):
        expected = np.rint(np.clip((RAMP * float(slope) - (center - 0.5)) / 1000 + 0.5, 0, 1) * 255)
        assert (read_image(path, Reading(frame=str(frame + 1))) == expected).all()
    shared = save(tmp_path / "y.dcm", frames, SharedFunctionalGroupsSequence=groups[1:])
    assert (read_image(shared) == expected).all()


@pytest.mark.parametrize("slope", ["0", "x", "1e999"])
def test_a_rescale_that_is_none_is_an_error(tmp_path: Path, slope: str) -> None:
    path = save(tmp_path / "x.dcm", RAMP, RescaleSlope="7", RescaleIntercept="0")
    padded = slope.encode() + b" " * (len(slope) % 2)
    path.write_bytes(path.read_bytes().replace(b"DS\x02\x007 ", b"DS" + bytes([len(padded), 0]) + padded))
    with pytest.raises(InputError, match="rescale slope and intercept are no numbers"):
        read_image(path)


def test_f038_frames_are_chosen_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = np.stack([np.full((40, 30), 10 * k, np.uint8) for k in range(1, 6)])
    frames[:, 0, 0] = 255
    path = save(tmp_path / "five.dcm", frames)
    with caplog.at_level(logging.WARNING):
        for chosen, number in {"first": 1, "middle": 3, "5": 5}.items():
            assert (read_image(path, Reading(frame=chosen)) == frames[number - 1]).all()
            assert caplog.messages.pop() == f"{path} has 5 frames or pages: frame {number} is used"
            caplog.clear()
        assert [frame[1, 1] for frame in read_frames(path, Reading(frame="all"))] == [10, 20, 30, 40, 50]
        assert caplog.messages == [f"{path} has 5 frames or pages: all are used"]
    with pytest.raises(InputError, match=r"five.dcm has 5 frames, and frame 6 was asked for"):
        read_image(path, Reading(frame="6"))
    with pytest.raises(InputError, match=r"all frames of .*five.dcm"):
        read_image(path, Reading(frame="all"))


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "JPEG", quality=95, subsampling=0, **options)
    return made.getvalue()


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("marker", ["JFIF", "Adobe YCbCr", "Adobe RGB", "none"])
def test_colours_of_a_jpeg_stream_are_what_its_markers_say(tmp_path: Path, marker: str, photometric: str) -> None:
    colours = np.kron(
        np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8)
    )
    stream = jpeg(colours, keep_rgb=marker == "Adobe RGB" or (marker == "none" and photometric == "RGB"))
    if marker in ("Adobe YCbCr", "none"):
        stream = stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]  # without its first segment
    if marker == "Adobe YCbCr":
        stream = stream[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\1" + stream[2:]
    syntax = "1.2.840.10008.1.2.4.50"
    path = save(tmp_path / "x.dcm", colours, syntax=syntax, frames=[stream], PhotometricInterpretation=photometric)
    assert np.abs(read_image(path).astype(int) - colours).mean() < 2


@pytest.mark.parametrize("pieces", [1, 3])
def test_compressed_frames_in_several_pieces(tmp_path: Path, pieces: int) -> None:
    frames = np.stack([np.full((16, 16), 40 * k, np.uint8) for k in range(1, 4)])
    streams = [jpeg(frame) for frame in frames]
    path = save(tmp_path / "x.dcm", frames, syntax="1.2.840.10008.1.2.4.50", frames=streams)
    made = pydicom.dcmread(path)
    made.PixelData = pydicom.encaps.encapsulate(streams, fragments_per_frame=pieces, has_bot=pieces == 3)
    made.save_as(path)
    for number, frame in enumerate(frames, 1):
        assert np.abs(read_image(path, Reading(frame=str(number))).astype(int) - frame).max() <= 1


def test_f073_a_constant_image_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path / "zero.dcm", np.zeros((8, 8), np.uint16))
    with caplog.at_level(logging.WARNING):
        assert read_image(path).max() == 0
        assert "zero.dcm, frame 1: every pixel has the same value" in caplog.text
        caplog.clear()
        read_image(path, tell=False)
        assert caplog.text == ""


def test_f073_a_missing_plugin_is_named_with_the_syntax_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "j.dcm", RAMP, syntax="1.2.840.10008.1.2.4.91", frames=[b"garbage."])
    monkeypatch.setattr("pydicom.pixels.common.CoderBase.available_plugins", ())
    with pytest.raises(InputError, match=r"JPEG 2000, which needs pylibjpeg-openjpeg: pip install 'medmamba\[dicom\]'"):
        read_image(path)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(InputError, match=r"pydicom, .* is not installed: pip install 'medmamba\[dicom\]'"):
        read_image(path)


@pytest.fixture
def classifier(tmp_path: Path) -> Any:
    import medmamba
    from medmamba.bundle import Bundle
    from medmamba.data import Preprocessing
    from medmamba.tasks import Task

    bundle = Bundle("test_resnet", Task.BINARY, ("a", "b"), Preprocessing(32, 32))
    bundle.save(tmp_path / "model", bundle.build_model().state_dict())
    return medmamba.load(tmp_path / "model", device="cpu")


def test_f038_f073_predict_gives_rows_of_frames_and_of_what_cannot_be_decoded(
    tmp_path: Path, classifier: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from medmamba.cli.console import as_csv

    five = save(tmp_path / "five.dcm", np.stack([RAMP // k for k in range(1, 6)]), PatientName=SECRET, PatientID=SECRET)
    lost = save(tmp_path / "lost.dcm", RAMP, syntax="1.2.840.10008.1.2.4.91", frames=[b"garbage."], PatientName=SECRET)
    zero = save(tmp_path / "zero.dcm", RAMP * 0, PatientName=SECRET)
    monkeypatch.setattr("pydicom.pixels.common.CoderBase.available_plugins", ())
    with caplog.at_level(logging.DEBUG, "medmamba"):
        answers = classifier.predict([five, lost, zero], frame="all")
    assert [answer.file for answer in answers] == [
        *(f"{five}#{k}" for k in range(1, 6)),
        str(five),
        str(lost),
        str(zero),
    ]
    assert [answer.error is None for answer in answers] == [True] * 6 + [False, True]
    assert "compressed as JPEG 2000, which needs pylibjpeg-openjpeg: pip install" in answers[6].error
    assert f"{zero}, frame 1: every pixel has the same value" in caplog.messages
    assert "Marker" not in as_csv(answers, classifier.classes) + caplog.text
