from pathlib import Path

import torch

from medmamba.bundle import Bundle
from medmamba.data import Preprocessing
from medmamba.tasks import Task

SMALL = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64)}


def save(folder: Path, task: Task = Task.BINARY, size: tuple[int, int] = (64, 64), fit: str = "squash") -> Path:
    classes = ("benign", "malignant") if task is Task.BINARY else ("mass", "nodule", "edema")
    preprocessing = Preprocessing(*size, channels=1, fit=fit)
    bundle = Bundle("medmamba_nano", task, classes, preprocessing, model_args=SMALL)
    torch.manual_seed(0)
    model = bundle.build_model()
    torch.nn.init.normal_(model.get_classifier().weight, std=0.5)  # type: ignore[operator]
    bundle.save(folder, model.state_dict())
    return folder
