"""A few of the damaged files of `benchmarks/fuzz_reader.py`, and what its last whole run found."""

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    path = BENCHMARKS / "fuzz_reader.py"
    if not path.is_file():
        pytest.skip("the benchmarks are not shipped with the package")
    spec = importlib.util.spec_from_file_location("fuzz_reader", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_reader"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


def test_damaged_files_are_read_or_refused(fuzz: ModuleType, tmp_path: Path) -> None:
    good = fuzz.good_files(None)
    assert {name.split("/")[0] for name in good} == {"PNG", "JPEG", "TIFF", "DICOM", "GIF", "BMP", "WebP", "npy"}
    kinds: Counter[str] = Counter()
    for number in range(2000):
        _, content, reading = fuzz.mutated(good, 99, number)
        assert fuzz.mutated(good, 99, number)[1] == content
        (tmp_path / "x").write_bytes(content)
        kinds[fuzz.outcome_of(tmp_path / "x", reading)] += 1
    assert set(kinds) == set(fuzz.FINE), kinds
    assert kinds["read"] > 200


def test_the_whole_run_found_nothing(fuzz: ModuleType) -> None:
    found = json.loads(fuzz.RESULTS.read_text())
    assert found["files"] == sum(found["counts"].values()) == 100_000
    assert set(found["counts"]) == set(fuzz.FINE)
    assert found["others"] == {}
    assert found["slowest"]["seconds"] < fuzz.SECONDS
    assert not found["changed"]
