import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_bundle import SMALL, save

import medmamba
from medmamba.bundle import Bundle
from medmamba.cli import main
from medmamba.data import Preprocessing
from medmamba.errors import InputError
from medmamba.explain.layers import default_layers, find_layers
from medmamba.explain.maps import HeatMapper, merge, network_of, stretch
from medmamba.explain.methods import METHODS
from medmamba.explain.pictures import overlay
from medmamba.models import create_model
from medmamba.tasks import Task


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save(tmp_path / "run")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 90), dtype=np.uint8)).save(path)
    return path


def test_f079_c07_no_options_give_a_picture_a_map_and_a_row(run, picture, capsys):
    assert main(["explain", str(run), str(picture), "--device", "cpu"]) == 0
    table = json.loads((run / "heat-maps" / "explain.json").read_text())
    (row,) = table["images"]
    assert row["file"] == str(picture)
    assert row["class"] == row["target"]
    assert 0.5 <= row["probability"] <= 1
    assert row["method"] == "layercam"
    assert row["layers"] == ["stages.0"]
    assert row["error"] is None
    heat = np.load(run / "heat-maps" / row["map"])
    assert heat.dtype == np.float32
    assert heat.shape == (50, 90)
    assert (heat.min(), heat.max()) == (0, 1)
    assert Image.open(run / "heat-maps" / row["overlay"]).size == (90, 50)
    sheet = np.array(Image.open(run / "heat-maps" / row["picture"]).convert("L"))
    original = np.array(Image.open(picture))
    corners = np.argwhere(sheet == original[0, 0])
    assert any(np.array_equal(sheet[y : y + 50, x : x + 90], original) for y, x in corners)
    assert row["picture"] in capsys.readouterr().out


def test_f079_layers_are_listed_and_can_be_named(run, picture, capsys):
    assert main(["explain", str(run), "--list-layers", "--device", "cpu"]) == 0
    listed = capsys.readouterr().out
    assert "stages.1.blocks.0.conv" in listed
    assert "8 x 8" in listed
    classifier = medmamba.load(run, device="cpu")
    (row,) = medmamba.heat_maps(classifier, picture, out=run / "x", layers=["stages.2"], method="gradcam")
    assert row["layers"] == ["stages.2"]
    with pytest.raises(InputError, match=r"did you mean 'stages\.2'"):
        medmamba.heat_maps(classifier, picture, out=run / "x", layers=["stage.2"])
    with pytest.raises(InputError, match="did you mean 'gradcam'"):
        medmamba.heat_maps(classifier, picture, out=run / "x", method="gradcm")


@pytest.mark.parametrize("value", [0, 255])
def test_f081_constant_pictures_give_zeros_and_a_note(run, tmp_path, value):
    path = tmp_path / "constant.png"
    Image.fromarray(np.full((224, 224), value, np.uint8)).save(path)
    (row,) = medmamba.heat_maps(medmamba.load(run, device="cpu"), path, out=tmp_path / "out")
    assert row["note"].startswith("no positive evidence")
    assert not np.load(tmp_path / "out" / row["map"]).any()
    assert np.array_equal(
        np.array(Image.open(tmp_path / "out" / row["overlay"]).convert("L")), np.full((224, 224), value)
    )


def test_f081_flat_and_empty_maps_are_zeros_and_never_nan():
    noise = np.random.default_rng(0).normal(0, 1e-9, (4, 4))
    for layer in (np.zeros((4, 4)), np.full((4, 4), -2.0), 3 + noise, np.full((1, 1), 5.0)):
        assert not merge([layer], (32, 32)).any()
    assert not stretch(np.full((3, 3), 1e30)).any()
    assert merge([np.eye(4), np.zeros((2, 2))], (32, 32)).max() == 1


