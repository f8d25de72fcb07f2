"""Names that others chose, where a terminal or a spreadsheet would obey them."""

import csv

import numpy as np
import pytest

from medmamba.bundle import Bundle
from medmamba.cli.console import as_csv
from medmamba.data.dataset import ImageSet
from medmamba.data.preprocessing import Preprocessing
from medmamba.errors import InputError
from medmamba.evaluation.scoring import scores_table
from medmamba.predictor import Prediction
from medmamba.tasks import Task
from medmamba.text import has_control, printable, spreadsheet_cell

ESCAPES = ["\x1b[31mred", "a\x07", "a\u202eb", "a\u2028b", "a\x9bb", "a\udcff"]


@pytest.mark.parametrize("text", ESCAPES)
def test_control_characters_are_seen_and_shown_as_escapes(text: str) -> None:
    assert has_control(text)
    shown = printable(text)
    assert not has_control(shown)
    assert "\\" in shown


@pytest.mark.parametrize("text", ["benign", "é tumeur", "良性", "\u0645\u06cc\u200c\u062e", "👩\u200d⚕️", "a b"])
def test_letters_of_any_script_are_no_control_characters(text: str) -> None:
    assert not has_control(text)
    assert printable(text) == text


def test_line_ends_and_tabs_of_messages_stay() -> None:
    assert printable("a\n\tb\x1b") == "a\n\tb\\x1b"


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\t=x", "-", "-inf", "--1", "=-1"])
def test_what_a_spreadsheet_would_compute_gets_an_apostrophe(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "-1", "+1.5e-3", "-.5", "1e-8", "benign", "'x"])
def test_numbers_and_other_text_stay_as_they_are(text: str) -> None:
    assert spreadsheet_cell(text) == text


def test_predictions_and_scores_hold_no_formulas() -> None:
    name, classes = "=HYPERLINK(1).png", ("+a", "-1")
    answers = [Prediction(name, "+a", {"+a": 0.75, "-1": 0.25}), Prediction("@x", None, error="@x is not there")]
    rows = list(csv.reader(as_csv(answers, classes).splitlines()))
    assert rows[0] == ["file", "label", "'+a", "-1", "error"]
    assert rows[1] == [f"'{name}", "'+a", "0.750000", "0.250000", ""]
    assert rows[2][0] == "'@x"
    bundle = Bundle("resnet18", Task.BINARY, classes, Preprocessing(8, 8))
    images = ImageSet((name,), np.array([0]), ("-p",), array=np.zeros((1, 4, 4), np.uint8))
    table = scores_table(bundle, images, np.array([[0.5, 1e-9]]))
    assert list(csv.reader(table.splitlines()))[1] == [f"'{name}", "'+a", "'+a", "0.5", "1e-09", "'-p"]


def test_a_bundle_has_no_class_with_control_characters() -> None:
    with pytest.raises(InputError, match=r"the bundle has a class name with control characters, as 'a\\x1b\[2J'"):
        Bundle("resnet18", Task.BINARY, ("a\x1b[2J", "b"), Preprocessing(8, 8))
