"""Every row of the table: what it must leave alone, that it grows with severity, and that it is what its name says."""

import ast
import hashlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from medmamba.data import find_images, read_image
from medmamba.data.phantoms import phantom
from medmamba.errors import InputError
from medmamba.robustness import CORRUPTIONS
from medmamba.robustness.colour import _black_body, colour_temperature
from medmamba.robustness.pixels import working_size
from medmamba.robustness.table import MEDMNIST_C, PAPER, SEVERITIES, chosen

ROOT = Path(__file__).parents[2]
ROWS = pytest.mark.parametrize("name", CORRUPTIONS)
ANY_PICTURE = [name for name, row in CORRUPTIONS.items() if not row.needs_colour]


@cache
def grey(index=0, size=224):
    return phantom(index, size=size)[0]


@cache
def coloured(index=0, size=224):
    """Three phantoms, one a channel, drawn together so that most pixels are pale."""
    channels = np.stack([phantom(index + k, size=size)[0] for k in range(3)], axis=-1).astype(float)
    return np.rint(0.6 * channels[..., :1] + 0.4 * channels).astype(np.uint8)


def corrupt(name, image, severity, index=0, seed=0):
    row = CORRUPTIONS[name]
    return row(image, severity, row.generator(seed, index))


def changes(name, images):
    """Mean change of grey levels at the severities 0 to 5."""
    return [
        np.mean([np.abs(corrupt(name, image, s, k).astype(float) - image).mean() for k, image in enumerate(images)])
        for s in (0, *SEVERITIES)
    ]


@ROWS
def test_severity_0_changes_nothing(name):
    for image in [coloured()] + [grey()] * (name in ANY_PICTURE):
        same = corrupt(name, image, 0)
        assert np.array_equal(same, image)
        assert not np.shares_memory(same, image)


