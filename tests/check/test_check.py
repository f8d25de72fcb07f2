"""One report tells everything that was planted, and nothing of a clean set."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmamba.check import check, page
from medmamba.check.findings import KINDS, Finding
from medmamba.cli import main
from medmamba.data import open_data
from medmamba.data.phantoms import phantom
from medmamba.errors import InputError


@pytest.fixture
def make_set(tmp_path: Path) -> Callable[..., Path]:
    """`split/class/NNN.png` of phantoms, each file through `change(split, class, number, pixels)`."""

    def make(change: Callable[..., np.ndarray] = lambda *of: of[3], n: int = 30, classes: int = 2) -> Path:
        root = tmp_path / "set"
        number = 0
        for split, share in (("train", n), ("val", 12), ("test", 12)):
            for label in range(classes):
                folder = root / split / f"class{label}"
                folder.mkdir(parents=True)
                for i in range(share):
                    number += 1
                    Image.fromarray(change(split, label, i, phantom(number)[0])).save(folder / f"{i:03}.png")
        return root

    return make


def named(root: Path) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in check(open_data(root)).findings:
        found.setdefault(finding.name, []).append(finding)
    return found


def test_a_clean_set_has_no_findings(make_set: Callable[..., Path]) -> None:
    report = check(open_data(make_set()))
    assert report.findings == []
    assert not report.wrong
    assert [row["images"] for row in report.table] == [30, 30, 12, 12, 12, 12]
    assert "Nothing wrong was found." in page(report)


def test_everything_is_reported_not_the_first_fault(make_set: Callable[..., Path]) -> None:
    root = make_set()
    (root / "train/class0/000.png").write_bytes(b"no image")
    (root / "val/class1/bad.png").write_bytes((root / "val/class1/000.png").read_bytes()[:700])
    Image.new("L", (64, 64), 0).save(root / "test/class0/000.png")
    (root / "test/class1/000.png").write_bytes((root / "train/class1/005.png").read_bytes())
    Image.open(root / "val/class0/000.png").convert("RGB").save(root / "val/class1/001.png")
    found = named(root)
    assert set(found) == {"unreadable", "blank", "leaked-images", "label-conflict", "mixed"}
    assert found["unreadable"][0].groups == [["train/class0/000.png"], ["val/class1/bad.png"]]
    assert found["blank"][0].groups == [["test/class0/000.png"]]
    assert found["leaked-images"][0].groups == [["train/class1/005.png", "test/class1/000.png"]]
    assert found["leaked-images"][0].details["test images with a copy in train"] == 1
    assert found["label-conflict"][0].groups == [["val/class0/000.png", "val/class1/001.png"]]
    assert not found["mixed"][0].wrong


def test_all_faults_of_a_table_are_reported_and_the_rest_is_checked(tmp_path: Path) -> None:
    rows = ["file,label,split,patient"]
    for i in range(80):
        Image.fromarray(phantom(i)[0]).save(tmp_path / f"{i:03}.png")
        rows.append(f"{i:03}.png,{'ab'[i % 2]},{('train', 'train', 'val', 'test')[i // 2 % 4]},p{i // 2}")
    rows[1] = "000.png,,train,p0"
    rows[3] = "002.png,b,trian,p1"
    rows[7] = "006.png,c,test,p3"
    rows[9] = "008.png,a,train,p10"  # p10 is in val too
    rows += ["absent.png,a,train,p90", ",b,val,p91", "010.png,a,train,p5"]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "012.png").write_bytes(b"damaged")
    assert main(["check", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]) == 1
    report = json.loads((tmp_path / "out/check.json").read_text())
    unusable = {image[0] for f in report["findings"] if f["name"] == "unusable" for image in f["images"]}
    assert unusable == {"", "absent.png", "010.png", "002.png", "000.png", "006.png"}
    others = {f["name"]: f for f in report["findings"]}
    assert others["unreadable"]["images"] == [["012.png"]]
    assert "1 patient has images in more than one split" in others["patient-overlap"]["sentence"]
    assert report["data"]["images"] == 80 - 4


def test_a_class_that_a_split_lacks_is_told(make_set: Callable[..., Path]) -> None:
    root = make_set()
    for file in (root / "val/class1").iterdir():
        file.unlink()
    for file in sorted((root / "test/class0").iterdir())[3:]:
        file.unlink()
    found = named(root)
    assert found["class-missing"][0].sentence == "no image of class1 in val"
    assert found["small-class"][0].sentence == "fewer than 10 images of class0 in test (3)"


def test_a_mark_in_the_corner_of_one_class_is_a_likely_shortcut(make_set: Callable[..., Path]) -> None:
    def mark(split: str, label: int, i: int, pixels: np.ndarray) -> np.ndarray:
        pixels = pixels.copy()
        if label == 1:
            pixels[2:5, 2:7] = 255
        return pixels

    found = named(make_set(mark))
    (finding,) = found["shortcut"]
    assert finding.details["by"] == "border"
    classes = finding.details["classes"]
    assert isinstance(classes, dict)
    assert set(classes) == {"class0", "class1"}
    assert all(figures["low"] > 0.9 for figures in classes.values())


def test_another_size_for_one_class_is_a_likely_shortcut(make_set: Callable[..., Path]) -> None:
    found = named(make_set(lambda split, label, i, pixels: phantom(i + 900 * label, size=64 + 8 * label)[0]))
    assert {f.details["by"] for f in found["shortcut"]} == {"file"}


def test_inverted_and_turned_films_are_noticed(make_set: Callable[..., Path]) -> None:
    def film(split: str, label: int, i: int, pixels: np.ndarray) -> np.ndarray:
        y, x = np.mgrid[0:64, 0:64] / 63
        body = 60 + 120 * np.exp(-(((x - 0.5) / 0.2) ** 2)) * (1 - 0.6 * y)
        picture = np.clip(body + 0.15 * (pixels.astype(float) - 128), 0, 255).astype(np.uint8)
        if (split, label, i) == ("train", 0, 3):
            return 255 - picture
        return np.rot90(picture).copy() if (split, label, i) == ("train", 1, 4) else picture

    found = named(make_set(film))
    assert [(f.sentence.split(":")[0], f.groups) for f in found["unusual"]] == [
        ("1 image looks inverted", [["train/class0/003.png"]]),
        ("1 image looks turned", [["train/class1/004.png"]]),
    ]


def test_f076_blank_images_at_the_end_of_a_test_split_are_named(tmp_path: Path) -> None:
    images = np.stack([phantom(row, size=28)[0] for row in range(120)])
    labels = (np.arange(120) % 2).astype(np.uint8)[:, None]
    arrays = {}
    for split, rows in {"train": slice(0, 60), "val": slice(60, 80), "test": slice(80, 120)}.items():
        arrays |= {f"{split}_images": images[rows].copy(), f"{split}_labels": labels[rows]}
    arrays["test_images"][-10:] = 0
    np.savez(tmp_path / "mine.npz", **arrays)
    blank = named(tmp_path / "mine.npz")["blank"][0]
    assert blank.groups == [[f"test/{row}"] for row in range(30, 40)]


def test_multi_label_sets_are_checked(tmp_path: Path) -> None:
    rows = [["file", "label", "split"]]
    for i in range(60):
        split = ("train", "train", "val", "test")[i % 4]
        Image.fromarray(phantom(i)[0]).save(tmp_path / f"{i}.png")
        rows.append([f"{i}.png", ("a", "b", "a|b", "")[(i // 4) % 4], split])
    for copy in ("4.png", "16.png"):  # labels b and a, as 0.png has a
        (tmp_path / copy).write_bytes((tmp_path / "0.png").read_bytes())
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = {f.name: f for f in check(open_data(tmp_path / "t.csv", task="multi-label")).findings}
    assert found["label-conflict"].groups == [["0.png", "4.png", "16.png"]]


def test_the_command_writes_page_and_json_and_tells_by_its_exit_code(
    make_set: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = make_set(), tmp_path / "out"
    assert main(["check", str(root), "--out", str(out)]) == 0
    (root / "test/class1/000.png").write_bytes((root / "train/class1/005.png").read_bytes())
    assert main(["check", str(root), "--out", str(out), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out.split("check.html\n", 1)[1])
    assert printed == json.loads((out / "check.json").read_text())
    assert [finding["name"] for finding in printed["findings"]] == ["leaked-images"]
    html = (out / "check.html").read_text()
    assert html.count("data:image/jpeg;base64,") == 2
    assert "<script" not in html
    assert "http" not in html
    assert main(["check", str(root), "--out", str(out), "--allow", "leaked-images"]) == 0


def test_what_cannot_be_opened_is_a_finding_and_what_is_not_there_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,label\nabsent.png,a\n")
    assert main(["check", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]) == 1
    report = json.loads((tmp_path / "out/check.json").read_text())
    assert report["findings"][0]["name"] == "not-opened"
    assert "absent.png" in report["findings"][0]["sentence"]
    assert main(["check", str(tmp_path / "nothing"), "--out", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()


def test_a_folder_that_is_not_a_checks_is_left_alone(make_set: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    assert main(["check", str(make_set()), "--out", str(tmp_path / "mine")]) == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_names_to_allow_are_known(make_set: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"there is no finding 'leaked-image' to allow; did you mean 'leaked-images'"):
        check(open_data(make_set()), allow=["leaked-image"])
    assert {"patient-overlap", "leaked-images"} <= set(KINDS)


def test_names_cannot_become_markup(make_set: Callable[..., Path]) -> None:
    root = make_set()
    (root / "train/class0/000.png").rename(root / "train/class0/<img src=x onerror=alert(1)>.png")
    (root / "test/class0/001.png").write_bytes(next((root / "train/class0").glob("<*")).read_bytes())
    html = page(check(open_data(root)))
    assert "<img src=x" not in html
    assert "&lt;img src=x" in html


@pytest.mark.parametrize(
    ("name", "pair"),
    [("busi256", ["benign/benign_433.png", "malignant/malignant_145.png"])],
)
def test_busi_holds_an_equal_pair_with_two_labels_and_many_near_copies(
    data_folder: Path, name: str, pair: list[str]
) -> None:
    found = {finding.name: finding for finding in check(open_data(data_folder / name)).findings}
    assert pair in [list(group) for group in found["label-conflict"].groups]
    copies = {tuple(group) for n in ("label-conflict", "leaked-images", "duplicates") for group in found[n].groups}
    assert len(copies) >= 100


def test_the_copies_between_the_splits_of_medmnist(data_folder: Path) -> None:
    """One test image of BreastMNIST stands in train, eight validation images of PneumoniaMNIST do (pixel-equal)."""
    for file, split, count in (("breastmnist", "test", 1), ("pneumoniamnist_reassembled", "val", 8)):
        data = open_data(data_folder / f"medmnist/{file}.npz")
        train, other = data.split("train"), data.split(split)
        known = {train.read(row).tobytes() for row in range(len(train))}
        equal = {f"{split}/{row}" for row in range(len(other)) if other.read(row).tobytes() in known}
        assert len(equal) == count
        found = {finding.name: finding for finding in check(data).findings}
        across = {name for group in found["leaked-images"].groups for name in group}
        assert equal <= across


@pytest.mark.parametrize("task", [None, "multi-label"])
def test_a_set_of_which_nothing_can_be_read_still_gets_its_report(tmp_path: Path, task: str | None) -> None:
    rows = ["file,label,split"]
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(b"")
        rows.append(f"{i}.png,{'ab'[i % 2]},{('train', 'train', 'val', 'test')[i // 2 % 4]}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    report = check(open_data(tmp_path / "t.csv", task=task))
    unreadable = next(finding for finding in report.findings if finding.name == "unreadable")
    assert len(unreadable.groups) == 20
    assert page(report).count("is empty (0 bytes)") == 20


def test_a_rare_class_does_not_hide_the_shortcuts_to_the_others(make_set: Callable[..., Path]) -> None:
    root = make_set(lambda split, label, i, pixels: phantom(i + 900 * label, size=64 + 8 * label)[0])
    for split in ("train", "val", "test"):
        (root / split / "rare").mkdir()
        Image.fromarray(phantom(99)[0]).save(root / split / "rare" / "x.png")
    found = named(root)
    assert [list(f.details["classes"]) for f in found["shortcut"]] == [["class0", "class1"]]
    assert "shortcuts to rare were not looked for" in found["small-class"][1].sentence


def test_patients_are_compared_over_all_images_and_counted_not_named(tmp_path: Path) -> None:
    rows = ["file,label,split,patient"]
    for i in range(60):
        Image.fromarray(phantom(i)[0]).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{'ab'[i % 2]},{('train', 'train', 'val', 'test')[i // 2 % 4]},DOE^JANE{i // 2}")
    rows[1] = "0.png,a,train,DOE^JANE3"  # who is in test too
    (tmp_path / "0.png").write_bytes(b"damaged")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    report = check(open_data(tmp_path / "t.csv", allow=["patient-overlap"]))
    overlap = next(finding for finding in report.findings if finding.name == "patient-overlap")
    assert overlap.groups == [["0.png", "6.png", "7.png"]]
    assert "DOE" not in page(report) + json.dumps(report.to_dict())


def test_a_wrong_request_is_no_finding_and_leaves_nothing(make_set: Callable[..., Path], tmp_path: Path) -> None:
    root, out = make_set(), tmp_path / "out"
    for options in (["--task", "bogus"], ["--group-column", "nurse"], ["--window", "wide"], ["--allow", "dust"]):
        assert main(["check", str(root), "--out", str(out), *options]) == 2
    for place in ("train/mine", "test", "val/mine"):  # where images are looked for
        assert main(["check", str(root), "--out", str(root / place)]) == 2
    assert not out.exists()
    assert sorted(path.name for path in root.iterdir()) == ["test", "train", "val"]


def test_a_damaged_array_is_a_finding(tmp_path: Path) -> None:
    arrays = {}
    for split, count in (("train", 20), ("val", 8), ("test", 8)):
        arrays |= {f"{split}_images": np.zeros((count, 28, 28), np.uint8), f"{split}_labels": np.full((count, 1), 1)}
    arrays["test_labels"][0] = 9
    arrays["train_labels"][0] = 0
    np.savez(tmp_path / "mine.npz", **arrays)
    assert main(["check", str(tmp_path / "mine.npz"), "--out", str(tmp_path / "out")]) == 1
    report = json.loads((tmp_path / "out/check.json").read_text())
    assert "has a label 9 in test" in report["findings"][0]["sentence"]


def test_images_are_read_as_training_will_read_them(make_set: Callable[..., Path], tmp_path: Path) -> None:
    root = make_set()
    arguments = ["check", str(root), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--max-pixels", "4000"]) == 1
    assert main([*arguments, "--max-pixels", "4096"]) == 0
