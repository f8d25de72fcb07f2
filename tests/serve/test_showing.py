"""Heat maps and pictures as the page shows them."""

import io
from urllib.parse import unquote

import numpy as np
import pytest
from asking import CLASSES, form, png, raw
from PIL import Image

from medmamba.explain import heat_maps
from medmamba.serve import showing
from medmamba.serve.service import Service


def opened(reply) -> Image.Image:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "image/png"
    return Image.open(io.BytesIO(reply.content))


def test_a_heat_map_has_the_size_of_the_picture_and_is_that_of_explain(ask, classifier, tmp_path):
    (tmp_path / "a.png").write_bytes(png(size=(50, 70)))
    rows = heat_maps(classifier, tmp_path / "a.png", out=tmp_path / "maps", targets=[CLASSES[1]])
    expected = np.load(tmp_path / "maps" / rows[0]["map"])
    reply = ask("POST", "/v1/explain", params={"class": CLASSES[1]}, files=form(tmp_path / "a.png"))
    image = opened(reply)
    assert (image.mode, image.size) == ("RGBA", (70, 50))
    assert reply.headers["x-class"] == CLASSES[1]
    alpha = np.asarray(image)[..., 3] / 255
    np.testing.assert_allclose(alpha, np.minimum(1, 2 * expected), atol=0.01)
    assert alpha.min() < 0.1
    assert alpha.max() == 1


def test_by_default_the_class_that_is_answered_is_explained(ask):
    label = ask("POST", "/v1/predict", **raw(png())).json()["images"][0]["label"]
    by_default = ask("POST", "/v1/explain", **raw(png()))
    assert unquote(by_default.headers["x-class"]) == label  # a header holds ASCII alone
    named = ask("POST", "/v1/explain", params={"class": label}, **raw(png()))
    assert named.content == by_default.content
    others = [ask("POST", "/v1/explain", params={"class": name}, **raw(png())) for name in CLASSES if name != label]
    assert all(other.content != named.content for other in others)


def test_a_picture_of_one_value_has_a_clear_map(ask):
    buffer = io.BytesIO()
    Image.new("L", (30, 20), 90).save(buffer, "PNG")
    assert not np.asarray(opened(ask("POST", "/v1/explain", **raw(buffer.getvalue()))))[..., 3].any()


def test_what_cannot_be_explained(ask):
    typo = ask("POST", "/v1/explain", params={"class": "maligant"}, **raw(png()))
    assert typo.status_code == 422
    assert "did you mean 'malignant'?" in typo.json()["error"]["message"]
    assert ask("POST", "/v1/explain", **raw(b"x")).status_code == 422
    two = ask("POST", "/v1/explain", files=form(("a.png", png()), ("b.png", png())))
    assert two.status_code == 413


def test_a_model_without_gradients_says_so(ask, service, monkeypatch):
    raw_map = service._raw_map

    def of_an_exported_file(*arguments):
        with monkeypatch.context() as context:
            context.setattr("medmamba.explain.maps.getattr", lambda *_: None, raising=False)
            return raw_map(*arguments)

    monkeypatch.setattr(service, "_raw_map", of_an_exported_file)
    reply = ask("POST", "/v1/explain", params={"class": CLASSES[0]}, **raw(png()))
    assert reply.status_code == 422
    assert "has no gradients" in reply.json()["error"]["message"]


def test_the_picture_as_the_model_reads_it(ask, data_folder):
    dicom = (data_folder / "odd/dicom/ct_mono2_16bit_signed.dcm").read_bytes()
    image = opened(ask("POST", "/v1/picture", files=form(("ct.dcm", dicom))))
    assert image.mode == "L"
    row = ask("POST", "/v1/predict", files=form(("ct.dcm", dicom))).json()["images"][0]
    assert image.size == (row["width"], row["height"])


def test_large_pictures_are_shown_smaller_and_their_maps_are_whole(ask, monkeypatch):
    monkeypatch.setattr(showing, "LONGEST", 64)
    assert opened(ask("POST", "/v1/picture", **raw(png(size=(100, 200))))).size == (64, 32)
    assert opened(ask("POST", "/v1/explain", **raw(png(size=(100, 200))))).size == (200, 100)


@pytest.mark.parametrize("works", [True, False])
def test_warming_up_makes_an_answer_and_a_map(classifier, monkeypatch, works, caplog):
    if not works:
        from medmamba.errors import InputError

        def refuse(*_, **__):
            raise InputError("no layer of this network has a map")

        monkeypatch.setattr("medmamba.explain.maps.HeatMapper.__init__", refuse)
    service = Service(classifier)
    service.warm_up().result(60)
    service.batches.run(lambda: None).result(60)
    assert service.ready
    assert service.explains is works
    assert ("there will be no heat maps" in caplog.text) is not works
    service.close()
    assert not service.ready
    assert not service.works
