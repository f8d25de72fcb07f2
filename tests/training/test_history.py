import csv
from dataclasses import replace
from pathlib import Path

from PIL import Image

from medmamba.training.history import Epoch, best_of, is_over, plot_curves, read_history, write_history

FIRST = Epoch(epoch=1, lr=1e-3, images=10, train_loss=0.7, val_loss=0.6, val_auc=0.8)


def epochs(*auc_and_loss: tuple[float | None, float]) -> list[Epoch]:
    return [
        replace(FIRST, epoch=number, val_auc=auc, val_loss=loss)
        for number, (auc, loss) in enumerate(auc_and_loss, start=1)
    ]


def test_the_best_epoch_has_the_highest_auc() -> None:
    assert best_of(epochs((0.7, 0.1), (0.9, 0.5), (0.8, 0.2))).epoch == 2  # type: ignore[union-attr]


def test_among_equal_aucs_the_lower_loss_wins_and_then_the_earlier_epoch() -> None:
    assert best_of(epochs((0.9, 0.5), (0.9, 0.4), (0.9, 0.4))).epoch == 2  # type: ignore[union-attr]


def test_without_an_auc_the_loss_decides() -> None:
    assert best_of(epochs((None, 0.5), (None, 0.3), (None, 0.4))).epoch == 2  # type: ignore[union-attr]
    assert best_of([]) is None


def test_a_settled_epoch_comes_before_any_other() -> None:
    run = epochs((0.9, 0.1), (0.8, 0.2), (0.7, 0.3))
    assert best_of([run[0], run[1]]).epoch == 1  # type: ignore[union-attr]
    early = [replace(run[0], settled=False), run[1], run[2]]
    assert best_of(early).epoch == 2  # type: ignore[union-attr]
    assert best_of(early[:1]).epoch == 1  # type: ignore[union-attr]


def test_a_history_without_the_column_is_of_settled_epochs(tmp_path: Path) -> None:
    early = [replace(FIRST, settled=False), replace(FIRST, epoch=2)]
    write_history(tmp_path / "history.csv", early)
    assert read_history(tmp_path / "history.csv") == early
    lines = (tmp_path / "history.csv").read_text().splitlines()
    (tmp_path / "history.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    assert [epoch.settled for epoch in read_history(tmp_path / "history.csv")] == [True, True]


def test_a_run_is_over_after_its_epochs_or_its_patience() -> None:
    run = epochs((0.9, 0.5), (0.8, 0.5), (0.8, 0.5))
    assert not is_over(run, 4, None)
    assert is_over(run, 3, None)
    assert is_over(run, 9, 2)
    assert not is_over(run, 9, 3)
    assert not is_over([], 9, 2)


def test_the_table_has_a_row_an_epoch_and_an_empty_field_for_no_auc(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", epochs((0.7, 0.1), (None, 0.2)))
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["val_auc"] for row in rows] == ["0.7", ""]


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    written = epochs((0.7, 0.1), (None, 0.2))
    write_history(tmp_path / "history.csv", written)
    assert read_history(tmp_path / "history.csv") == written
    assert read_history(tmp_path / "absent.csv") == []


def test_curves_are_drawn_with_and_without_an_auc(tmp_path: Path) -> None:
    for name, run in {"a.png": epochs((0.7, 0.1), (0.9, 0.2)), "b.png": epochs((None, 0.1))}.items():
        plot_curves(tmp_path / name, run)
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 500
