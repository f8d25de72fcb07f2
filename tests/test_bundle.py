import copy
import functools
import hashlib
import json
import operator
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from medmamba.bundle import Bundle, load_bundle, load_model
from medmamba.card import card, facts
from medmamba.data.preprocessing import Preprocessing
from medmamba.errors import FailedError, InputError
from medmamba.json_file import write_json
from medmamba.manifest import sealed
from medmamba.tasks import Task
from medmamba.writing import write_atomically

BUNDLE = Bundle(
    model="test_resnet",
    task=Task.MULTICLASS,
    classes=("zebra", "ant", "bee"),
    preprocessing=Preprocessing(height=32, width=48),
    threshold=0.25,
    provenance={"seed": 3, "data": {"name": "zoo"}},
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    BUNDLE.save(tmp_path / "run", BUNDLE.build_model().state_dict())
    return tmp_path / "run"


def rewrite(folder: Path, content: bytes) -> None:
    """Other weights, as if they had been written so."""
    (folder / "weights.safetensors").write_bytes(content)
    edit(folder, files={"weights.safetensors": hashlib.sha256(content).hexdigest()})


def edit(folder: Path, **changes: object) -> None:
    entries = json.loads((folder / "bundle.json").read_text())
    entries.update(changes)
    write_json(folder / "bundle.json", sealed({k: v for k, v in entries.items() if v != "DROP"}))


def test_what_is_saved_comes_back_with_the_classes_in_order(saved: Path) -> None:
    assert load_bundle(saved) == BUNDLE
    assert load_bundle(saved).classes == ("zebra", "ant", "bee")
    model = load_model(saved)
    assert not model.training
    kept = load_file(saved / "weights.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())
    assert model(torch.zeros(1, 3, 32, 48)).shape == (1, 3)


def test_a_bundle_holds_no_pickle_and_anyone_may_read_it(saved: Path) -> None:
    assert {path.name for path in saved.iterdir()} == {"bundle.json", "card.md", "weights.safetensors"}
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in saved.iterdir())


def test_reading_a_description_needs_no_torch(saved: Path) -> None:
    code = "import sys; from medmamba.bundle import *; load_bundle(sys.argv[1]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_folder_that_is_no_bundle_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no bundle\.json"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "{",
            "[1, 2]",
            "null",
            '"x"',
            "\xff",
            '{"format": 3, "format": 3}',
            '{"format": NaN}',
            '{"format": 1e999}',
        ),
        *('{"format": "\\ud800"}', '{"a":' * 5000 + "1" + "}" * 5000, "[" * 200_000, '{"a": ' + "9" * 5000 + "}"),
    ],
)
def test_a_damaged_description_is_refused(saved: Path, text: str) -> None:
    (saved / "bundle.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"bundle\.json cannot be used"):
        load_bundle(saved)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 5}, "has format 5, this version reads 1 to 4; update medmamba"),
        ({"format": "DROP"}, "has format unknown"),
        ({"members": "DROP"}, "missing or unknown: members"),
        ({"files": "DROP"}, "missing or unknown: files"),
        ({"files": {}}, r"does not name the SHA-256 of weights\.safetensors"),
        ({"files": ["weights.safetensors"]}, "not named with their SHA-256"),
        ({"files": {"weights.safetensors": "A" * 64}}, "not named with their SHA-256"),
        ({"files": {"../weights.safetensors": "0" * 64}}, r"names the file '\.\./weights"),
        ({"classes": "DROP"}, "missing or unknown: classes"),
        ({"colour": "red"}, "missing or unknown: colour"),
        ({"task": "multiclass"}, "did you mean 'multi-class'"),
        ({"classes": ["a", "a"]}, "repeat"),
        ({"classes": []}, "empty"),
        ({"classes": 3}, "cannot be used"),
        ({"positive": 7}, "positive class 7"),
        ({"threshold": 2}, "threshold 2"),
        ({"preprocessing": {"height": 32, "width": 32, "zoom": 2}}, "zoom"),
        ({"preprocessing": None}, "cannot be used"),
    ],
)
def test_a_wrong_entry_is_refused(saved: Path, changes: dict[str, object], words: str) -> None:
    edit(saved, **changes)
    with pytest.raises(InputError, match=words):
        load_bundle(saved)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the values of JSON are that hold no others."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [leaf for key, child in children for leaf in leaves(child, (*path, key))] or [path]


