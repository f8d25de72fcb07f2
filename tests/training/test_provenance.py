import numpy as np
import pytest
from noise import make_data, make_images

from medmamba.data.dataset import ImageSet
from medmamba.tasks import Task
from medmamba.training.provenance import class_counts, describe_data, log_data


def test_images_are_counted_by_class_and_labels_by_label() -> None:
    data = make_data(classes=3)
    assert class_counts(make_images(7, classes=3), data) == {"benign": 3, "malignant": 2, "normal": 2}
    several = ImageSet(("a", "b"), np.array([[1, 1, 0], [0, 1, 0]]), array=make_images(2).array)
    assert class_counts(several, make_data(classes=3, task=Task.MULTILABEL)) == {
        "benign": 1,
        "malignant": 2,
        "normal": 0,
    }


def test_notes_of_the_data_and_splits_made_here_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    data = make_data(notes=("2 columns are not used: age, sex",), made_splits=("val", "test"))
    splits = {name: data.split(name) for name in ("train", "val")}
    about = describe_data(data, splits, seed=5)
    log_data(about)
    assert "2 columns are not used" in caplog.text
    assert about["splits"] == "val, test made here, seed 5"
    assert about["fingerprint"] == data.fingerprint()