def test_f081_an_empty_map_is_said_to_be_so(run, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(HeatMapper, "raw", lambda self, pixels, targets: [-np.ones((1, 8, 8))])
    (row,) = medmamba.heat_maps(medmamba.load(run, device="cpu"), picture, out=tmp_path / "out")
    assert row["note"] == "no positive evidence"


@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_f082_either_class_of_a_binary_model_has_its_own_map(run, picture, tmp_path, method):
    classifier = medmamba.load(run, device="cpu")
    rows = medmamba.heat_maps(
        classifier, picture, out=tmp_path / "out", targets=["malignant", "benign"], method=method, layers=["stages.1"]
    )
    assert [row["target"] for row in rows] == ["malignant", "benign"]
    assert sum(row["target_probability"] for row in rows) == pytest.approx(1)
    one, other = (np.load(tmp_path / "out" / row["map"]).ravel() for row in rows)
    assert np.corrcoef(one, other)[0, 1] < 0.9


def test_f082_an_unknown_class_lists_those_there_are(run, picture, capsys):
    assert main(["explain", str(run), str(picture), "--target", "malignent"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'malignant'" in error
    assert "'benign', 'malignant'" in error
    assert not (run / "heat-maps").exists()


def test_labels_of_a_multi_label_model_by_name(tmp_path, picture):
    classifier = medmamba.load(save(tmp_path / "run", Task.MULTILABEL), device="cpu")
    rows = medmamba.heat_maps(classifier, picture, out=tmp_path / "out", targets=classifier.classes)
    assert [row["target"] for row in rows] == list(classifier.classes)
    assert len({row["class"] for row in rows}) == 1
    assert max(rows, key=lambda row: row["target_probability"])["target"] == rows[0]["class"]


def test_images_that_cannot_be_read_have_a_row(run, picture, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    assert main(["explain", str(run), str(picture), str(bad), str(picture), "--out", str(tmp_path / "out")]) == 1
    rows = json.loads((tmp_path / "out" / "explain.json").read_text())["images"]
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert rows[1]["map"] is None
    assert rows[0]["map"] != rows[2]["map"]  # the same name twice
    assert "could not be read" in capsys.readouterr().err


def test_letterbox_padding_is_cut_away_before_the_map_is_laid_over():
    preprocessing = Preprocessing(64, 64, channels=1, fit="letterbox")
    image = np.zeros((40, 80), np.uint8)
    image[30:, 70:] = 255  # the lower right corner is marked
    heat = preprocessing.pixels(image)[0].astype(float)  # a map that is exactly what the network sees
    assert preprocessing.box(40, 80) == (16, 0, 32, 64)
    laid = merge([heat], (64, 64), preprocessing.box(40, 80), (40, 80))
    assert laid.shape == (40, 80)
    assert laid[-1, -1] == pytest.approx(1)
    marked = np.argwhere(laid > 0.5)
    assert np.abs(marked.min(axis=0) - [30, 70]).max() <= 1
    assert marked.max(axis=0).tolist() == [39, 79]


def test_the_box_is_where_pixels_puts_the_image():
    for height, width in [(40, 80), (81, 33), (1, 300), (64, 64)]:
        preprocessing = Preprocessing(64, 48, channels=1, fit="letterbox")
        seen = np.argwhere(preprocessing.pixels(np.full((height, width), 255, np.uint8))[0] > 0)
        top, left, rows, columns = preprocessing.box(height, width)
        assert seen.min(axis=0).tolist() == [top, left]
        assert (seen.max(axis=0) + 1).tolist() == [top + rows, left + columns]


def test_a_map_lies_where_the_evidence_is(tmp_path):
    """The head reads one channel; the map of the last stage is that channel, whatever the layout."""
    classifier = medmamba.load(save(tmp_path / "run", size=(64, 128)), device="cpu")
    with torch.no_grad():
        weight = classifier.model.head.fc.weight
        weight.zero_()
        weight[1, 3] = 1
    pixels = np.random.default_rng(0).integers(0, 255, (3, 1, 64, 128), dtype=np.uint8)
    mapper = HeatMapper(classifier.bundle, classifier.model, method="gradcam", layers=["stages.3"])
    (raw,) = mapper.raw(pixels, np.array([1, 1, 1]))
    with torch.no_grad():
        features = classifier.model.forward_features(
            classifier.bundle.preprocessing.normalise(torch.from_numpy(pixels))
        )
    assert raw.shape == (3, 2, 4)
    np.testing.assert_allclose(raw, features[..., 3] / 8, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_finite_maps(run, method):
    classifier = medmamba.load(run, device="cpu")
    before = {name: value.clone() for name, value in classifier.model.state_dict().items()}
    mapper = HeatMapper(classifier.bundle, classifier.model, method=method)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 1, 64, 64), dtype=np.uint8)
    maps = mapper.maps(pixels, np.array([0, 1]))
    assert maps.shape == (2, 64, 64)
    assert np.isfinite(maps).all()
    assert ((maps >= 0) & (maps <= 1)).all()
    assert all(torch.equal(value, before[name]) for name, value in classifier.model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in classifier.model.parameters())
    assert not any(module._forward_hooks for module in classifier.model.modules())


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["gradcam", "layercam", "hirescam"])
def test_on_the_card_heat_maps_are_those_of_the_processor(run, method):
    """Also where products of TF32 were asked for, which differ in the third digit."""
    pixels = np.random.default_rng(0).integers(0, 255, (3, 1, 64, 64), dtype=np.uint8)
    stages = [f"stages.{index}" for index in range(4)]

    def raw(device: str) -> list[np.ndarray]:
        classifier = medmamba.load(run, device=device)
        mapper = HeatMapper(classifier.bundle, classifier.model, method=method, layers=stages)
        return mapper.raw(pixels, np.array([0, 1, 1]))

    torch.set_float32_matmul_precision("high")
    try:
        for card, processor in zip(raw("cuda"), raw("cpu"), strict=True):
            peak = np.abs(processor).max()
            assert peak > 0
            np.testing.assert_allclose(card / peak, processor / peak, atol=1e-4)
    finally:
        torch.set_float32_matmul_precision("highest")


TIMM = {  # arguments, and rows of the map of a picture of 64 rows
    "resnet18": ({}, 8),
    "test_convnext": ({}, 8),
    "test_efficientnet": ({}, 8),
    "test_vit": ({}, 4),  # a class token, and patches of 16 pixels
    "test_vit4": ({}, 4),
    "vit_tiny_patch16_224": ({"depth": 3, "reg_tokens": 4, "patch_size": 8}, 8),
    "deit_tiny_distilled_patch16_224": ({"depth": 3, "patch_size": 8}, 8),
    "swin_tiny_patch4_window7_224": ({"depths": (1, 1, 1, 1), "embed_dim": 24, "window_size": 4}, 8),  # (b, h, w, c)
    "resmlp_12_224": ({}, 4),
}


@pytest.mark.parametrize("name", TIMM)
@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_f079_networks_of_timm_have_maps_of_the_picture_form(name, size):
    torch.manual_seed(0)
    arguments, expected_rows = TIMM[name]
    model = create_model(name, 2, in_chans=1, image_size=size, **arguments).eval()
    torch.nn.init.normal_(model.get_classifier().weight if name[:4] != "deit" else model.head.weight)
    found = find_layers(model, 1, size)
    method, (layer,) = default_layers(model, found, size)
    assert method == "gradcam"
    _, rows, columns = found[layer]
    assert rows == expected_rows
    assert columns / rows == pytest.approx(size[1] / size[0])
    preprocessing = Preprocessing(*size, channels=1)
    bundle = Bundle(name, Task.BINARY, ("a", "b"), preprocessing)
    mapper = HeatMapper(bundle, model)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 1, *size), dtype=np.uint8)
    (raw,) = mapper.raw(pixels, np.array([0, 1]))
    assert raw.shape == (2, rows, columns)
    assert raw.std() > 0


