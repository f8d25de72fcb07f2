"""Work on several threads: all of it is done, once, whoever comes; errors arrive; and which threads do it."""

import subprocess
import sys
import threading

import pytest
import torch

from medmamba.ops import cpu_threads


@pytest.fixture(params=["openmp", "pool"])
def threads(request, monkeypatch):
    if request.param == "pool":
        monkeypatch.setattr(cpu_threads, "_openmp", lambda: None)
    elif cpu_threads._openmp() is None:
        pytest.skip("torch has no GNU OpenMP here")


def test_all_is_done_once(threads):
    done, rest = [], iter(range(1000))
    cpu_threads.run(lambda: done.extend(rest), 3)
    assert sorted(done) == list(range(1000))


def test_several_threads_come(threads):
    barrier = threading.Barrier(2, timeout=60)  # one thread alone would wait in vain
    cpu_threads.run(barrier.wait, 2)


def test_an_error_in_any_thread_is_raised_when_all_have_ended(threads):
    rest, ended = iter(range(2)), []

    def work():
        number = next(rest)
        if number == 1:
            raise MemoryError("no room")
        ended.append(number)

    with pytest.raises(MemoryError, match="no room"):
        cpu_threads.run(work, 2)
    assert ended == [0]
    cpu_threads.run(lambda: ended.append(7), 1)
    assert ended == [0, 7]


def test_the_threads_are_those_of_torch_on_linux():
    if sys.platform != "linux" or "ATen parallel backend: OpenMP" not in torch.__config__.parallel_info():
        pytest.skip("torch does not use OpenMP here")
    assert cpu_threads._openmp() is not None


def test_fewer_threads_than_asked_for_do_all_the_work():
    command = """
import torch
from medmamba.ops import cpu_threads
done, rest = [], iter(range(100))
cpu_threads.run(lambda: done.extend(rest), 4)
assert sorted(done) == list(range(100))
"""
    environment = {"OMP_THREAD_LIMIT": "1", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_child_that_is_forked_before_the_first_scan_can_scan():
    """OpenMP's threads are those of the process that imported the package, also where the child loads the kernels."""
    command = """
import os, sys, torch
import medmamba.ops
a = torch.randn(500, 500); a @ a  # torch's threads are there
child = os.fork()
if child == 0:
    from medmamba.ops import cpu_threads
    done, rest = [], iter(range(100))
    cpu_threads.run(lambda: done.extend(rest), 2)
    os._exit(0 if sorted(done) == list(range(100)) else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", command], timeout=60).returncode == 0
