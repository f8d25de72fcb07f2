"""Where the pictures end that a model was trained on: distances, limits, and the file that holds them."""

import numpy as np
import pytest
from safetensors.numpy import save

from medmamba.calibration.scope import fit_kind, with_limits
from medmamba.errors import InputError
from medmamba.predictor.scope import Kind, looks_of


def drawn(n, seed, shift=0.0):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 3, n)
    mixed = generator.normal(size=(n, 6)) @ (np.eye(6) + 0.1 * np.random.default_rng(9).normal(size=(6, 6)))
    features = mixed + 100 * targets[:, None] + shift
    looks = generator.normal(size=(n, 4)) * [1, 5, 0.1, 2] + shift
    return features.astype(np.float32), targets, looks


@pytest.fixture(scope="module")
def kind():
    return fit_kind(*drawn(2000, 0))


def test_distances_are_those_of_a_standard_normal(kind):
    """Of as many dimensions as there are features: the nearest centre of well separated classes is their own."""
    features, _, looks = drawn(4000, 1)
    of_features, of_looks = kind.distances(features, looks)
    assert of_features.mean() == pytest.approx(6, rel=0.05)
    assert of_looks.mean() == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("refused", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("n", [40, 1000])
def test_no_more_are_refused_than_was_asked_for_and_nearly_so_many(kind, refused, n):
    features, _, looks = drawn(n, 2)
    strange = with_limits(kind, features, looks, refused).strangeness(features, looks)
    share = (strange > 1).mean()
    assert refused - 2 / n <= share <= refused


def test_images_that_were_not_used_are_refused_about_as_often_and_others_always(kind):
    features, _, looks = drawn(1000, 2)
    limited = with_limits(kind, features, looks, 0.05)
    features, _, looks = drawn(4000, 3)
    assert (limited.strangeness(features, looks) > 1).mean() == pytest.approx(0.05, abs=0.02)
    features, _, looks = drawn(200, 4, shift=40.0)
    assert (limited.strangeness(features, looks) > 1).all()


def test_more_features_than_images_and_a_feature_that_never_varies():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(30, 64)).astype(np.float32)
    features[:, 5] = 1
    looks = generator.normal(size=(30, 4))
    looks[:, 2] = 0.5
    kind = fit_kind(features, np.arange(30) % 2, looks)
    strange = with_limits(kind, features, looks, 0.1).strangeness(features, looks)
    assert np.isfinite(strange).all()
    looks[0, 2] = 0.9  # grey images alone were seen; this one is not
    assert with_limits(kind, features, looks * 1.0, 0.1).distances(features, looks)[1].argmax() == 0


@pytest.fixture
def packed(tmp_path):
    """A scope of real pictures' statistics, and its file."""
    features, targets, _ = drawn(50, 0)
    looks = looks_of(np.random.default_rng(0).integers(0, 256, (50, 1, 8, 8), np.uint8))
    kind = with_limits(fit_kind(features, targets, looks), features, looks, 0.1)
    (tmp_path / "x").write_bytes(kind.pack())
    return kind, tmp_path / "x"


def test_the_file_gives_it_back_and_damage_is_named(packed):
    kind, path = packed
    again = Kind.read(path)
    assert all(np.array_equal(getattr(kind, name), array) for name, array in vars(again).items())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="is damaged"):
        Kind.read(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"limits": np.array([1, np.nan], np.float32)}, "limits holds numbers that are not finite"),
        ({"limits": np.array([1, 0], np.float32)}, "a limit is not above 0"),
        ({"limits": np.ones(3, np.float32)}, r"limits is float32 \(3,\)"),
        ({"looks": np.ones((1, 3), np.float32)}, r"looks is float32 \(1, 3\)"),
        ({"whitening": np.ones((6, 5), np.float32)}, r"whitening is float32 \(6, 5\)"),
        ({"whitening": np.ones((6, 6))}, r"whitening is float64 \(6, 6\)"),
        ({"features": np.float32(1)}, r"features is float32 \(\)"),
        ({"features": np.ones((0, 6), np.float32)}, r"features is float32 \(0, 6\)"),
        ({"more": np.ones(1)}, "does not hold features, limits"),
    ],
)
def test_arrays_that_are_no_scope_are_refused(packed, changes, words):
    kind, path = packed
    path.write_bytes(save({**vars(kind), **{name: np.asarray(array) for name, array in changes.items()}}))
    with pytest.raises(InputError, match=words):
        Kind.read(path)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(16, 16), (17, 33), (4, 4)])
def test_looks_are_finite_for_any_picture(channels, size):
    generator = np.random.default_rng(0)
    pictures = [
        np.zeros((channels, *size)),
        np.full((channels, *size), 255),
        generator.integers(0, 256, (channels, *size)),
    ]
    looks = looks_of(np.stack(pictures).astype(np.uint8))
    assert looks.shape == (3, 12)
    assert np.isfinite(looks).all()
    assert len({tuple(row) for row in looks.round(6)}) == 3
