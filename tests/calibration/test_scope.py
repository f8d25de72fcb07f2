"""Where the pictures end that a model was trained on: distances, limits, and the file that holds them."""

import numpy as np
import pytest

from medmamba.calibration.scope import fit_kind, with_limits
from medmamba.errors import InputError
from medmamba.predictor.scope import FILE, Kind, looks_of


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


def test_the_file_gives_it_back_and_damage_is_named(kind, tmp_path):
    kind.save(tmp_path)
    again = Kind.load(tmp_path)
    features, _, looks = drawn(50, 5)
    assert np.array_equal(kind.distances(features, looks), again.distances(features, looks))
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:100])
    with pytest.raises(InputError, match="missing or damaged"):
        Kind.load(tmp_path)


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
