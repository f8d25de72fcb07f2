"""Files that are replaced together, whenever the writer dies."""

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest
import torch

from medmamba.bundle import Bundle, load_bundle, load_model
from medmamba.data.preprocessing import Preprocessing
from medmamba.errors import FailedError, InputError
from medmamba.manifest import find_file, named_files, undisturbed, write_together
from medmamba.tasks import Task
from medmamba.writing import check_place, new_folder, write_atomically

NAMES = ("a.bin", "b.bin")
STEPS = ("fsync", "replace", "unlink")  # of the system, before each of which a writer may die
SMALL = Bundle(
    "medmamba_nano",
    Task.BINARY,
    ("no", "yes"),
    Preprocessing(32, 32),
    model_args={"depths": [1, 1], "widths": [8, 16]},
)


def write(folder: Path, number: int) -> None:
    new = {name: f"{name} {number}".encode() * 1000 for name in NAMES}
    write_together(folder, "about.json", {"number": number}, new, known=NAMES)


def read(folder: Path) -> int:
    """The number of a writing, after a look whether all of it is of one."""
    number = json.loads((folder / "about.json").read_text())["number"]
    for name, digest in named_files(folder / "about.json").items():
        assert find_file(folder, name, digest).read_bytes() == f"{name} {number}".encode() * 1000
    assert set(named_files(folder / "about.json")) == set(NAMES)
    return number


def die_at(step: int, work, *arguments) -> bool:
    """Do something in a process that is gone, as if killed, before its `step`th call of the system; whether it was."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = [step]

    def dying(call):
        def called(*given, **named):
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1
            return call(*given, **named)

        return called

    try:
        for name in STEPS:
            setattr(os, name, dying(getattr(os, name)))
        work(*arguments)
    finally:
        os._exit(0)


def test_a_writer_that_dies_leaves_all_of_before_or_all_of_after(tmp_path: Path) -> None:
    write(tmp_path, 0)
    seen, number = [], 0
    for step in range(100):
        died = die_at(step, write, tmp_path, number + 1)
        seen.append(read(tmp_path) - number)
        number = read(tmp_path)  # the next writing meets what this one left
        if not died:
            break
    assert not died
    assert set(seen) == {0, 1}
    assert len(seen) > 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "about.json", "b.bin"]


def test_a_first_writing_that_dies_leaves_no_description_or_all(tmp_path: Path) -> None:
    for step in range(100):
        folder = tmp_path / str(step)
        folder.mkdir()
        died = die_at(step, write, folder, 1)
        if (folder / "about.json").exists():
            assert read(folder) == 1
        write(folder, 2)
        assert read(folder) == 2
        assert len(list(folder.iterdir())) == 3
        if not died:
            return
    raise AssertionError("it never ended")


def test_a_bundle_is_of_one_writing_whenever_its_writer_dies(tmp_path: Path) -> None:
    torch.manual_seed(0)
    states = [SMALL.build_model().state_dict() for _ in range(2)]
    outcomes = []
    for step in range(100):
        folder = tmp_path / str(step)
        SMALL.save(folder, states[0])
        after = Bundle(**{**vars(SMALL), "classes": ("one", "other"), "files": {}})
        died = die_at(step, after.save, folder, states[1])
        bundle, weights = load_bundle(folder), load_model(folder).state_dict()
        new = bundle.classes == after.classes
        assert all(torch.equal(weights[name], tensor) for name, tensor in states[new].items())
        outcomes.append(new)
        if not died:
            break
    assert not died
    assert outcomes == sorted(outcomes)
    assert outcomes[-1]


def test_readers_find_one_writing_while_others_follow(tmp_path: Path) -> None:
    write(tmp_path, 0)
    stop = threading.Event()

    def writer() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            write(tmp_path, number)

    def one() -> int:
        named = named_files(tmp_path / "about.json")
        number = json.loads((tmp_path / "about.json").read_text())["number"]
        try:
            contents = [find_file(tmp_path, name, digest).read_bytes() for name, digest in named.items()]
        except FileNotFoundError:  # renamed between the two
            raise InputError("gone") from None
        if contents != [f"{name} {number}".encode() * 1000 for name in NAMES]:
            raise InputError("of two writings")
        return number

    thread = threading.Thread(target=writer)
    thread.start()
    seen: list[int] = []
    refused: list[str] = []
    try:
        for _ in range(30):
            try:
                seen.append(undisturbed(tmp_path, ("about.json", *NAMES), one))
            except InputError as reason:
                refused.append(str(reason))
    finally:
        stop.set()
        thread.join()
    assert seen == sorted(seen)
    assert all("written anew all the time" in sentence for sentence in refused)  # never a mixture, never damaged
    assert len(seen) > len(refused)


def test_files_that_nobody_names_go_and_others_stay(tmp_path: Path) -> None:
    write(tmp_path, 0)
    for name in ("a.bin.new", ".a.bin.x7", ".about.json.q", "mine.txt", ".resume.ckpt.1"):
        (tmp_path / name).write_bytes(b"left")
    write_together(tmp_path, "about.json", {"number": 0}, {}, kept=("a.bin",), known=NAMES)
    assert {path.name for path in tmp_path.iterdir()} == {"a.bin", "about.json", "mine.txt", ".resume.ckpt.1"}
    assert set(named_files(tmp_path / "about.json")) == {"a.bin"}


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 0)
    left, sync = [3], os.fsync

    def full(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FailedError, match="the disk is full; make room and do it again"):
        write(tmp_path, 1)
    assert read(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 3


def test_a_description_of_other_weights_is_not_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    SMALL.save(tmp_path, SMALL.build_model().state_dict())
    before = load_bundle(tmp_path)
    SMALL.save(tmp_path, SMALL.build_model().state_dict())
    with pytest.raises(FailedError, match=r"has been given another weights\.safetensors meanwhile"):
        before.save_description(tmp_path)
    load_model(tmp_path)


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "deep" / "out") as folder:
            (folder / "x").write_bytes(b"1")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert list((tmp_path / "deep").iterdir()) == []
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        (folder / "x").write_bytes(b"1")
        assert list((tmp_path / "out").iterdir()) == []
    assert (tmp_path / "out" / "x").read_bytes() == b"1"
    assert (tmp_path / "out").stat().st_mode & 0o755 == 0o755
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="nothing can be written to"), new_folder(tmp_path / "file" / "out"):
        raise AssertionError("the block must not begin")


def test_a_place_that_cannot_be_written_to_is_named_before_the_work(tmp_path: Path) -> None:
    check_place(tmp_path / "x.json")
    with pytest.raises(InputError, match="is a folder; name a file"):
        check_place(tmp_path)
    with pytest.raises(InputError, match=r"there is no folder .*absent"):
        check_place(tmp_path / "absent" / "x.json")


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    """A device, which root could replace; a pipe; a link, of which not what it leads to would be replaced."""
    (tmp_path / "real.csv").write_bytes(b"old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    with pytest.raises(InputError, match=r"link\.csv is a link to real\.csv; name the file itself"):
        check_place(tmp_path / "link.csv")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe is a device or a pipe; name a file"):
        check_place(tmp_path / "pipe")
    with pytest.raises(FailedError, match="there is a folder, a device or a pipe; name another place"):
        write_atomically(tmp_path / "pipe", b"new")
    assert (tmp_path / "pipe").is_fifo()
    assert {path.name for path in tmp_path.iterdir()} == {"real.csv", "link.csv", "pipe"}


def test_digests_are_those_of_the_bytes(tmp_path: Path) -> None:
    write(tmp_path, 7)
    assert named_files(tmp_path / "about.json") == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in NAMES
    }
