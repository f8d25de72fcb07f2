from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from medmamba.bundle import load_bundle, read_weights
from medmamba.errors import InputError
from medmamba.training.config import TrainConfig
from medmamba.training.precision import check_processes, choose_precision, describe_device

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: request.param)


@pytest.mark.parametrize("bfloat16", [True], indirect=True)
@pytest.mark.usefixtures("bfloat16")
def test_f011_auto_is_bfloat16_where_the_gpu_has_it() -> None:
    assert choose_precision("auto", CUDA) == "bf16-mixed"
    assert choose_precision("auto", CPU) == "32-true"
    assert choose_precision("auto", MPS) == "32-true"


@pytest.mark.parametrize("bfloat16", [False], indirect=True)
@pytest.mark.usefixtures("bfloat16")
def test_f011_an_old_gpu_trains_in_float32_and_refuses_bfloat16() -> None:
    assert choose_precision("auto", CUDA) == "32-true"
    assert choose_precision("16-mixed", CUDA) == "16-mixed"
    with pytest.raises(InputError, match="computes in bfloat16"):
        choose_precision("bf16-mixed", CUDA)


@pytest.mark.parametrize(("name", "device"), [("16-mixed", CPU), ("16-mixed", MPS), ("bf16-mixed", MPS), ("64", MPS)])
def test_f011_what_a_device_cannot_do_is_refused(name: str, device: torch.device) -> None:
    with pytest.raises(InputError, match=name):
        choose_precision(name, device)


def test_f011_the_card_that_is_asked_is_the_one_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cards in one machine, of which the second lacks bfloat16."""
    current = [0]

    @contextmanager
    def switch(device: torch.device) -> Iterator[None]:
        current[0] = device.index or 0
        yield
        current[0] = 0

    monkeypatch.setattr(torch.cuda, "device", switch)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: current[0] == 0)
    first, second = (torch.device("cuda", index) for index in range(2))
    assert [choose_precision("auto", device) for device in (first, second)] == ["bf16-mixed", "32-true"]
    with pytest.raises(InputError, match="choose auto, 32 or 16-mixed"):
        choose_precision("bf16-mixed", second)


@pytest.mark.parametrize("precision", ["auto", "bf16-mixed"])
def test_f011_on_the_cpu_a_run_in_either_ends_well_and_says_its_precision(
    short_fit: Callable[..., Path], precision: str
) -> None:
    """`auto` is float32 there; bfloat16 works when asked for, and weights stay float32."""
    run = short_fit(model="medmamba_nano", precision=precision)
    said = "32-true" if precision == "auto" else "bf16-mixed"
    provenance = load_bundle(run).provenance
    assert (provenance["ended"], provenance["precision"]) == ("finished", said)
    assert f"precision {said}" in (run / "log.txt").read_text()
    weights = [tensor for tensor in read_weights(run).values() if tensor.is_floating_point()]
    assert all(tensor.dtype == torch.float32 and torch.isfinite(tensor).all() for tensor in weights)


def test_f011_bf16_alone_is_no_precision_and_the_message_says_what_is() -> None:
    with pytest.raises(InputError, match=r"precision 'bf16' is unknown.*bf16-mixed"):
        TrainConfig(precision="bf16")


def test_explicit_precisions_have_lightnings_names() -> None:
    assert [choose_precision(name, CPU) for name in ("32", "64", "bf16-mixed")] == ["32-true", "64-true", "bf16-mixed"]


@pytest.mark.parametrize(
    ("options", "device", "words"),
    [
        ({"devices": 2}, MPS, "one process"),
        ({"devices": 2, "device": "cuda:1"}, torch.device("cuda:1"), "single one"),
        ({"devices": 4096}, CUDA, "4096 devices"),
        ({"devices": 3, "nodes": 2}, CPU, "give 12 or more"),
    ],
)
def test_processes_that_cannot_be_are_refused(options: dict[str, object], device: torch.device, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_processes(TrainConfig().with_options(options), device, 11)


def test_a_device_is_named_by_its_kind() -> None:
    assert describe_device(CPU) == "cpu"
