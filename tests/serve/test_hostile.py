"""Requests that nobody sends by mistake, byte by byte, against the service as a process that may write no file.

`benchmarks/hostile_service.py` does the same with thousands of made requests, and writes the table.
"""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))  # while tests are collected: each case is one
hostile = importlib.import_module("hostile_service")
process = importlib.import_module("service_process")
sys.path.pop(0)

QUICK = [case for case in hostile.CASES if not case.slow]


@pytest.fixture(scope="module")
def running(run):
    with process.service(run) as service:
        service.forbid_writing()
        yield service


@pytest.mark.parametrize("case", QUICK, ids=[case.name.replace(" ", "-") for case in QUICK])
def test_hostile(running, case):
    assert hostile.trial(running, case)["faults"] == []


def test_f063_a_bomb_is_refused_before_it_is_decoded_and_the_next_picture_is_answered(running):
    """Decoded, it would take 50 MB as bits and 400 MB as bytes."""
    [bomb] = [case for case in QUICK if case.name == "PNG bomb"]
    row = hostile.trial(running, bomb)
    assert row["status"] == 413
    assert row["megabytes_grown"] < 10
    assert row["ok"]  # the next picture is part of it


def test_a_fault_is_seen(running):
    """The checks can fail: a good picture where a refusal is asked for, and a body that grows the memory."""
    case = hostile.Case("good", "a good picture", process.post(hostile.PREDICT, hostile.good(), "image/png"), (413,))
    row = hostile.trial(running, case)
    assert not row["ok"]
    assert row["faults"] == ["the status is 200, not one of (413,)"]
    reply = process.Reply(400, {"content-type": "application/json"}, b'{"detail": "Traceback"}')
    assert len(hostile.faults_of(case, reply)) == 3


def test_idle_connections_keep_nobody_out(running):
    assert hostile.idle_crowd(running)["faults"] == []


def test_what_schemathesis_makes_of_the_description_gives_no_500(running):
    found = hostile.described(running, 200, seed=1)
    assert found["failures"] == []
    assert found["ok"]
    assert found["requests"] >= 150
    assert "200" in found["statuses"]


def test_damaged_files_give_no_500(running):
    found = hostile.damaged(running, 300, seed=1)
    assert found["failures"] == []
    assert set(found["statuses"]) <= {"200", "413", "422"}


@pytest.mark.slow
def test_slow_senders_are_closed(running):
    slow = tuple(case for case in hostile.CASES if case.slow)
    assert slow
    assert [row for row in hostile.trials(running, slow) if not row["ok"]] == []


@pytest.mark.slow
def test_uploads_that_stop_keep_nobody_out_for_long(running):
    assert hostile.half_sent_crowd(running)["faults"] == []
