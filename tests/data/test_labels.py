"""Class names that cannot be used, and those that are too much alike."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pictures import save_image

from medmamba.data import open_data
from medmamba.data.labels import check_alike
from medmamba.errors import InputError

Make = Callable[..., Path]
FILES = [f"{row}.png" for row in range(8)]


def test_labels_that_differ_in_capitals_or_blanks_are_refused_by_name(make_table: Make) -> None:
    labels = ["Benign", '"benign "', "cyst", "lung  cancer", "lung cancer", "cyst", "Benign", "x"]
    text = "file,label\n" + "".join(f"{file},{label}\n" for file, label in zip(FILES, labels, strict=True))
    with pytest.raises(InputError, match="'Benign' and 'benign'; 'lung  cancer' and 'lung cancer'; write each in one"):
        open_data(make_table(text, FILES))


def test_class_folders_that_differ_in_capitals_are_refused(make_folder: Make) -> None:
    with pytest.raises(InputError, match="'Benign' and 'benign'"):
        open_data(make_folder({"train/Benign": 4, "train/other": 4, "test/benign": 2}))


def test_a_label_of_another_spelling_than_the_models_is_unknown_and_the_right_one_named(make_folder: Make) -> None:
    with pytest.raises(InputError, match="does not know: benign; it knows Benign, other; did you mean 'Benign'"):
        open_data(make_folder({"test/benign": 2}), classes=("Benign", "other"))


def test_names_that_differ_otherwise_are_two_classes() -> None:
    check_alike(["a1", "a_1", "a-1", "1", "01", "é", "e", "a1"], "x")


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\u202eb"])
def test_control_characters_in_a_class_name_are_refused(make_folder: Make, make_table: Make, name: str) -> None:
    with pytest.raises(InputError) as refusal:
        open_data(make_folder({name: 4, "b": 4}))
    assert f"a class name with control characters, as {name!r}" in str(refusal.value)
    text = "file,label\n" + "".join(f"{file},{name if row % 2 else 'b'}\n" for row, file in enumerate(FILES))
    with pytest.raises(InputError, match="control characters"):
        open_data(make_table(text, FILES))


def test_html_is_a_class_name_like_any_other(make_folder: Make) -> None:
    assert open_data(make_folder({"<b>x": 8, "y": 8})).classes == ("<b>x", "y")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are no text")
def test_a_file_name_that_is_no_text_is_refused_in_words(make_folder: Make) -> None:
    root = make_folder({"a": 4, "b": 4})
    save_image(root / "x.png").rename(os.fsdecode(os.fsencode(root / "a") + b"/\xff.png"))
    with pytest.raises(InputError, match=r"set has 1 file with names that are no Unicode text, as 'a/\\udcff\.png'"):
        open_data(root)
