"""Training: recipes, the loop, and what makes a run survive and repeat.

`TrainConfig` is light; Lightning is loaded with the first use of `fit`.
"""

from typing import TYPE_CHECKING

from medmamba.training.config import TrainConfig, TrainingError

if TYPE_CHECKING:
    from medmamba.training.pretraining import pretrain as pretrain
    from medmamba.training.resuming import resume as resume
    from medmamba.training.run import fit as fit

__all__ = ["TrainConfig", "TrainingError", "fit", "pretrain", "resume"]


def __getattr__(name: str) -> object:
    if name == "fit":
        from medmamba.training import run

        return run.fit
    if name == "resume":
        from medmamba.training import resuming

        return resuming.resume
    if name == "pretrain":
        from medmamba.training import pretraining

        return pretraining.pretrain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