@ROWS
@pytest.mark.parametrize("shape", [(61, 94), (94, 61), (28, 28), (5, 3), (1, 1), (40, 400)])
def test_any_shape_comes_back_and_the_input_stays(name, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    for picture in [image] + [image[..., 0]] * (name in ANY_PICTURE):
        before = picture.copy()
        for severity in SEVERITIES:
            found = corrupt(name, picture, severity)
            assert (found.shape, found.dtype) == (picture.shape, np.uint8)
        assert np.array_equal(picture, before)


@ROWS
def test_f078_mean_change_rises_with_severity_on_phantoms(name):
    for images in [[coloured(k) for k in range(2)]] + [[grey(k) for k in range(2)]] * (name in ANY_PICTURE):
        found = changes(name, images)
        assert found[0] == 0
        assert (np.diff(found) > 0).all(), found


@cache
def real(folder):
    """A few images of a folder."""
    files = [file for _, file in find_images([folder])]
    return [read_image(file) for file in files[:: len(files) // 4]]


@ROWS
@pytest.mark.parametrize("folder", ["busi256/malignant", "bccd_cells/test"])
def test_f078_mean_change_rises_with_severity_on_real_images(name, folder, data_folder):
    if CORRUPTIONS[name].needs_colour and folder.startswith("busi"):
        pytest.skip("grey pixels have no hue")
    found = changes(name, real(data_folder / folder))
    assert (np.diff(found) > 0).all(), found


@ROWS
def test_same_image_seed_and_severity_give_the_same(name):
    image = coloured()
    first = [corrupt(name, image, s, index=3) for s in SEVERITIES]
    again = [corrupt(name, image, s, index=3) for s in reversed(SEVERITIES)][::-1]
    assert all(map(np.array_equal, first, again))


@pytest.mark.parametrize("name", ["rotation", "translation", "noise", "shot_noise", "bubble", "characters"])
def test_another_seed_or_image_draws_otherwise(name):
    image = coloured()
    draws = [corrupt(name, image, 3, index, seed).tobytes() for index, seed in [(0, 0), (1, 0), (0, 1), (2, 0), (0, 2)]]
    assert len(set(draws)) > 1


def test_another_process_draws_the_same():
    code = (
        "import hashlib, numpy as np; from medmamba.robustness import CORRUPTIONS\n"
        "image = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3).astype(np.uint8)\n"
        "digest = hashlib.sha256()\n"
        "for row in CORRUPTIONS.values(): digest.update(row(image, 4, row.generator(5, 6)).tobytes())\n"
        "print(digest.hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    image = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3).astype(np.uint8)
    here = hashlib.sha256()
    for row in CORRUPTIONS.values():
        here.update(row(image, 4, row.generator(5, 6)).tobytes())
    assert here.hexdigest() == other


@pytest.mark.parametrize(
    ("image", "severity", "words"),
    [
        (np.zeros((8, 8), np.float32), 1, "takes uint8"),
        (np.zeros((8, 8, 4), np.uint8), 1, r"not uint8 \(8, 8, 4\)"),
        (np.zeros((0, 8), np.uint8), 1, "takes uint8"),
        (np.zeros(8, np.uint8), 1, "takes uint8"),
        (np.zeros((8, 8), np.uint8), 6, "severity 6 is none"),
        (np.zeros((8, 8), np.uint8), -1, "severity -1 is none"),
        (np.zeros((8, 8), np.uint8), 1.5, "severity 1.5 is none"),
    ],
)
def test_other_input_is_refused(image, severity, words):
    with pytest.raises(InputError, match=words):
        corrupt("rotation", image, severity)


@pytest.mark.parametrize("name", ["colour_temperature", "saturate"])
def test_colour_is_not_computed_on_grey(name):
    with pytest.raises(InputError, match=r"takes uint8 \(h, w, 3\), not"):
        corrupt(name, grey(), 1)


def test_rows_are_chosen_by_set_or_name():
    kinds = ["rotation", "translation", "colour_temperature", "brightness", "contrast", "blur", "noise"]
    assert [row.name for row in chosen(["paper"])] == kinds
    assert [row.member_of for row in chosen(["medmnist-c"])] == [MEDMNIST_C] * 21
    assert chosen(["all"]) == list(CORRUPTIONS.values())
    assert [row.name for row in chosen(["jpeg", "rotation", "jpeg"])] == ["rotation", "jpeg"]
    assert [row.name for row in chosen(["paper", "jpeg"])] == [*kinds, "jpeg"]
    with pytest.raises(InputError, match="there is no corruption 'rotatoin'; did you mean 'rotation'"):
        chosen(["rotatoin"])
    with pytest.raises(InputError, match="no corruption was named"):
        chosen([])


@ROWS
def test_rows_are_whole(name):
    row = CORRUPTIONS[name]
    assert len(row.levels) == 5
    assert row.source
    assert row.member_of in (PAPER, MEDMNIST_C)
    levels = np.array([level if isinstance(level, tuple) else (level,) for level in row.levels], dtype=float)
    steps = np.diff(levels, axis=0)
    assert (steps >= 0).all() or (steps <= 0).all(), "the levels go back"
    assert (steps != 0).any(axis=1).all(), "a level stands twice"


def test_nothing_but_numpy_and_pillow():
    """F078: no ImageMagick, OpenCV, SciPy or scikit-image."""
    found = set()
    for path in (ROOT / "src/medmamba/robustness").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                found.add((node.module or "").split(".")[0])
    assert found - set(sys.stdlib_module_names) == {"medmamba", "numpy", "PIL", "matplotlib"}


def test_the_page_has_the_rows():
    page = (ROOT / "docs/reference/corruptions.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    expected = [
        [
            f"`{row.name}`",
            row.family,
            row.level,
            ", ".join(" ".join(map(str, level)) if isinstance(level, tuple) else str(level) for level in row.levels),
            "no" if row.needs_colour else "yes",
            row.source,
        ]
        for row in CORRUPTIONS.values()
    ]
    assert rows == expected


# what the names promise


def point(size=225, value=255):
    image = np.zeros((size, size), np.uint8)
    image[size // 2, size // 2] = value
    return image


def test_rotation_turns_by_its_degrees_about_the_centre():
    image = np.zeros((225, 225), np.uint8)
    image[110:115, 160:220] = 255  # a line to the right
    for severity, degrees in zip(SEVERITIES, CORRUPTIONS["rotation"].levels, strict=True):
        rows, columns = np.nonzero(corrupt("rotation", image, severity) > 127)
        angle = np.degrees(np.arctan2(112 - rows.mean(), columns.mean() - 112))
        assert abs(angle) == pytest.approx(degrees, abs=0.5)
    signs = {bool(CORRUPTIONS["rotation"].generator(0, k).choice((-1.0, 1.0)) > 0) for k in range(20)}
    assert signs == {True, False}


def test_what_comes_into_view_repeats_the_edge():
    flat = np.full((60, 80, 3), 93, np.uint8)
    for name in ("rotation", "translation", "blur", "defocus_blur", "motion_blur", "zoom_blur"):
        assert np.array_equal(corrupt(name, flat, 5), flat), name


def test_translation_shifts_by_its_share_and_blurs_nothing():
    size = 225
    for index in range(10):
        for severity, share in zip(SEVERITIES, CORRUPTIONS["translation"].levels, strict=True):
            found = corrupt("translation", point(size), severity, index)
            rows, columns = np.nonzero(found)
            assert found[rows[0], columns[0]] == 255
            distance = np.hypot(rows[0] - size // 2, columns[0] - size // 2)
            assert (len(rows), distance) == (1, pytest.approx(share * size, abs=1))


def test_black_body_is_that_of_the_tables():
    """CIE 015: illuminant A, 2856 K, has x 0.4476, y 0.4074; 6500 K on the locus has x 0.3135, y 0.3237."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    for kelvin, expected in {2856: (0.4476, 0.4074), 6500: (0.3135, 0.3237)}.items():
        xyz = to_xyz @ _black_body(kelvin)
        assert xyz[:2] / xyz.sum() == pytest.approx(expected, abs=0.001)


def test_colour_temperature_warms_or_cools_and_keeps_the_light():
    image = np.full((8, 8, 3), 120, np.uint8)
    ways = set()
    for index in range(10):
        generator = np.random.default_rng(index)
        red, green, blue = colour_temperature(image, generator, 2000)[0, 0].astype(int)
        ways.add("warm" if red > green > blue else "cold" if blue > green > red else "other")
        linear = ((np.array([red, green, blue]) / 255 + 0.055) / 1.055) ** 2.4
        assert linear @ [0.2126, 0.7152, 0.0722] == pytest.approx(((120 / 255 + 0.055) / 1.055) ** 2.4, rel=0.02)
    assert ways == {"warm", "cold"}


def test_factors_of_light():
    image = np.array([[10, 20], [100, 200]], np.uint8)
    mean = image.mean()
    assert np.array_equal(corrupt("brightness_down", image, 5), [[5, 10], [50, 100]])
    assert np.array_equal(corrupt("brightness_up", image, 5), [[15, 30], [150, 255]])
    assert np.array_equal(corrupt("contrast_down", image, 1), np.rint(mean + 0.9 * (image - mean)))
    assert np.array_equal(corrupt("gamma_up", image, 5), np.rint(255 * (image / 255) ** 1.6))
    assert (corrupt("gamma_down", image, 1) > image).all()


def test_saturation_is_added_and_grey_stays():
    import colorsys

    image = np.array([[[200, 100, 100], [80, 80, 80], [0, 0, 0], [10, 250, 30]]], np.uint8)
    found = corrupt("saturate", image, 3)
    assert np.array_equal(found[0, 1:3], image[0, 1:3])
    hue, saturation, value = colorsys.rgb_to_hsv(*image[0, 0] / 255)
    assert found[0, 0] / 255 == pytest.approx(colorsys.hsv_to_rgb(hue, saturation + 0.15, value), abs=1 / 255)
    assert found[0, 3].min() == 0  # no more than all of it


def spread_of(image):
    """Centre (row, column) and variances of the brightness in a picture."""
    weights = image.astype(float) / image.sum()
    places = np.indices(image.shape)
    centre = [(weights * place).sum() for place in places]
    return centre, [(weights * (place - middle) ** 2).sum() for place, middle in zip(places, centre, strict=True)]


def square(size=224, side=40):
    image = np.zeros((size, size), np.uint8)
    image[size // 2 - side // 2 : size // 2 + side // 2, size // 2 - side // 2 : size // 2 + side // 2] = 250
    return image


@pytest.mark.parametrize("size", [224, 448])
def test_blur_has_its_standard_deviation_and_grows_with_the_picture(size):
    image = square(size)
    before = spread_of(image)[1][0]
    for severity, sigma in zip(SEVERITIES, CORRUPTIONS["blur"].levels, strict=True):
        after = spread_of(corrupt("blur", image, severity))[1]
        # each pixel's share of the curve adds the variance of a pixel, 1/12
        assert after == pytest.approx([before + (sigma * size / 224) ** 2 + 1 / 12] * 2, rel=0.01)


def test_motion_blurs_along_a_line_and_shifts_nothing():
    image = square(side=8)
    before = spread_of(image)
    for index in range(5):
        found = corrupt("motion_blur", image, 5, index)
        centre, _ = spread_of(found)
        assert centre == pytest.approx(before[0], abs=0.25)
        rows, columns = (place - middle for place, middle in zip(np.indices(image.shape), centre, strict=True))
        moments = [[(found * a * b).sum() for a in (rows, columns)] for b in (rows, columns)]
        narrow, wide = np.linalg.eigvalsh(np.array(moments) / found.sum())
        assert wide > 5 * narrow


def test_defocus_is_a_disk_of_its_radius():
    found = corrupt("defocus_blur", point(224), 5) > 0
    area = found.sum()
    assert area == pytest.approx(np.pi * 6.5**2, rel=0.1)  # pixels that the edge touches are in


@pytest.mark.parametrize("name", ["noise", "gaussian_noise", "speckle_noise", "shot_noise"])
def test_noise_has_its_standard_deviation(name):
    image = np.full((224, 224), 127, np.uint8)
    for severity, level in zip((1, 2), CORRUPTIONS[name].levels, strict=False):
        value = 127 / 255
        expected = {"speckle_noise": level * value, "shot_noise": np.sqrt(value / level)}.get(name, level) * 255
        found = corrupt(name, image, severity)
        assert found.std() == pytest.approx(expected, rel=0.03)
        assert found.mean() == pytest.approx(127, abs=1)


def test_impulses_are_as_many_as_said():
    image = np.full((224, 224), 127, np.uint8)
    for severity, share in zip(SEVERITIES, CORRUPTIONS["impulse_noise"].levels, strict=True):
        found = corrupt("impulse_noise", image, severity)
        assert [(found == value).mean() for value in (0, 255)] == pytest.approx([share / 2] * 2, rel=0.2)
        assert np.isin(found, [0, 127, 255]).all()


def test_objects_lie_in_the_picture_and_leave_the_rest():
    image = np.full((224, 224, 3), 130, np.uint8)
    stained, bubbled = corrupt("stain_deposit", image, 5), corrupt("bubble", image, 5)
    assert stained.max() == 130
    assert stained.min() < 20
    assert bubbled.min() == 130
    assert bubbled.max() > 150
    for found in (stained, bubbled, corrupt("characters", image, 5)):
        assert 0.01 < (found != image).any(axis=-1).mean() < 0.5
    corners = corrupt("black_corner", image, 3)
    assert (corners[0, 0] == 0).all()
    assert (corners[112, 112] == 130).all()
    assert (corners == 0).mean() == pytest.approx(1 - np.pi / 4, abs=0.01)


def test_large_pictures_are_shrunk_to_one_size():
    assert working_size(np.zeros((256, 900), np.uint8), 256).shape == (256, 900)
    assert working_size(np.zeros((600, 900, 3), np.uint8), 256).shape == (256, 384, 3)
    assert working_size(np.zeros((900, 257), np.uint8), 256).shape == (896, 256)
    small = grey()
    assert working_size(small, 256) is small


def test_names_are_plain():
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in CORRUPTIONS)
