from pathlib import Path

import pytest
import torch

from medmamba.errors import InputError
from medmamba.training.checkpoint import RESUME, check_same, load_checkpoint, save_checkpoint


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"net": {"w": torch.tensor([0.1])}, "history": [{"epoch": 1}], "average": None})
    state = load_checkpoint(tmp_path)
    assert torch.equal(state["net"]["w"], torch.tensor([0.1]))
    assert state["history"] == [{"epoch": 1}]


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 99}, tmp_path / RESUME)
    with pytest.raises(InputError, match="another version"):
        load_checkpoint(tmp_path)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (open, ("marker", "w"))


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "holds no resume.ckpt"), (b"", "damaged"), (b"PK\x03\x04 cut", "damaged"), (b"text", "damaged")],
)
def test_no_checkpoint_or_a_damaged_one_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / RESUME).write_bytes(content)
    with pytest.raises(InputError, match=words):
        load_checkpoint(tmp_path)


def test_no_code_in_a_checkpoint_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "x": Evil()}, tmp_path / RESUME)
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "marker").exists()


def test_every_difference_is_named(tmp_path: Path) -> None:
    before = {"seed": 0, "size": [64, 64], "recipe": {"lr": 0.1, "ema": None}}
    check_same(tmp_path, before, {"seed": 0, "size": (64, 64), "recipe": {"lr": 0.1, "ema": None}})
    with pytest.raises(InputError, match=r"recipe.lr was 0.1 and is 0.2; seed was 0 and is 1"):
        check_same(tmp_path, before, {"seed": 1, "size": (64, 64), "recipe": {"lr": 0.2, "ema": None}})