def test_every_value_that_was_changed_is_seen(saved: Path) -> None:
    """Also one that is as possible: another threshold, another order of the classes."""
    file = saved / "bundle.json"
    whole = json.loads(file.read_text())
    places = leaves(whole)
    assert {("threshold",), ("classes", 0), ("preprocessing", "mean"), ("sha256",)} <= set(places)
    for *outer, last in places:
        entries = copy.deepcopy(whole)
        inner = functools.reduce(operator.getitem, outer, entries)
        inner[last] = {0: 1, 0.5: 0.25}.get(inner[last], "x") if not isinstance(inner[last], list | dict) else None
        file.write_text(json.dumps(entries))
        with pytest.raises(InputError, match=r"bundle\.json (is damaged, or was edited by hand|cannot be used): "):
            load_bundle(saved)
    file.write_text(json.dumps(whole | {"classes": whole["classes"][::-1]}))
    with pytest.raises(InputError, match="entries are not those that were written; copy the whole folder again"):
        load_bundle(saved)
    file.write_text(json.dumps({name: whole[name] for name in whole if name != "sha256"}))
    with pytest.raises(InputError, match="does not name its own SHA-256"):
        load_bundle(saved)
    file.write_text(json.dumps(whole, sort_keys=True))  # laid out anew
    assert load_bundle(saved) == BUNDLE
    replace(load_bundle(saved), threshold=0.3).save_description(saved)  # as docs/reference/bundle.md says
    assert load_bundle(saved) == replace(BUNDLE, threshold=0.3)


def test_missing_or_damaged_weights_are_refused(saved: Path) -> None:
    weights = saved / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="is damaged"):
        load_model(saved)
    weights.unlink()
    with pytest.raises(InputError, match=r"has no weights\.safetensors"):
        load_model(saved)


@pytest.mark.parametrize("half", [False, True])
def test_a_flipped_bit_of_the_weights_is_seen(tmp_path: Path, half: bool) -> None:
    BUNDLE.save(tmp_path, BUNDLE.build_model().state_dict(), half=half)
    load_model(tmp_path)
    weights = tmp_path / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="its bytes are not those that were written"):
        load_model(tmp_path)


def test_bundles_of_before_there_were_digests_are_read(saved: Path) -> None:
    before = (saved / "weights.safetensors").read_bytes()
    written = json.loads((saved / "bundle.json").read_text())
    for version, lacking in ((3, {"sha256"}), (1, {"sha256", "files", "members", "mirror"})):
        older = {name: value for name, value in written.items() if name not in lacking}
        write_json(saved / "bundle.json", older | {"format": version})
        assert load_bundle(saved) == BUNDLE
        load_model(saved)
    load_bundle(saved).save_description(saved)  # and have them from then on
    assert json.loads((saved / "bundle.json").read_text()) == written
    assert load_bundle(saved).files == {"weights.safetensors": hashlib.sha256(before).hexdigest()}
    assert (saved / "weights.safetensors").read_bytes() == before


def test_f041_weights_that_do_not_fit_are_counted(saved: Path) -> None:
    edit(saved, classes=["a", "b", "c", "d", "e"])
    with pytest.raises(InputError, match=r"of \d+ tensors expected, 2 of another shape \(fc\.weight\)"):
        load_model(saved)


def test_missing_and_unexpected_tensors_are_counted(saved: Path) -> None:
    tensors = load_file(saved / "weights.safetensors")
    tensors["extra"] = tensors.pop("fc.bias")
    rewrite(saved, save(tensors))
    with pytest.raises(InputError, match=r"1 missing \(fc\.bias\), 1 unexpected \(extra\)"):
        load_model(saved)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "file", b"old")

    def fail(handle: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FailedError, match=r"could not be written \(No space.* what was there before is kept"):
        write_atomically(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_json_never_holds_a_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "x.json", {"auc": float("nan")})


def test_f034_what_was_not_recorded_reads_unknown() -> None:
    known = facts(BUNDLE)
    assert known["data"] == "zoo"
    assert known["seed"] == "3"
    missing = [name for name, value in facts(replace(BUNDLE, provenance={})).items() if value == "unknown"]
    assert {"data", "data fingerprint", "best epoch", "validation AUC", "date", "versions", "recipe"} <= set(missing)
    assert all(facts(replace(BUNDLE, provenance={})).values())


def test_the_card_says_what_it_is_not_and_takes_class_names_literally() -> None:
    text = card(replace(BUNDLE, classes=("a|b", "<script>", "*c*")))
    assert "not a medical device" in text
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "a\\|b" in text


def test_weights_in_float16_are_half_as_large_and_computed_in_float32(saved: Path, tmp_path: Path) -> None:
    model = load_model(saved)
    BUNDLE.save(tmp_path / "half", model.state_dict(), half=True)
    whole, half = (path / "weights.safetensors" for path in (saved, tmp_path / "half"))
    assert half.stat().st_size < 0.6 * whole.stat().st_size  # names and counts are as they were
    kept, rounded = load_file(half), load_model(tmp_path / "half")
    for name, tensor in rounded.state_dict().items():
        before = model.state_dict()[name]
        assert kept[name].dtype == (torch.float16 if before.dtype == torch.float32 else before.dtype)
        assert tensor.dtype == before.dtype
        torch.testing.assert_close(tensor, before, rtol=2**-11, atol=2**-24)
    images = torch.rand(2, 3, 32, 48)
    torch.testing.assert_close(rounded(images), model(images), rtol=1e-2, atol=1e-2)


def test_what_float16_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    state = {name: tensor * 0 + 1e6 for name, tensor in BUNDLE.build_model().state_dict().items()}
    with pytest.raises(InputError, match="float16 cannot hold"):
        BUNDLE.save(tmp_path / "half", state, half=True)
    assert not (tmp_path / "half").exists()
