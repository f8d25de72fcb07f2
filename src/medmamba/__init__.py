"""Train, check, explain, export and serve medical image classifiers, built on MedMamba (Yue & Li, arXiv 2403.03849).

Importing this package builds nothing, touches no device and does not import torch: its names are loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medmamba import ops as ops
    from medmamba.calibration import calibrate as calibrate
    from medmamba.data import open_data as open_data
    from medmamba.ensembling import ensemble as ensemble
    from medmamba.evaluation import compare as compare
    from medmamba.evaluation import evaluate as evaluate
    from medmamba.explain import check_heat_maps as check_heat_maps
    from medmamba.explain import heat_maps as heat_maps
    from medmamba.models import create_model as create_model
    from medmamba.models import load_published as load_published
    from medmamba.predictor import load as load
    from medmamba.report import write_report as write_report
    from medmamba.training import fit as fit
    from medmamba.training import pretrain as pretrain

__version__ = "0.1.0"

_HOMES = {
    "calibrate": "medmamba.calibration",
    "check_heat_maps": "medmamba.explain",
    "compare": "medmamba.evaluation",
    "create_model": "medmamba.models",
    "ensemble": "medmamba.ensembling",
    "evaluate": "medmamba.evaluation",
    "fit": "medmamba.training",
    "heat_maps": "medmamba.explain",
    "load": "medmamba.predictor",
    "load_published": "medmamba.models",
    "open_data": "medmamba.data",
    "pretrain": "medmamba.training",
    "write_report": "medmamba.report",
}
__all__ = ["__version__", "ops", *_HOMES]


def __getattr__(name: str) -> object:
    if name == "ops":
        return import_module("medmamba.ops")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'medmamba' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
