"""The simulations of `benchmarks/statistics_check.py` at a smaller size, and what its results file says."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from medmamba.tasks import Task

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("statistics_check", ROOT / "benchmarks" / "statistics_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_delong_is_that_of_the_independent_implementation(check):
    assert max(check.against_stored().values()) < 1e-8


def test_delong_and_bootstrap_variances_agree_within_a_tenth(check):
    found = check.delong_variance(20)
    assert found["by_bootstrap"] == pytest.approx(1, abs=0.1)


def test_conformal_coverage_is_within_its_theory(check):
    for row in check.conformal(1000):
        assert row["promised"] - 0.005 <= row["mean"] <= row["promised"] + 1 / (row["n"] + 1) + 0.005
        assert 0.93 <= row["within_range"] <= 0.97


def test_ece_of_a_calibrated_model(check):
    found = check.ece_of_calibrated(100_000)
    assert max(found["two classes"], found["five classes"]) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "design", "n", "per_patient"),
    [
        (Task.BINARY, "binary", 156, 1),
        (Task.BINARY, "patients", 240, 3),
        (Task.ORDINAL, "ordinal", 400, 1),
        (Task.MULTILABEL, "labels", 300, 1),
    ],
)
def test_intervals_hold_the_truth(check, task, design, n, per_patient):
    """300 sets, whose share wavers by 2.5 points (two standard errors) around the 95 % that are promised."""
    found = check.of_summaries(task, getattr(check, design), n, 300, 400, 200_000, per_patient=per_patient)
    assert 0.93 <= np.mean([row["coverage"] for row in found.values()]) <= 0.97
    for name, row in found.items():
        assert 0.90 <= row["coverage"] <= 0.99, name


@pytest.mark.slow
def test_intervals_of_the_calibration_error_hold_the_truth(check):
    for row in check.coverage_of_ece(200, 200_000):  # their share wavers by 3 points around the 95 % that are promised
        assert row["coverage"] >= 0.92, row


@pytest.mark.slow
def test_intervals_of_differences_hold_the_truth(check):
    found = check.of_comparisons(check.pair(1.5, 2.2), 156, 300, 400, 200_000)
    for name, row in found.items():
        assert 0.90 <= row["coverage"] <= 0.99, name
    rejected = check.rejected(600)
    assert max(rejected.values()) <= 0.075


def test_the_results_file_keeps_the_promises(check):
    results = json.loads(check.RESULTS.read_text())
    assert results["commit"]
    assert not results["changed"]
    low, high = results["wanted"]
    for method, row in results["coverage_by_method"].items():
        assert low <= row["mean"] <= high, method
    assert results["outside"] == {}, "figures whose intervals hold the truth less or more often than wanted"
    for row in results["coverage_of_ece"]:
        assert row["without_interval"] == 0
        if row["probabilities"] == "calibrated":  # at the border: too often, as the documents tell
            assert low <= row["coverage"], row
        else:
            assert low <= row["coverage"] <= high, row
    assert results["delong_variance"]["by_bootstrap"] == pytest.approx(1, abs=0.1)
    assert max(results["delong_against_independent"].values()) < 1e-8
    assert max(results["ece_of_calibrated"]["two classes"], results["ece_of_calibrated"]["five classes"]) < 0.02
    for row in results["conformal"]:
        assert row["mean"] >= row["promised"] - 0.005
        assert low <= row["within_range"] <= high


def test_the_documents_say_what_was_found(check):
    results = json.loads(check.RESULTS.read_text())
    page = " ".join((ROOT / "docs" / "reference" / "metrics.md").read_text().split())

    def span(low, high, decimals=1):
        return f"{100 * low:.{decimals}f} to {100 * high:.{decimals}f}"

    rows = results["coverage_by_method"]
    formulas, pairs = [rows["Wilson"], rows["DeLong"]], [row for name, row in rows.items() if name.startswith("paired")]
    for several in (formulas, [rows["bootstrap"]], [rows["bootstrap of patients"]], pairs):
        assert span(min(row["low"] for row in several), max(row["high"] for row in several)) in page
    of_ece = [row["coverage"] for row in results["coverage_of_ece"]]
    assert f"{span(min(of_ece), max(of_ece), 0)} % of the time" in page
    calibrated = [row for row in results["coverage_of_ece"] if row["probabilities"] == "calibrated"]
    for several in (calibrated, [row for row in results["coverage_of_ece"] if row not in calibrated]):
        assert f"{span(min(row['coverage'] for row in several), max(row['coverage'] for row in several))} %" in page
    first, second, third = (f"{row['width']:.2f}" for row in calibrated)
    assert f"from 0 to {first} with 156 images, to {second} with 400 and to {third} with 2,000" in page
