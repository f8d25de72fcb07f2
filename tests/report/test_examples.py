"""The kept reports of `docs/examples`: whole, small, and telling nothing of where they were made."""

import json
import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
NAMES = ("breastmnist", "busi")
FILES = ["metrics.json", "report.html", "reporting-checklists.md"]
MOST_BYTES = 2_000_000
ABSOLUTE = re.compile(r"(?:^|[\s\"'=(>`])(?:/[\w.-]+/|~/|[A-Za-z]:\\|file:)", re.MULTILINE)


def page(name: str) -> str:
    """A report without the bytes of its pictures."""
    html = (EXAMPLES / name / "report.html").read_text(encoding="utf-8")
    return re.sub(r'"data:image/jpeg;base64,[^"]*"', '"picture"', html)


def test_the_examples_are_complete_and_small():
    files = [path for path in EXAMPLES.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    assert sorted(path.name for path in EXAMPLES.iterdir()) == ["README.md", *NAMES]
    for name in NAMES:
        assert sorted(path.name for path in (EXAMPLES / name).iterdir()) == FILES


@pytest.mark.parametrize("name", NAMES)
def test_an_example_asks_nothing_of_any_machine(name):
    html = page(name)
    assert not re.search(r"<(script|link|iframe|object|embed)\b", html)
    assert not re.search(r"url\(|@import|http-equiv", html)
    assert set(re.findall(r'\ssrc="([^"]*)"', html)) == {"picture"}
    assert "http" not in re.sub(r'<a href="https?://[^"]*"', "", html)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_names_no_place_on_a_disk(name):
    for words in (
        page(name),
        *((EXAMPLES / name / file).read_text(encoding="utf-8") for file in FILES if "html" not in file),
    ):
        assert not (found := ABSOLUTE.search(words)), words[max(0, found.start() - 40) : found.end() + 40]


def test_such_places_would_be_found():
    for words in ("trained by /home/x/run", "--out=/tmp/a", r'"C:\data"', "in ~/runs", "file:///a"):
        assert ABSOLUTE.search(words)
    assert not ABSOLUTE.search("a / b, n/a, 1/2, </td>, busi256/splits.csv, benign/benign_1.png")


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_whole_and_its_figures_are_those_of_its_metrics(name):
    html, report = page(name), json.loads((EXAMPLES / name / "metrics.json").read_text(encoding="utf-8"))
    sections = re.findall(r"<h2>(.*?)</h2>", html)
    for wanted in (
        "Data",
        "Results",
        "Prediction sets and scope",
        "Hardest cases",
        "Robustness",
        "Limits",
        "How it was made",
    ):
        assert wanted in sections
    figure = report["auc"]
    assert f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})" in html
    assert html.count('class="case"') == 16
    assert html.count('src="picture"') == 32  # each case with its heat map
    assert f"medmamba_nano on {report['data']['name']}" in html
    assert "medical device" in html