def test_the_default_layer_of_ours_depends_on_the_size_alone():
    model = create_model("medmamba_nano", 2, in_chans=1, **SMALL).eval()
    for size, expected in [
        ((64, 64), ("layercam", ("stages.0",))),
        ((128, 128), ("layercam", ("stages.0", "stages.1", "stages.2", "stages.3"))),
    ]:
        assert default_layers(model, find_layers(model, 1, size), size) == expected


def test_colours_are_half_of_the_overlay_and_refused_when_unknown(run, picture, tmp_path):
    image = np.full((2, 2), 100, np.uint8)
    hot = overlay(image, np.ones((2, 2), np.float32), "paper")[0, 0]
    assert hot.tolist() == [114, 50, 50]  # the rainbow ends in dark red, 128 0 0
    with pytest.raises(InputError, match="choose safe or paper"):
        medmamba.heat_maps(medmamba.load(run, device="cpu"), picture, out=tmp_path / "out", colours="rainbow")
    assert not (tmp_path / "out").exists()


def test_what_makes_no_sense_is_refused(run, picture, capsys):
    assert main(["explain", str(run)]) == 2
    assert main(["explain", str(run), str(picture), "--check", "phantoms"]) == 2
    assert main(["explain", str(run), str(picture), "--frame", "all"]) == 2
    assert "one frame" in capsys.readouterr().err


