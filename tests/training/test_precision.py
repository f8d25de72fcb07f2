import pytest
import torch

from medmamba.errors import InputError
from medmamba.training.config import TrainConfig
from medmamba.training.precision import check_processes, choose_precision, describe_device

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: request.param)


@pytest.mark.parametrize("bfloat16", [True], indirect=True)
@pytest.mark.usefixtures("bfloat16")
def test_auto_is_bfloat16_where_the_gpu_has_it() -> None:
    assert choose_precision("auto", CUDA) == "bf16-mixed"
    assert choose_precision("auto", CPU) == "32-true"
    assert choose_precision("auto", MPS) == "32-true"


@pytest.mark.parametrize("bfloat16", [False], indirect=True)
@pytest.mark.usefixtures("bfloat16")
def test_an_old_gpu_trains_in_float32_and_refuses_bfloat16() -> None:
    assert choose_precision("auto", CUDA) == "32-true"
    assert choose_precision("16-mixed", CUDA) == "16-mixed"
    with pytest.raises(InputError, match="computes in bfloat16"):
        choose_precision("bf16-mixed", CUDA)


@pytest.mark.parametrize(("name", "device"), [("16-mixed", CPU), ("16-mixed", MPS), ("bf16-mixed", MPS), ("64", MPS)])
def test_what_a_device_cannot_do_is_refused(name: str, device: torch.device) -> None:
    with pytest.raises(InputError, match=name):
        choose_precision(name, device)


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
