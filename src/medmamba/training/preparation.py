"""From a plan and the data to a network and batches, ready to train."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from lightning import Trainer
from torch import nn

from medmamba.bundle import Bundle
from medmamba.data.dataset import Dataset, ImageSet
from medmamba.data.preprocessing import Preprocessing
from medmamba.device import settle
from medmamba.errors import InputError
from medmamba.training.batchnorm import synchronise
from medmamba.training.config import TrainConfig
from medmamba.training.loader import Batch, EpochBatches, FixedBatches, Images, make_loader
from medmamba.training.module import Trainee
from medmamba.training.plan import Plan
from medmamba.training.seeds import WEIGHTS, seed_for, seeded


def describe_model(data: Dataset, config: TrainConfig) -> Bundle:
    """The bundle that a run makes, but for its provenance."""
    height, width = config.image_size
    return Bundle(
        model=config.model,
        model_args=dict(config.model_args),
        task=data.task,
        classes=tuple(data.classes),
        positive=data.positive,
        preprocessing=Preprocessing(height=height, width=width, channels=config.channels, fit=config.fit),
    )


def new_net(bundle: Bundle, plan: Plan) -> tuple[nn.Module, torch.device]:
    """The network with its first weights, which the seed decides, and where it will run."""
    rate = plan.recipe.drop_path_rate
    extra = {} if rate is None else {"drop_path_rate": rate}  # of training alone: it is not the bundle's
    with seeded(seed_for(WEIGHTS, plan.config.seed)):
        net = replace(bundle, model_args=bundle.model_args | extra).build_model()
    device, shape = plan.device, bundle.preprocessing
    if device.type == "mps":  # a CUDA device is taken by Lightning, one for each process
        device = settle(net, plan.config.device, (1, shape.channels, shape.height, shape.width))
    return net, device


def check_counts(splits: Mapping[str, ImageSet], processes: int) -> None:
    """Raise `InputError` if there are too few images to train or to choose an epoch by."""
    if (count := len(splits["train"])) < 2 * processes:
        raise InputError(f"the training split has {count} images; give 2 or more for each of {processes} processes")
    if len(splits["val"]) == 0:
        raise InputError("the validation split has no image, and the best epoch is chosen by it; give it some")


def prepare(
    net: nn.Module, bundle: Bundle, plan: Plan, splits: Mapping[str, ImageSet], trainer: Trainer, first_epoch: int
) -> tuple[Trainee, Iterable[Batch], Iterable[Batch]]:
    """The module and this process's batches of train and val; every image is read once.

    Raises:
        InputError: An image cannot be read, or there are too few.
    """
    config, recipe = plan.config, plan.recipe
    rank, processes = trainer.global_rank, trainer.world_size
    check_counts(splits, processes)
    train = Images(splits["train"], bundle.preprocessing, augment=recipe.augment, seed=config.seed)
    val = Images(splits["val"], bundle.preprocessing)
    n, size = len(train), recipe.batch_size
    order = EpochBatches(n, size, seed=config.seed, rank=rank, processes=processes, epoch=first_epoch)
    fixed = FixedBatches(len(val), size, rank=rank, processes=processes)
    if processes > 1:
        net = synchronise(net, plan.device.type)
    module = Trainee(
        net,
        recipe=recipe,
        task=bundle.task,
        preprocessing=bundle.preprocessing,
        order=order,
        seed=config.seed,
    )
    pinned = plan.device.type == "cuda"
    train_batches = make_loader(train, order, workers=config.workers, pinned=pinned)
    return module, train_batches, make_loader(val, fixed, workers=config.workers, pinned=pinned)
