"""The three files of the page: what they may hold, what they write, whether they can be read. No browser is needed."""

import json
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from medmamba.cli.console import as_csv
from medmamba.predictor import Prediction

PAGE = resources.files("medmamba.serve") / "page"
NAMES = ("index.html", "page.css", "page.js")
NAMESPACE = "http://www.w3.org/2000/svg"  # a name, no address that is asked


@pytest.fixture(scope="module")
def parts() -> dict[str, str]:
    return {name: (PAGE / name).read_text(encoding="utf-8") for name in NAMES}


def test_nothing_of_the_page_is_elsewhere(parts: dict[str, str]) -> None:
    for name, text in parts.items():
        assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text.replace(NAMESPACE, "")), name
        assert "@import" not in text
        assert "url(" not in text, name
    linked = re.findall(r'(?:src|href)="([^"]+)"', parts["index.html"])
    assert [link for link in linked if not link.startswith("data:image/svg+xml,")] == ["page.css", "page.js"]


def test_the_content_security_policy_has_nothing_to_refuse(parts: dict[str, str]) -> None:
    html, script = parts["index.html"], parts["page.js"]
    assert "<style" not in html
    assert re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL) == [""]
    assert not re.findall(r"<[^>]*\s(?:style|on\w+)=", html)
    for forbidden in ("eval(", "new Function", "javascript:", 'setAttribute("style"', "cssText"):
        assert forbidden not in script


def test_texts_never_become_html_and_nothing_is_stored(parts: dict[str, str]) -> None:
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "srcdoc"):
        assert forbidden not in parts["page.js"]
    for store in ("localStorage", "sessionStorage", "indexedDB", "caches", "document.cookie", "serviceWorker"):
        assert store not in parts["page.js"]


def test_research_use_is_said_once(parts: dict[str, str]) -> None:
    assert parts["index.html"].count("Research software, not a medical device.") == 1
    assert "medical device" not in parts["page.js"]


def _in_node(parts: dict[str, str], folder: Path, expression: str, *values: object) -> str:
    """What an expression of the functions of page.js and of `values` gives as text."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node, which runs the page's own functions without a browser, is not installed")
    (folder / "page.mjs").write_text(parts["page.js"], encoding="utf-8")
    words = "import * as page from './page.mjs'; import { readFileSync, writeFileSync } from 'node:fs';\n"
    words += "const values = JSON.parse(readFileSync('values.json', 'utf8'));\n"
    (folder / "run.mjs").write_text(f"{words}writeFileSync('answer.txt', String({expression}));\n", encoding="utf-8")
    (folder / "values.json").write_text(json.dumps(values), encoding="utf-8")
    subprocess.run([node, "run.mjs"], cwd=folder, check=True, timeout=20)
    return (folder / "answer.txt").read_bytes().decode("utf-8")


FORMULAS = ("=1+1", "+cmd", "-cmd", "@sum", "\t=1")


def test_the_csv_is_what_predict_writes(parts: dict[str, str], tmp_path: Path) -> None:
    classes = ("=ant", 'a "bee"', "wasp, fly")
    scores = dict(zip(classes, (0.1234567, 1e-7, 0.8765432), strict=True))
    names = (*FORMULAS, "-1.5e3", "plain.png", 'quoted "name".png', "comma, line\nend.png", "Größe.dcm")
    answers = [Prediction(name, classes[0], scores, possible=classes[:2], refer="") for name in names]
    answers += [
        Prediction("empty.png", classes[2], scores, possible=(), refer="no single class is sure enough"),
        Prediction("letter.jpg", None, error="@it is not an image"),
    ]
    rows = [
        {
            "name": each.file,
            "problem": each.error,
            "answer": None
            if each.error
            else {
                "label": each.label,
                "probabilities": each.probabilities,
                "prediction_set": each.possible,
                "refer": each.refer or None,
            },
        }
        for each in answers
    ]
    made = {"classes": classes, "sets": True, "scope": True}
    written = _in_node(parts, tmp_path, "page.csv(...values)", rows, made)
    expected = as_csv(answers, classes)
    assert written.replace("\r\n", "\n") == expected
    assert written.count("\r\n") == len(rows) + 1
    for formula in FORMULAS:
        assert f"'{formula}" in written
    assert "\r\n-1.5e3," in written
    assert _in_node(parts, tmp_path, "page.csvCell(values[0])", "\r=1") == '"\'\r=1"'


def test_the_csv_has_no_column_for_what_the_model_does_not_make(parts: dict[str, str], tmp_path: Path) -> None:
    answer = {"label": "ant", "probabilities": {"ant": 1}, "prediction_set": None, "refer": None}
    row = {"name": "a.png", "answer": answer, "problem": None}
    made = {"classes": ["ant"], "sets": False, "scope": False}
    assert (
        _in_node(parts, tmp_path, "page.csv(...values)", [row], made)
        == "file,label,ant,error\r\na.png,ant,1.000000,\r\n"
    )


def test_no_probability_is_rounded_to_certainty(parts: dict[str, str], tmp_path: Path) -> None:
    shares = [0, 1e-9, 0.0009, 0.001, 0.5, 0.97349, 0.9991, 0.9999999, 1]
    written = _in_node(parts, tmp_path, "values[0].map(page.percent).join('|')", shares)
    expected = "0.0 %|< 0.1 %|< 0.1 %|0.1 %|50.0 %|97.3 %|> 99.9 %|> 99.9 %|100.0 %"
    assert written.replace("\u00a0", " ") == expected


def _colours(css: str) -> dict[str, tuple[float, ...]]:
    named = re.findall(r"--([\w-]+): (#[0-9a-f]{3,8});", css)
    return {name: _channels(value) for name, value in named}


def _channels(value: str) -> tuple[float, ...]:
    digits = value[1:]
    pairs = [each * 2 for each in digits] if len(digits) < 5 else [digits[k : k + 2] for k in range(0, len(digits), 2)]
    return tuple(int(pair, 16) / 255 for pair in pairs)


def _over(colour: tuple[float, ...], ground: tuple[float, ...]) -> tuple[float, ...]:
    share = colour[3] if len(colour) == 4 else 1
    return tuple(share * one + (1 - share) * other for one, other in zip(colour[:3], ground, strict=True))


def _contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(colour: tuple[float, ...]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(parts: dict[str, str], scheme: str) -> None:
    light, dark = re.findall(r":root \{(.*?)\}", parts["page.css"], re.DOTALL)
    colours = _colours(light) | (_colours(dark) if scheme == "dark" else {})
    paper = colours["paper"]
    shaded = _over(colours["soft"], paper)
    for name in ("ink", "soft-ink", "blue", "warn", "bad"):
        assert _contrast(colours[name], paper) >= 4.5, name
        assert _contrast(colours[name], shaded) >= 4.5, name
    assert _contrast(colours["on-blue"], colours["blue"]) >= 4.5
    assert _contrast(colours["edge"], paper) >= 3
    assert _contrast(_channels("#b8bec5"), colours["dark"]) >= 4.5
    assert "#b8bec5" in parts["page.css"]
