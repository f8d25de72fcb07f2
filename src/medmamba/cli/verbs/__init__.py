"""The verbs: one frozen dataclass each, whose fields are its options and whose `run` gives the exit code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medmamba.cli.verbs.answer import Compare, Evaluate, Predict
from medmamba.cli.verbs.carry import Export, Import
from medmamba.cli.verbs.data import Check, Prepare, Split
from medmamba.cli.verbs.embed import Embed
from medmamba.cli.verbs.ensemble import Ensemble
from medmamba.cli.verbs.explain import Explain
from medmamba.cli.verbs.learn import Calibrate, Demo, Pretrain, Train
from medmamba.cli.verbs.report import Report
from medmamba.cli.verbs.reproduce import Reproduce
from medmamba.cli.verbs.serve import Serve
from medmamba.cli.verbs.stress import Robustness
from medmamba.cli.verbs.tell import Benchmark, Info
from medmamba.cli.verbs.verify import Verify

VERBS: dict[str, Callable[..., Any]] = {
    "demo": Demo,
    "prepare": Prepare,
    "check": Check,
    "train": Train,
    "pretrain": Pretrain,
    "ensemble": Ensemble,
    "calibrate": Calibrate,
    "evaluate": Evaluate,
    "compare": Compare,
    "predict": Predict,
    "explain": Explain,
    "serve": Serve,
    "embed": Embed,
    "robustness": Robustness,
    "report": Report,
    "reproduce": Reproduce,
    "split": Split,
    "export": Export,
    "import": Import,
    "verify": Verify,
    "benchmark": Benchmark,
    "info": Info,
}
