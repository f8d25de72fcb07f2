"""Windows and ranges give the pixels that the documented formulas give."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmamba.data import Preprocessing, Reading, read_image
from medmamba.data.windows import BLOCK, FUNCTIONS, PRESETS, Window, parse_window, scale
from medmamba.errors import InputError

HU = np.arange(-1024, 1025, dtype=np.int16).reshape(1, -1)


def by_hand(x: float, center: float, width: float, function: str) -> float:
    """PS3.3, C.11.2.1.2.1 and C.11.2.1.3, one value at a time, to 0..1."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (x - center) / width))
    if function == "LINEAR":
        if x <= center - 0.5 - (width - 1) / 2:
            return 0.0
        if x > center - 0.5 + (width - 1) / 2:
            return 1.0
        return (x - (center - 0.5)) / (width - 1) + 0.5
    if x <= center - width / 2:
        return 0.0
    return 1.0 if x > center + width / 2 else (x - center) / width + 0.5


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of the conversion by hand
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("center", "width"), [(40, 400), (-600, 1500), (0, 1), (10.5, 3.25), (1, 2)])
def test_each_function_is_that_of_the_standard(function: str, center: float, width: float) -> None:
    pixels = scale(HU, Window(center, width, function))
    expected = np.array([[np.rint(255 * by_hand(float(x), center, width, function)) for x in HU[0]]])
    assert np.abs(pixels - expected).max() == 0


def test_f075_a_stated_window_in_units(tmp_path) -> None:
    Image.fromarray(HU.astype(np.float32)).save(tmp_path / "ramp.tif")
    pixels = read_image(tmp_path / "ramp.tif", Reading(window="-650,1500"))[0] / 255
    for value, expected in {-650: 0.5, 100: 1.0, -1024: (1500 / 2 - 374) / 1500}.items():
        assert pixels[value + 1024] == pytest.approx(expected, abs=0.01)
    assert parse_window("-650,1500").scaled(np.array([-1400.0, 100.0])).tolist() == [0.0, 255.0]


def test_presets_have_names_and_the_model_keeps_what_was_asked_for() -> None:
    assert parse_window("lung") == Window(-600, 1500)
    assert parse_window("file") is None
    assert {"lung", "bone", "brain", "soft-tissue", "mediastinum"} <= set(PRESETS)
    stored = Preprocessing(8, 8, reading=Reading("brain", "middle", 1000)).to_dict()
    assert stored["reading"] == {"window": "brain", "frame": "middle", "max_pixels": 1000}
    assert Preprocessing.from_dict(stored).reading == Reading("brain", "middle", 1000)


def test_the_documents_list_the_presets() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/dicom.md").read_text()
    rows = re.findall(r"^\| ([a-z-]+) \| (-?\d+), (\d+) \|$", page, flags=re.MULTILINE)
    assert {name: Window(float(center), float(width)) for name, center, width in rows} == PRESETS


def test_a_bundle_of_before_is_read_with_the_defaults() -> None:
    older = Preprocessing(8, 8).to_dict()
    del older["reading"]
    assert Preprocessing.from_dict(older).reading == Reading()
    assert Preprocessing.from_dict(older | {"reading": {"frame": "2"}}).reading == Reading(frame="2")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"window": "lungs"}, "did you mean 'lung'"),
        ({"window": "40"}, "give CENTER,WIDTH"),
        ({"window": "40,0"}, "give CENTER,WIDTH"),
        ({"window": "40,-5"}, "give CENTER,WIDTH"),
        ({"window": "nan,5"}, "give CENTER,WIDTH"),
        ({"window": "1_0,5"}, "give CENTER,WIDTH"),
        ({"window": "1e400,5"}, "give CENTER,WIDTH"),
        ({"window": "1,2,3"}, "give CENTER,WIDTH"),
        ({"window": ""}, "give CENTER,WIDTH"),
        ({"window": 5}, "no text"),
        ({"frame": "0"}, "a number from 1"),
        ({"frame": "last"}, "a number from 1"),
        ({"frame": "-1"}, "a number from 1"),
        ({"frame": "²"}, "a number from 1"),
        ({"frame": "9" * 5000}, "a number from 1"),
        ({"max_pixels": 0}, "no limit"),
        ({"max_pixels": True}, "no limit"),
        ({"max_pixels": 1.5}, "no limit"),
        ({"gamma": 1}, "unknown settings of reading gamma"),
    ],
)
def test_settings_that_are_none_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        Preprocessing.from_dict({"height": 8, "width": 8, "reading": settings})


def test_all_frames_are_for_prediction_alone() -> None:
    with pytest.raises(InputError, match="one frame a file, not on all"):
        Preprocessing(8, 8, reading=Reading(frame="all"))


def test_eight_bits_are_never_windowed(tmp_path) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", ramp)
    for name in ("x.png", "x.npy"):
        assert (read_image(tmp_path / name, Reading(window="10,20")) == ramp).all()


def test_ranges_and_what_is_not_finite() -> None:
    assert scale(np.array([[1000, 1500], [2000, 1250]], np.uint16), None).tolist() == [[0, 128], [255, 64]]
    assert scale(np.array([[1000, 1500, 2000]], np.uint16), None, inverted=True).tolist() == [[255, 127, 0]]
    assert scale(np.full((2, 2), 7.5), None).tolist() == [[0, 0], [0, 0]]
    assert scale(np.array([np.nan, -np.inf, np.inf, 1.0, 3.0]), None).tolist() == [0, 0, 0, 0, 255]
    assert scale(np.array([np.nan, np.nan]), None).tolist() == [0, 0]
    assert scale(np.array([np.nan, 5.0, -5.0]), Window(0, 2)).tolist() == [0, 255, 0]


@pytest.mark.parametrize("kind", [np.int64, np.int16, np.uint16, np.float32])
def test_neither_blocks_nor_tables_show(kind: type) -> None:
    values = np.arange(2 * BLOCK + 5) % 4001
    expected = np.rint(values * (255 / 4000)).astype(np.uint8)
    assert (scale(values.astype(kind), None) == expected).all()
