"""Which trainings tell what the recipe `strong` is worth, what each of its parts does, and what a backbone adds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from medmamba.data.catalogue import recognise
from medmamba.paper.backbone_runs import BackboneRun
from medmamba.paper.job import Unit
from medmamba.paper.plans import MEDMNIST, SEEDS, runs
from medmamba.paper.variants import variant

RECIPE = "strong"
OURS = "medmamba_tiny"
RIVALS = ("resnet18", "convnext_tiny", "vmamba_tiny")
MORE_RIVALS = ("densenet169", "medvit_tiny")  # on BUSI alone

TARGET = "busi"  # what the backbone is meant for, and what it must not have seen
BACKBONE = "apart"
# Malaria's cells are left out: two validation images would have as much of a say in the best epoch as any other set's.
LABELLED = ("busi", "breastmnist", "retinamnist", "pneumoniamnist", "bccd", "isic2017")
STARTED = ("busi", "breastmnist", "retinamnist", "pneumoniamnist")

FEWER_EPOCHS = 30
PARTS: tuple[Mapping[str, Any], ...] = (  # each in place of what `strong` has
    {"choose_from": 0.0},
    {"mixup": 0.0},
    {"label_smoothing": 0.0},
    {"ema": None},
    {"drop_path_rate": 0.1},
    {"augment": "none"},
    {"augment": "light"},
    {"epochs": FEWER_EPOCHS},
    {"imbalance": "logit-adjustment"},
)
PARTS_ON = ("breastmnist", "retinamnist", "busi")


def rivals() -> list[Unit]:
    """MedMamba-T and its rivals on MedMNIST, ours first."""
    return [*runs((OURS,), MEDMNIST, RECIPE), *runs(RIVALS, MEDMNIST, RECIPE)]


def busi() -> list[Unit]:
    """The same on BUSI, and two rivals more."""
    return [*runs((OURS, *RIVALS, *MORE_RIVALS), (TARGET,), RECIPE)]


def unrelated(sets: Iterable[str], target: str) -> tuple[str, ...]:
    """Those of some data sets that share no collection of images with another one, as far as their names tell.

    The target is related to itself where its collection is known. Whatever is planned, `medmamba train` refuses to
    start from a backbone that has seen related images: it judges what was opened, by `data.related.sources_of`.
    """
    sources = set(recognise(target))
    return tuple(name for name in sets if name != target and not sources & set(recognise(name)))


def pretraining() -> list[Unit]:
    """A backbone for each seed from what is not related to BUSI, and runs that start from it.

    Those on a set that the backbone has seen start from the training images of the same splits.
    """
    sets = unrelated(LABELLED, TARGET)
    backbones = [BackboneRun(BACKBONE, sets, OURS, RECIPE, seed=seed) for seed in SEEDS]
    return [*backbones, *(replace(run, init=BACKBONE) for run in runs((OURS,), STARTED, RECIPE))]


def parts() -> list[Unit]:
    """`strong` as it is, then with one part after the other taken away or changed."""
    plain = runs((OURS,), PARTS_ON, RECIPE)
    return [*plain, *(replace(run, settings=part) for part in changed_parts(RECIPE) for run in plain)]


def changed_parts(recipe: str) -> list[dict[str, Any]]:
    """Those of `PARTS` that are a change of a recipe; where it has few epochs, a third of them is what is fewer."""
    given = variant(recipe, {})
    few = FEWER_EPOCHS if given.epochs >= 2 * FEWER_EPOCHS else max(1, given.epochs // 3)
    told = [{key: few if key == "epochs" else value for key, value in part.items()} for part in PARTS]
    return [part for part in told if variant(recipe, part) != given]


def everything() -> list[Unit]:
    """All of them: ours and its rivals first."""
    plan = [*rivals(), *busi(), *pretraining(), *parts()]
    return list({run.name: run for run in plan}.values())


RECIPE_PLANS: Mapping[str, Callable[[], Sequence[Unit]]] = {
    "all": everything,
    "rivals": rivals,
    "busi": busi,
    "pretraining": pretraining,
    "parts": parts,
}