def test_an_exported_file_is_refused():
    with pytest.raises(InputError, match="no gradients"):
        network_of(object())  # type: ignore[arg-type]


@pytest.mark.parametrize("package", ["pytorch_grad_cam", "matplotlib"])
def test_a_missing_package_is_one_sentence_and_nothing_is_written(run, picture, monkeypatch, capsys, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["explain", str(run), str(picture), "--device", "cpu"]) == 2
    assert "pip install 'medmamba[explain]'" in capsys.readouterr().err
    assert not (run / "heat-maps").exists()


def test_real_pictures_of_any_size(run, tmp_path, data_folder):
    files = (
        sorted((data_folder / "isic2017" / "images").iterdir())[:2]
        + sorted((data_folder / "busi256" / "malignant").iterdir())[:1]
    )
    rows = medmamba.heat_maps(medmamba.load(run, device="cpu"), files, out=tmp_path / "out")
    for file, row in zip(files, rows, strict=True):
        assert np.load(tmp_path / "out" / row["map"]).shape == Image.open(file).size[::-1]


def explain(run, *words):
    return main(["explain", str(run), *map(str, words), "--device", "cpu"])


@pytest.mark.parametrize("name", ["a-benign.png", "a-benign-2.png", "a-malignant-overlay.png", "a-benign.npy"])
def test_a_file_of_the_users_is_not_replaced(run, picture, tmp_path, capsys, name):
    out = tmp_path / "q"
    out.mkdir()
    Image.new("L", (4, 4)).save(out / name, "PNG")
    before = (out / name).read_bytes()
    assert explain(run, picture, "--out", out) == 2
    assert f"{out / name} is there already and was not written by medmamba explain" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_bytes() == before


def test_other_names_and_a_foreign_table(run, picture, tmp_path):
    out = tmp_path / "q"
    out.mkdir()
    Image.new("L", (4, 4)).save(out / "b-benign.png")
    assert explain(run, picture, "--out", out) == 0
    (out / "explain.json").write_text('{"mine": 1}')
    assert explain(run, picture, "--out", out) == 2
    assert json.loads((out / "explain.json").read_text()) == {"mine": 1}


def test_its_own_files_are_replaced_also_those_of_other_calls(run, picture, tmp_path, monkeypatch):
    other = tmp_path / "b.png"
    Image.new("L", (40, 40), 9).save(other)
    for images in ([picture, picture], [other], [picture]):  # the table of the second call knows nothing of the first
        assert explain(run, *images) == 0
    (run / "heat-maps" / "explain.json").unlink()  # as where a call was ended
    assert explain(run, picture) == 0
    assert len(list((run / "heat-maps").iterdir())) == 3 * 3 + 1


def test_pictures_without_the_mark_are_known_by_the_table(run, picture):
    assert explain(run, picture) == 0
    for path in (run / "heat-maps").glob("*.png"):
        Image.fromarray(np.array(Image.open(path))).save(path)
    assert explain(run, picture) == 0
    for path in (run / "heat-maps").glob("*.png"):
        Image.fromarray(np.array(Image.open(path))).save(path)
    (run / "heat-maps" / "explain.json").unlink()
    assert explain(run, picture) == 2


@pytest.mark.parametrize("place", [".", "deep"])
def test_maps_do_not_go_where_the_images_lie(run, picture, tmp_path, capsys, place):
    (tmp_path / "new").mkdir()
    picture = picture.rename(tmp_path / "new" / "a.png")
    given = picture if place == "." else picture.parent
    assert explain(run, given, "--out", picture.parent / place) == 2
    said = "where the images lie" if place == "." else f"which lies in {picture.parent}, where images are looked for"
    assert said in capsys.readouterr().err
    assert list((tmp_path / "new").iterdir()) == [picture]
