"""What the service answers is what `medmamba predict` answers, for every file, whatever else is asked."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from asking import CLASSES, bomb, form, png, raw
from PIL import Image

from medmamba.cli import main
from medmamba.data import find_images
from medmamba.predictor.classifier import UNDECIDED, UNLIKE
from medmamba.serve.limits import Limits
from medmamba.serve.service import MAX_PIXELS

CLOSE = 1e-6
OPTIONS = ("--json", "--device", "cpu", "--max-pixels", str(MAX_PIXELS))


def predicted(run: Path, files: list[Path], tmp_path: Path) -> list[dict]:
    out = tmp_path / "predicted.json"
    assert main(["predict", str(run), *map(str, files), *OPTIONS, "--out", str(out)]) in (0, 1)
    return json.loads(out.read_text())


def check_equal(image: dict, expected: dict) -> None:
    path = Path(expected["file"])
    assert image["name"] == path.name
    if expected["error"] is not None:
        assert image["error"] == expected["error"].replace(str(path), path.name)
        assert image["probabilities"] is image["label"] is image["width"] is None
        return
    assert image["error"] is None
    assert image["probabilities"] == pytest.approx(expected["probabilities"], abs=CLOSE)
    assert image["label"] == expected["label"]
    assert image["prediction_set"] == expected["possible"]
    assert image["refer"] == (expected["refer"] or None)


def check_files(ask, run: Path, files: list[Path], tmp_path: Path) -> list[dict]:
    """Ask of files in forms of 32; returns what was answered."""
    images = []
    for start in range(0, len(files), 32):
        reply = ask("POST", "/v1/predict", files=form(*files[start : start + 32]))
        assert reply.status_code == 200
        images += reply.json()["images"]
    for image, expected in zip(images, predicted(run, files, tmp_path), strict=True):
        check_equal(image, expected)
    return images


def test_every_odd_file_is_answered_as_predict_answers(ask, run, data_folder, tmp_path):
    files = [path for _, path in find_images([data_folder / "odd"])]
    images = check_files(ask, run, files, tmp_path)
    assert sum(image["error"] is None for image in images) > 20
    assert sum(image["error"] is not None for image in images) >= 4
    assert {image["refer"] for image in images} >= {UNLIKE}
    for path in files[::5]:  # the same as the whole body
        reply = ask("POST", "/v1/predict", params={"name": path.name}, **raw(path.read_bytes(), "application/dicom"))
        (image,) = reply.json()["images"]
        check_equal(image, predicted(run, [path], tmp_path)[0])
        assert reply.status_code == (200 if image["error"] is None else 422)


FOLDERS = ("bccd_cells", "busi256", "isic2017", "malaria")


@pytest.mark.parametrize("name", FOLDERS)
def test_some_images_of_each_folder(ask, run, data_folder, tmp_path, name):
    files = [path for _, path in find_images([data_folder / name])]
    check_files(ask, run, files[:: len(files) // 6], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_a_hundred_images_of_each_folder(ask, run, data_folder, tmp_path, name):
    files = [path for _, path in find_images([data_folder / name])]
    check_files(ask, run, files[:: max(1, len(files) // 100)][:100], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["breastmnist", "retinamnist", "pneumoniamnist_reassembled"])
def test_a_hundred_images_of_each_medmnist_set(ask, run, data_folder, tmp_path, name):
    images = np.load(data_folder / "medmnist" / f"{name}.npz")["test_images"][:100]
    files = [tmp_path / f"{row}.png" for row in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    check_files(ask, run, files, tmp_path)


def test_pages_and_frames_are_treated_as_predict_treats_them(ask, run, data_folder, tmp_path):
    files = [data_folder / "odd" / name for name in ("images/two_pages.tif", "dicom/us_ybr422_30frames_jpeg.dcm")]
    images = check_files(ask, run, files, tmp_path)
    assert len(images) == 2


def test_the_reply_says_what_the_contract_promises(ask):
    reply = ask("POST", "/v1/predict", files=form(("a.png", png()), ("b.png", b"no image")))
    answer = reply.json()
    assert answer["model"]["name"] == "medmamba_nano"
    assert answer["model"]["classes"] == list(CLASSES)
    assert "not a medical device" in answer["model"]["research_use"]
    assert answer["seconds"] > 0
    first, second = answer["images"]
    assert (first["width"], first["height"]) == (60, 40)
    assert sum(first["probabilities"].values()) == pytest.approx(1)
    assert first["refer"] in (None, UNLIKE, UNDECIDED)
    assert second["error"].startswith("b.png is not an image")


def test_names_come_back_without_folders_and_not_at_any_length(ask):
    names = ["/etc/secret/a.png", r"C:\Users\x\b.png", "x" * 500 + ".png", "größe 🩻.png", "\x1b[31m.png", "/"]
    for name in names:
        reply = ask("POST", "/v1/predict", params={"name": name}, **raw(png()))
        (image,) = reply.json()["images"]
        assert len(image["name"]) <= 200
        assert not set(image["name"]) & set("/\\\x1b") or image["name"].startswith("\\x1b")
    (image,) = ask("POST", "/v1/predict", files=form(("größe 🩻.png", png()))).json()["images"]
    assert image["name"] == "größe 🩻.png"
    refused = ask("POST", "/v1/predict", params={"name": "../a.png"}, **raw(b"x")).json()
    assert refused["error"]["message"].startswith("a.png is not an image")


def test_none_that_can_be_read_is_no_success(ask):
    one = ask("POST", "/v1/predict", files=form(("a.txt", b"hello")))
    assert one.status_code == one.json()["error"]["status"] == 422
    assert one.json()["error"]["message"].startswith("a.txt is not an image: expected PNG")
    several = ask("POST", "/v1/predict", files=form(("a.txt", b"hello"), ("b.txt", b""), ("c.nii", b"\0" * 400)))
    assert several.status_code == 422
    assert several.json()["error"]["message"] == "none of the 3 images can be read"
    assert [image["error"] is not None for image in several.json()["images"]] == [True] * 3


def test_f063_a_pixel_bomb_is_refused_before_it_is_decoded_and_the_next_picture_is_answered(ask):
    before = Image.MAX_IMAGE_PIXELS
    reply = ask("POST", "/v1/predict", **raw(bomb()))
    assert reply.status_code == reply.json()["error"]["status"] == 413
    assert "20000 x 20000 pixels, more than 32000000" in reply.json()["error"]["message"]
    assert ask("POST", "/v1/predict", **raw(png())).status_code == 200
    assert before == Image.MAX_IMAGE_PIXELS
    mixed = ask("POST", "/v1/predict", files=form(("bomb.png", bomb()), ("a.png", png())))
    assert [image["error"] is None for image in mixed.json()["images"]] == [False, True]
    neither = ask("POST", "/v1/predict", files=form(("bomb.png", bomb()), ("a.txt", b"x")))
    assert neither.status_code == 422
    assert ask("POST", "/v1/explain", **raw(bomb())).status_code == 413


def test_images_are_never_written_and_names_never_logged(ask, caplog, monkeypatch, data_folder):
    def written(*_, **__):
        raise AssertionError("something was written to disk")

    for name in ("NamedTemporaryFile", "TemporaryFile", "mkstemp", "_mkstemp_inner"):
        monkeypatch.setattr(tempfile, name, written)
    large = png(size=(1200, 1200))  # beyond the size that starlette spools to disk
    assert len(large) > 4 << 20
    two_pages = (data_folder / "odd/images/two_pages.tif").read_bytes()
    files = form(("Mustermann.png", large), ("Mustermann.tif", two_pages), ("Mustermann.txt", b"x"))
    with caplog.at_level("DEBUG"):
        assert ask("POST", "/v1/predict", files=files).status_code == 200
        assert ask("POST", "/v1/predict", params={"name": "Mustermann.tif"}, **raw(two_pages)).status_code == 200
        assert ask("GET", "/Mustermann.png").status_code == 404
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("medmamba")]
    assert [line for line in lines if line.startswith("POST /v1/predict 200 ") and line.endswith("ms 3 images")]
    assert "Mustermann" not in "".join(lines)


def test_a_form_that_is_none(ask):
    def message(**request) -> str:
        reply = ask("POST", "/v1/predict", **request)
        assert reply.status_code == 422
        return reply.json()["error"]["message"]

    multipart = "multipart/form-data; boundary=x"
    assert "no boundary" in message(**raw(b"", "multipart/form-data"))
    assert "is not multipart" in message(**raw(b"--y\r\n", multipart))
    assert "holds no file" in message(**raw(b"--x--\r\n", multipart))
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    assert "cut off" in message(**raw(head + b"abc", multipart))
    assert "cut off" in message(**raw(head + b"abc\r\n--x", multipart))
    assert "no file with the name 'files'" in message(files=[("images", ("a.png", png()))])
    assert "no file with the name 'files'" in message(data={"files": "text"}, files=form(("a.png", png())))
    many = b"--x\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(10_000))
    assert "is not multipart" in message(**raw(many, multipart))


def test_too_many_files(ask):
    limits = Limits(files=3)
    few, many = (form(*[(f"{i}.png", png(i))] * 1) * n for i, n in ((0, 3), (1, 4)))
    assert ask("POST", "/v1/predict", settings={"limits": limits}, files=few).status_code == 200
    reply = ask("POST", "/v1/predict", settings={"limits": limits}, files=many)
    assert reply.status_code == 413
    assert "more than 3 files" in reply.json()["error"]["message"]
    assert ask("POST", "/v1/explain", files=many).status_code == 413


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json", "image/svg+xml", "multipart/mixed", ";;"])
def test_other_content_types(ask, kind):
    for address in ("/v1/predict", "/v1/explain", "/v1/picture"):
        reply = ask("POST", address, content=png(), headers={"content-type": kind} if kind else {})
        assert reply.status_code == reply.json()["error"]["status"] == 415


def test_bytes_of_a_broken_form_are_not_logged(ask, caplog):
    with caplog.at_level("DEBUG"):
        reply = ask(
            "POST", "/v1/predict", content=b"--aSECRET", headers={"content-type": "multipart/form-data; boundary=ab"}
        )
    assert reply.status_code in (400, 422)
    assert not [record for record in caplog.records if record.name.startswith("python_multipart")]
