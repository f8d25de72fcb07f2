import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from medmamba.errors import InputError
from medmamba.training.config import TrainConfig
from medmamba.training.plan import Request, make_plan


def test_the_command_line_can_build_on_the_options_without_torch() -> None:
    code = "import sys, medmamba.training.config; print([m for m in ('torch', 'lightning') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_option_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match="'batchsize'; did you mean 'batch_size'"):
        TrainConfig().with_options({"batchsize": 3})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": -1}, "seed -1"),
        ({"workers": -1}, "workers -1"),
        ({"devices": 0}, "devices 0"),
        ({"image_size": (32,)}, "height and width"),
        ({"precision": "bf16_mixed"}, "did you mean 'bf16-mixed'"),
        ({"precision": 3}, "precision 3 is unknown"),
        ({"image_size": 32}, "image size 32 is not two numbers"),
        ({"channels": True}, "channels True is not possible"),
        ({"model_args": None}, "model_args None are no arguments"),
        *(
            ({name: value}, f"{name} {value} is not possible; expected a whole number")
            for name in ("seed", "workers", "save_seconds", "devices", "nodes", "accumulate")
            for value in (True, math.nan, math.inf, 1.5, 10**20)
        ),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        TrainConfig().with_options(options)


@pytest.mark.parametrize("name", ["lr", "epochs", "batch_size"])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, True, -1, "x", 10**400], ids=repr)
def test_an_option_of_the_recipe_that_is_no_finite_number_makes_no_plan(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^{name} .* is not possible; expected a (whole )?number from"):
        make_plan(Request(None, None, None, None, TrainConfig(**{name: value})))


def test_a_run_of_before_there_was_a_detail_can_be_resumed_and_one_with_another_cannot() -> None:
    plain, shrunk = (make_plan(Request(None, None, None, None, TrainConfig(detail=each))) for each in (None, 28))
    assert "detail" not in plain.identity("x", ("a", "b"))
    assert shrunk.identity("x", ("a", "b"))["detail"] == 28


def test_numbers_of_numpy_are_numbers_and_sides_are_whole() -> None:
    for seed in np.arange(2):
        config = TrainConfig(seed=seed, image_size=(np.int64(64), np.int32(32)))
        assert json.loads(json.dumps([config.seed, *config.image_size])) == [seed, 64, 32]
    for size in (("a", "b"), (64.5, 64), (0, 64), (True, 64)):
        with pytest.raises(InputError, match=r"image size .* expected a whole number from 1 to 1,048,576"):
            TrainConfig(image_size=size)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected a whole number from 0 to 18,446,744,073,709,551,615"):
        TrainConfig(seed=-1)
