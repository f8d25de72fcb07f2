"""`embed`: features, their file, the figures, t-SNE and the picture."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import medmamba
from medmamba.bundle import Bundle
from medmamba.cli import main
from medmamba.cli.verbs.embed import tell_apart
from medmamba.data import Dataset
from medmamba.data.dataset import ImageSet
from medmamba.data.preprocessing import Preprocessing
from medmamba.drawing import COLOURS
from medmamba.errors import InputError
from medmamba.explain import scatter
from medmamba.explain.embedding import embed
from medmamba.explain.features import choose, classes_of
from medmamba.explain.separation import neighbours_agree, separation, silhouette
from medmamba.explain.tsne import arrange, perplexity_for
from medmamba.metrics.intervals import wilson
from medmamba.predictor.network import NetworkClassifier
from medmamba.tasks import Task

CLASSES = ("ant", "bee", "cow")


def classifier(model="medmamba_nano", classes=CLASSES, side=16, seed=0, **entries):
    torch.manual_seed(seed)
    bundle = Bundle(model, Task.MULTICLASS, classes, Preprocessing(side, side), **entries)
    return NetworkClassifier(bundle, bundle.build_model().eval(), torch.device("cpu"))


def image_set(n=12, classes=3, groups=None, targets=None):
    generator = np.random.default_rng(0)
    targets = np.arange(n) % classes if targets is None else targets
    array = generator.integers(0, 256, (n, 20, 24, 3), dtype=np.uint8)
    return ImageSet(tuple(f"test/{row}" for row in range(n)), targets, groups, array=array)


def data_set(images, task=Task.MULTICLASS, classes=CLASSES):
    return Dataset("toy", task, classes, {"test": lambda: images}, 0, notes=("made up",))


@pytest.mark.parametrize(
    ("model", "side"),
    [
        ("medmamba_nano", 32),
        ("vmamba_tiny", 16),
        ("resnet10t", 32),
        ("convnext_atto", 32),
        ("vit_tiny_patch16_224", 32),
        ("mobilenetv3_small_050", 32),
    ],
)
def test_the_head_makes_the_answers_of_the_features(model, side):
    net = classifier(model, side=side)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, side, side), dtype=np.uint8)
    features, answers = net.features_and_probabilities(pixels)
    assert features.dtype == np.float32
    assert np.array_equal(net.features(pixels), features)
    head = net.model.get_classifier()
    assert features.shape == (2, head.in_features)
    logits = head(torch.from_numpy(features))
    image = net.bundle.preprocessing.normalise(torch.from_numpy(pixels))
    torch.testing.assert_close(logits, net.model(image), atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(answers, net.probabilities(pixels), atol=1e-6)


def test_features_of_a_split_are_in_its_order_whatever_the_batch_size():
    net, images, done = classifier(), image_set(7), []
    features, scores = net.features_and_scores(images, batch_size=3, progress=lambda *now: done.append(now))
    assert done == [(3, 7), (6, 7), (7, 7)]
    np.testing.assert_allclose(scores, net.scores(images), atol=1e-6)
    for row in (0, 4, 6):
        pixels = net.bundle.preprocessing.pixels(images.read(row))
        np.testing.assert_allclose(features[row], net.features(pixels[None])[0], atol=1e-5)


def test_an_exported_file_gives_no_features(tmp_path):
    from medmamba.predictor.onnx_file import OnnxClassifier

    file = OnnxClassifier(classifier().bundle, session=None, complexity=None)
    with pytest.raises(InputError, match="gives probabilities and no features; give the folder"):
        embed({"file": file}, data_set(image_set()), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_some_images_of_a_set():
    images = image_set(6, groups=tuple("aabbcc"))
    some = images.take(np.array([4, 1]))
    assert some.names == ("test/4", "test/1")
    assert some.groups == ("c", "a")
    assert list(some.targets) == [1, 1]
    assert np.array_equal(some.read(0), images.read(4))
    assert np.array_equal(some.take(np.array([1])).read(0), images.read(1))


def test_a_choice_keeps_shares_and_rare_classes():
    classes = np.repeat([0, 1, 2], [800, 190, 10])
    chosen = choose(classes, 100, seed=1)
    assert len(set(chosen)) == 100
    assert list(chosen) == sorted(chosen)
    counts = np.bincount(classes[chosen])
    assert np.abs(counts - [80, 19, 1]).max() <= 1
    assert np.array_equal(choose(classes, 100, seed=1), chosen)
    assert not np.array_equal(choose(classes, 100, seed=2), chosen)
    assert set(classes[choose(classes, 3, seed=0)]) == {0, 1, 2}
    assert len(choose(classes, 0, seed=0)) == len(choose(classes, 5000, seed=0)) == 1000


def test_silhouette_by_hand():
    values = np.array([[0.0], [2.0], [10.0], [14.0]], dtype=np.float32)
    # a and b: 2, 12 | 2, 10 | 4, 9 | 4, 13
    expected = np.mean([10 / 12, 8 / 10, 5 / 9, 9 / 13])
    assert silhouette(values, np.array([0, 0, 1, 1])) == pytest.approx(expected, abs=1e-6)
    assert silhouette(values, np.zeros(4, int)) is None
    assert silhouette(values, np.arange(4)) is None


def test_neighbours_are_those_of_scikit_learn_without_the_image_itself(monkeypatch):
    from sklearn.neighbors import KNeighborsClassifier

    generator = np.random.default_rng(0)
    classes = generator.integers(0, 2, 60)  # two classes and five votes: no ties
    values = generator.normal(size=(60, 4)).astype(np.float32) + classes[:, None]
    expected = [
        KNeighborsClassifier(5).fit(np.delete(values, row, 0), np.delete(classes, row)).predict(values[[row]])[0]
        for row in range(60)
    ]
    right = neighbours_agree(values, classes)
    assert np.array_equal(right, expected == classes)
    assert 0.5 < right.mean() < 1
    monkeypatch.setattr("medmamba.explain.separation._DISTANCES_AT_ONCE", 100)
    assert np.array_equal(neighbours_agree(values, classes), right)


def test_images_of_the_same_patient_are_no_neighbours():
    # each patient's images lie on one spot and share a class, so that they are right only by each other
    patients = [f"p{row // 3}" for row in range(12)]
    classes = np.array([0, 1, 0, 1]).repeat(3)
    values = np.array([0.0, 1.0, 2.5, 4.5]).repeat(3)[:, None].astype(np.float32)
    assert neighbours_agree(values, classes, k=2).mean() == 1
    assert neighbours_agree(values, classes, patients, k=2).mean() == 0
    assert np.isnan(neighbours_agree(values, classes, ["one"] * 12)).all()
    figures = separation(values, classes, ["one"] * 12)
    assert figures["neighbours"] == {"k": 5, "n": 0, "value": None, "low": None, "high": None}
    few = neighbours_agree(values[:4], classes[:4], ["a", "a", "b", "b"])
    assert list(few) == [1, 1, 1, 0]  # fewer than five others decide; the last one has two of the first class


def test_of_equally_common_classes_the_nearest_wins():
    values = np.array([[0.0], [1.0], [2.0], [-3.0], [-3.5], [9.0]], dtype=np.float32)
    classes = np.array([1, 1, 0, 0, 1, 2])
    assert neighbours_agree(values, classes, k=4)[0] == 1
    assert neighbours_agree(values, np.array([0, 1, 0, 0, 1, 2]), k=4)[0] == 0


def test_the_interval_holds_the_figure_and_knows_patients():
    generator = np.random.default_rng(0)
    classes = np.arange(90) % 3
    values = generator.normal(size=(90, 3)) + np.eye(3)[classes]
    patients = [f"p{row // 15}" for row in range(90)]
    alone, grouped = (separation(values, classes, each)["neighbours"] for each in (None, patients))
    for figure in (alone, grouped):
        assert figure["n"] == 90
        assert figure["low"] < figure["value"] < figure["high"]
    assert (alone["low"], alone["high"]) == wilson(alone["value"] * 90, 90)
    assert (grouped["low"], grouped["high"]) != wilson(grouped["value"] * 90, 90)
    assert separation(values, classes, patients)["neighbours"] == grouped


def test_all_images_right_leave_room_for_doubt():
    classes = np.arange(60) % 2
    values = 9.0 * np.eye(2)[classes] + np.random.default_rng(0).normal(size=(60, 2))
    alone = separation(values, classes)["neighbours"]
    grouped = separation(values, classes, [f"p{row // 10}" for row in range(60)])["neighbours"]
    assert alone["value"] == grouped["value"] == 1
    assert alone["low"] == wilson(60, 60)[0]
    assert grouped["low"] == wilson(6, 6)[0]


@pytest.mark.parametrize(("n", "perplexity"), [(3, 1), (4, 1), (8, 7 / 3), (91, 30), (5000, 30)])
def test_f083_the_perplexity_is_what_n_allows(n, perplexity):
    assert perplexity_for(n) == pytest.approx(perplexity)


@pytest.mark.parametrize("n", [3, 8, 40])
def test_f083_the_same_seed_gives_the_same_points(n):
    values = np.random.default_rng(0).normal(size=(n, 20)).astype(np.float32)
    points, divergence = arrange(values, perplexity_for(n), seed=3)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()
    assert divergence >= 0
    assert np.array_equal(points, arrange(values, perplexity_for(n), seed=3)[0])


def test_f083_eight_images_give_a_picture_and_a_note(tmp_path):
    report = embed({"a": classifier()}, data_set(image_set(8)), out=tmp_path)
    assert report["tsne"]["perplexity"] < 8
    assert any("The perplexity is 2.33 and not 30, because there are 8 images" in note for note in report["notes"])
    assert Image.open(tmp_path / "embedding.png").size[0] > 300
    again = embed({"a": classifier()}, data_set(image_set(8)), out=tmp_path / "again")
    assert again["points"] == report["points"]
    assert (tmp_path / "embedding.png").read_bytes() == (tmp_path / "again" / "embedding.png").read_bytes()


@pytest.mark.parametrize("n", [1, 2])
def test_f083_fewer_than_three_images_are_refused(tmp_path, n):
    with pytest.raises(InputError, match=f"t-SNE was asked to arrange {n} of the 3 images"):
        embed({"a": classifier()}, data_set(image_set(n)), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_several_models_on_the_same_images(tmp_path):
    models = {"nano": classifier(), "resnet": classifier("resnet10t", side=32)}
    groups = tuple(f"p{row // 2}" for row in range(12))
    steps = []
    report = embed(
        models, data_set(image_set(groups=groups)), out=tmp_path, limit=9, progress=lambda *now: steps.append(now)
    )
    assert steps == [(9, 18, "features of nano"), (18, 18, "features of resnet")]
    files = {"embedding.json", "embedding.png", "features-nano.npz", "features-resnet.npz"}
    assert {path.name for path in tmp_path.iterdir()} == files
    assert json.loads((tmp_path / "embedding.json").read_text()) == report
    assert [row["name"] for row in report["models"]] == ["nano", "resnet"]
    assert [row["features"] for row in report["models"]] == [256, 512]
    assert report["n"] == 9
    assert report["data"] == {"name": "toy", "split": "test", "images": 12, "notes": ["made up"]}
    assert any("9 of the 12 images" in note for note in report["notes"])
    assert report["interval"]["unit"] == "patient"
    assert not any("Patients are unknown" in note for note in report["notes"])
    for name, model in models.items():
        kept = np.load(tmp_path / f"features-{name}.npz", allow_pickle=False)
        images = data_set(image_set(groups=groups)).split("test")
        rows = [images.names.index(each) for each in kept["names"]]
        assert list(kept["names"]) == report["images"]
        assert list(kept["targets"]) == list(images.targets[rows])
        assert list(kept["patients"]) == [groups[row] for row in rows]
        assert tuple(kept["classes"]) == CLASSES
        assert (str(kept["split"]), str(kept["model"])) == ("test", name)
        features, scores = model.features_and_scores(images)
        assert kept["features"].dtype == np.float32
        np.testing.assert_allclose(kept["features"], features[rows], atol=1e-5)
        assert list(kept["predictions"]) == list(scores.argmax(axis=1)[rows])


def test_models_of_other_classes_or_that_have_seen_the_data_are_refused(tmp_path):
    other = classifier(classes=CLASSES[::-1])
    with pytest.raises(InputError, match="the models answer different questions"):
        embed({"a": classifier(), "b": other}, data_set(image_set()), out=tmp_path / "out")
    data = replace(data_set(image_set()), made_splits=("test",))
    right = {"data": {"fingerprint": data.fingerprint()}}
    embed({"a": classifier(provenance=right)}, data, out=tmp_path / "fine")
    with pytest.raises(InputError, match="came without a split 'test'"):
        embed({"a": classifier(provenance=right), "b": classifier()}, data, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_features_that_say_nothing_are_refused(tmp_path):
    images = replace(image_set(), array=np.zeros((12, 16, 16), np.uint8))
    with pytest.raises(InputError, match="a gives all 12 images the same features"):
        embed({"a": classifier()}, data_set(images), out=tmp_path / "out")
    broken = classifier()
    with torch.no_grad():
        broken.model.patch_embed.proj.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="features of 12 of 12 images by a are not finite"):
        embed({"a": broken}, data_set(image_set()), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_with_several_labels(tmp_path):
    net = classifier()
    bundle = replace(net.bundle, task=Task.MULTILABEL)
    targets = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 1, 0]] * 3)
    classes, names = classes_of(bundle, targets)
    assert [names[k] for k in classes[:4]] == ["no label", "ant", "cow", "several labels"]
    model = NetworkClassifier(bundle, net.model, torch.device("cpu"))
    data = data_set(image_set(targets=targets), Task.MULTILABEL)
    report = embed({"a": model}, data, out=tmp_path)
    assert [row["n"] for row in report["classes"]] == [3, 0, 3, 3, 3]
    assert any("several labels" in note for note in report["notes"])
    assert np.load(tmp_path / "features-a.npz")["predictions"].shape == (12, 3)


@pytest.mark.parametrize("classes", [2, 11, 80])
def test_the_picture_shows_every_class_and_nothing_is_cut_off(classes):
    generator = np.random.default_rng(0)
    targets = np.arange(160) % classes
    figures = separation(generator.normal(size=(160, 4)), targets)
    panels = [scatter.Panel(f"run $x_{i}", generator.normal(size=(160, 2)), figures) for i in range(3)]
    names = [f"class $x_{k} with a name that is long for a picture" for k in range(classes)]
    picture = np.asarray(Image.open(io.BytesIO(scatter.draw(panels, targets, names, "costs $5"))).convert("RGB"))
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (border == 255).all()
    assert max(picture.shape) < 6000
    for k in range(min(classes, len(COLOURS))):
        colour = tuple(int(COLOURS[k][i : i + 2], 16) for i in (1, 3, 5))
        assert (picture == colour).all(axis=-1).sum() > 20, "its mark in the legend"


def test_no_two_classes_look_alike():
    looks = {(k % len(COLOURS), scatter._marker(k // len(COLOURS))) for k in range(70)}
    assert len(looks) == 70


def test_the_verb_takes_several_models_and_then_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        net = classifier(classes=("benign", "malignant"))
        bundle = replace(net.bundle, task=Task.BINARY)
        bundle.save(tmp_path / "runs" / name, net.model.state_dict())
    arguments = ["embed", "runs/first", "runs/second", "phantoms:60", "--split", "all", "--limit", "10"]
    assert main([*arguments, "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert "arranging the features of 10 images by second" in captured.err
    assert "5-NN accuracy" in captured.out
    assert "majority baseline" in captured.out
    assert captured.out.strip().endswith("runs/first/embedding-all-first-second")
    assert (tmp_path / "runs/first/embedding-all-first-second/features-second.npz").is_file()
    assert main(["embed", "runs/first", "phantoms:60", "--split", "all", "--limit", "9", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 9
    assert (tmp_path / "runs/first/embedding-all/embedding.json").is_file()
    assert main(["embed", "runs/first"]) == 2
    assert "write: medmamba embed RUN... DATA" in capsys.readouterr().err
    assert main(["embed", "runs/first", "runs/../runs/first", "phantoms:60"]) == 2
    assert "is named twice" in capsys.readouterr().err


def test_models_of_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "b" / "other"]
    assert tell_apart(paths[:1]) == ["run"]
    assert tell_apart(paths) == ["a-run", "b-run", "b-other"]


def test_a_bundle_on_disk_gives_features(tmp_path):
    net = classifier()
    net.bundle.save(tmp_path / "run", net.model.state_dict())
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16), dtype=np.uint8)
    loaded = medmamba.load(tmp_path / "run", device="cpu")  # folded and laid out for inference
    np.testing.assert_allclose(loaded.features(pixels), net.features(pixels), atol=1e-4)
