"""From a plan and a lesson to a network and batches, ready to train."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from lightning import Trainer
from torch import nn

from medmamba.backbone import Backbone
from medmamba.bundle import Bundle
from medmamba.data.dataset import Pictures
from medmamba.device import settle
from medmamba.errors import InputError
from medmamba.network import MedMamba, mend_inductor
from medmamba.training.batchnorm import LARGE_SHARE, synchronise
from medmamba.training.lesson import Lesson
from medmamba.training.limits import checkpoint_activations
from medmamba.training.loader import Batch, Images, make_loader
from medmamba.training.module import Trainee
from medmamba.training.order import EpochBatches, FixedBatches
from medmamba.training.plan import Plan
from medmamba.training.seeds import WEIGHTS, seed_for, seeded
from medmamba.training.timing import TimedBatches, remedy

logger = logging.getLogger(__name__)

COMPILER = "inductor"


@dataclass(frozen=True)
class Prepared:
    """All that a trainer needs.

    Attributes:
        module: The network in training.
        train: This process's batches of the training split.
        val: Those of the validation split.
        remedy: What to do if `train` is the brake, in words.
    """

    module: Trainee
    train: TimedBatches
    val: Iterable[Batch]
    remedy: str


def new_net(bundle: Bundle | Backbone, plan: Plan) -> tuple[nn.Module, torch.device]:
    """The network with its first weights, which the seed decides, and where it will run."""
    rate = plan.recipe.drop_path_rate
    extra = {} if rate is None else {"drop_path_rate": rate}  # of training alone: it is not the bundle's
    with seeded(seed_for(WEIGHTS, plan.config.seed)):
        net = replace(bundle, model_args=bundle.model_args | extra).build_model()
    if plan.config.checkpointing:
        checkpoint_activations(net, bundle.model)
    device, shape = plan.device, bundle.preprocessing
    if device.type == "mps":  # a CUDA device is taken by Lightning, one for each process
        device = settle(net, plan.config.device, (1, shape.channels, shape.height, shape.width))
    return net, device


def may_be_recorded(net: nn.Module, plan: Plan, device: torch.device) -> bool:
    """Whether training steps can be replayed from a CUDA graph.

    Only those of our own networks, of which is known that what they do depends on nothing but tensors: a choice that a
    network makes in Python would be frozen, and nobody would see it.
    """
    whole = plan.config.accumulate == 1 and not plan.config.checkpointing
    return device.type == "cuda" and whole and plan.precision != "16-mixed" and isinstance(net, MedMamba)


def check_counts(splits: Mapping[str, Pictures], processes: int, parts: int = 1) -> None:
    """Raise `InputError` if there are too few images to train or to choose an epoch by."""
    if (count := len(splits["train"])) < 2 * processes * parts:
        where = f"{parts} parts in each of " * (parts > 1) + f"{processes} processes"
        raise InputError(f"the training split has {count} images; give 2 or more for each of {where}")
    if len(splits["val"]) == 0:
        raise InputError("the validation split has no image, and the best epoch is chosen by it; give it some")


def prepare(
    net: nn.Module,
    lesson: Lesson,
    plan: Plan,
    trainer: Trainer,
    first_epoch: int,
    *,
    recorded: bool = False,
) -> Prepared:
    """The module and this process's batches of train and val; every image is read once.

    `recorded` is what `may_be_recorded` says; the trainer was made for it.

    Raises:
        InputError: An image cannot be read, there are too few, or the GPU has no room for them.
    """
    config, recipe, shape, splits = plan.config, plan.recipe, lesson.bundle.preprocessing, lesson.splits
    device, rank, processes = trainer.strategy.root_device, trainer.global_rank, trainer.world_size
    parts = config.accumulate
    check_counts(splits, processes, parts)
    train = Images(splits["train"], shape, augment=recipe.augment, seed=config.seed, device=device)
    val = Images(splits["val"], shape, device=device)
    logger.info("images: train %s; val %s", train.where(), val.where())
    if train.resident and config.workers:
        logger.info("workers %d have nothing to do: the images live on the GPU", config.workers)
    draw = lesson.draw()
    order = EpochBatches(
        len(train),
        recipe.batch_size,
        seed=config.seed,
        rank=rank,
        processes=processes,
        parts=parts,
        epoch=first_epoch,
        balance=draw.balance,
        shares=draw.shares,
    )
    # smaller too where memory is short
    fixed = FixedBatches(len(val), max(1, recipe.batch_size // parts), rank=rank, processes=processes)
    if device.type == "cuda":
        net = net.to(memory_format=torch.channels_last)  # as cuDNN's fastest convolutions read it
    if processes > 1 and (share := order.sizes[0] // (processes * parts)) < LARGE_SHARE:
        logger.info("batch normalisation over all processes, since each has only %d images of a batch", share)
        net = synchronise(net, device.type)
    module = Trainee(
        net,
        recipe=recipe,
        training_loss=lesson.training_loss(),
        preprocessing=shape,
        order=order,
        seed=config.seed,
        recorded=recorded,
    )
    if config.compile:
        mend_inductor()
        # in place, so that the names of tensors stay; batches have few different sizes, and a graph for each is faster
        # than one for all
        net.compile(backend=COMPILER, dynamic=False)
        logger.info("the network is compiled by torch.compile (%s) in the first steps", COMPILER)
    pinned = device.type == "cuda"
    train_batches = make_loader(train, order, workers=config.workers, pinned=pinned)
    val_batches = make_loader(val, fixed, workers=config.workers, pinned=pinned)
    advice = remedy(on_gpu=train.resident, in_memory=train.cache is not None, workers=config.workers)
    return Prepared(module, TimedBatches(train_batches, device), val_batches, advice)
