import logging
from pathlib import Path

import pytest

from medmamba.errors import InputError
from medmamba.training.folder import check_free, run_log

package = logging.getLogger("medmamba.somewhere")


def test_a_new_or_empty_folder_is_free(tmp_path: Path) -> None:
    check_free(tmp_path)
    check_free(tmp_path / "deep" / "new")


def test_a_folder_with_something_in_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        check_free(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        check_free(tmp_path / "thesis.txt")


def test_what_was_logged_before_the_folder_was_made_stands_in_the_log_too(tmp_path: Path) -> None:
    with run_log() as log:
        package.info("before")
        log.write_to(tmp_path / "run")
        package.info("after")
        text = (tmp_path / "run" / "log.txt").read_text()  # each line at once: the run may die
    assert [line.rpartition(" ")[2] for line in text.splitlines()] == ["before", "after"]
    package.warning("outside")
    assert "outside" not in (tmp_path / "run" / "log.txt").read_text()


def test_without_a_folder_nothing_is_written_and_nothing_is_left_over(tmp_path: Path) -> None:
    root = logging.getLogger("medmamba")
    before = (root.level, list(root.handlers))
    with run_log():
        package.info("lost")
    assert (root.level, list(root.handlers)) == before
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with run_log() as log, pytest.raises(InputError, match="nothing can be written"):
        log.write_to(tmp_path / "file" / "run")
