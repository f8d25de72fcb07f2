"""Which trainings the paper's tables need, on the data sets that can be had, in the order of their worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medmamba.paper.sets import locate, recipe_of
from medmamba.paper.variants import option_words, recipe_words


@dataclass(frozen=True)
class Run:
    """One training and its test.

    Attributes:
        data: A name in `paper.sets`, or of a file or folder below the folder of data.
        model: Registry name.
        recipe: Name of a recipe in the package.
        image_size: Height and width in pixels.
        seed: 0 or more.
        model_args: More arguments of the model.
        epochs: In place of the recipe's.
        settings: In place of the recipe's, by the names of `medmamba.training.recipe.Recipe`.
        init: Name of the backbone that it starts from, the one of the same seed; empty for random weights.
    """

    data: str
    model: str
    recipe: str
    image_size: int = 224
    seed: int = 0
    model_args: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    init: str = ""

    @property
    def name(self) -> str:
        """Its place among the results, without an ending: `busi/medmamba_tiny/clinical-224-seed0`."""
        parts = [f"{self.recipe}-{self.image_size}"]
        parts += [] if self.epochs is None else [f"epochs{self.epochs}"]
        parts += [f"{key}_{'none' if value is None else value}" for key, value in sorted(self.settings.items())]
        parts += [f"init_{self.init}"] * bool(self.init)
        return f"{self.data}/{self.model}/{'-'.join(parts)}-seed{self.seed}"

    @property
    def sets(self) -> tuple[str, ...]:
        """The data that must be there."""
        return (self.data,)

    @property
    def needs(self) -> str:
        """Name of the `BackboneRun` that must have ended before; empty for none."""
        return backbone_name(self.init, self.seed) if self.init else ""

    @property
    def changes(self) -> dict[str, Any]:
        """All that replaces a setting of the recipe."""
        return ({} if self.epochs is None else {"epochs": self.epochs}) | dict(self.settings)

    def file(self, results: Path) -> Path:
        """Its file in a folder of results."""
        return results / "runs" / f"{self.name}.json"

    def command(self, folder: Path) -> str:
        """The command line that trains the same; paths are below the folder of data."""
        path = locate(folder, self.data).relative_to(folder)
        recipe, comment = recipe_words(self.recipe, self.changes)
        words = ["medmamba train", str(path), "--out RUN --model", self.model, "--recipe", recipe]
        words += [f"--image-size {self.image_size} {self.image_size} --seed {self.seed}"]
        words += option_words(self.changes)
        words += [f"--init {self.needs}"] * bool(self.init)
        words += ["--model-args", *(f"{key}={value}" for key, value in self.model_args.items())] * bool(self.model_args)
        return " ".join(words) + comment


def backbone_name(init: str, seed: int) -> str:
    """The place of a backbone, among the results and below the folder of models."""
    return f"backbones/{init}-seed{seed}"


SEEDS = (0, 1, 2)
MEDMNIST = ("breastmnist", "retinamnist", "pneumoniamnist")  # the largest last: it is most of the time
# table 7's; its last row, medmamba_tiny_shuffle, is medmamba_tiny, weight for weight: its runs are tiny's
ABLATIONS = ("medmamba_tiny_scan", "medmamba_tiny_sum", "medmamba_tiny_split", "medmamba_tiny")
# table 3's reference models beside those of table 6
RIVALS = (
    "vmamba_tiny",
    "swin_tiny_patch4_window7_224",
    "convnext_tiny",
    "repvgg_a1",
    "mobilevitv2_200",
    "edgenext_base",
    "nest_tiny",
    "mobileone_s4",
    "cait_xxs36_224",
    "densenet169",
    "resnet18",
)
AUTOAUGMENT = "medmnist-autoaugment"  # X of the paper: medmamba_tiny with it


def runs(models: Iterable[str], sets: Iterable[str], recipe: str | None = None, image_size: int = 224) -> list[Run]:
    """Every model on every set with every seed, a set after the other."""
    models = tuple(models)
    return [
        Run(name, model, recipe or recipe_of(name), image_size, seed)
        for name in sets
        for model in models
        for seed in SEEDS
    ]


def table6() -> list[Run]:
    """MedMNIST at 28 pixels enlarged to 224, and ResNets with a stem for small images at 28."""
    small = MEDMNIST[:2]
    return _once(
        runs(("medmamba_tiny", "resnet18", "convnext_tiny"), MEDMNIST),
        runs(("medmamba_small12", "medmamba_base16"), small),
        runs(("medmamba_tiny",), small, AUTOAUGMENT),
        runs(("vmamba_tiny", "medvit_tiny"), small),
        _others_of_table6(),
        _rest_of_table6(),
    )


def _others_of_table6() -> list[Run]:
    """Of the rivals, those that take little time."""
    small_stems = runs(("resnet18_small_stem", "resnet50_small_stem"), MEDMNIST, image_size=28)
    return runs(("resnet50", "swin_tiny_patch4_window7_224"), MEDMNIST[:2]) + small_stems


def _rest_of_table6() -> list[Run]:
    large = MEDMNIST[2:]
    return [
        *runs(("resnet50", "swin_tiny_patch4_window7_224", "medmamba_small12"), large),
        *runs(("medmamba_tiny",), large, AUTOAUGMENT),
        *runs(("vmamba_tiny", "medvit_tiny", "medmamba_base16"), large),
    ]


def table7() -> list[Run]:
    """The four ablations."""
    return runs(ABLATIONS, ("breastmnist", "busi", "pneumoniamnist"))


def tables3_to_5() -> list[Run]:
    """Tables 3 to 5 in form, on BUSI: tiny and its rivals, then small and base."""
    return runs(("medmamba_tiny", *RIVALS, "medmamba_small12", "medmamba_base16", "medvit_tiny"), ("busi",))


def of_figure(name: str) -> list[Run]:
    """The models that one of the paper's figures shows, seed 0; in the place of absent sets what comes nearest."""
    sets = ("busi", "retinamnist", "bccd")
    if name == "figure5":
        made = _first(("medmamba_small12",), (*sets, "breastmnist", "isic2017")) + _large("medmamba_small12")
    elif name == "figure6":
        models = ("medmamba_small12", "swin_small_patch4_window7_224", "convnext_small")
        made = _first(models, sets) + _large(*models)
    elif name == "figure7":
        made = _first(("medmamba_tiny",), (*sets, "isic2017"), AUTOAUGMENT)
    else:
        made = []  # of figure 4 are the runs of the tables; figure 3 needs none
    return made


def _first(models: Iterable[str], sets: Iterable[str], recipe: str | None = None) -> list[Run]:
    return [run for run in runs(models, sets, recipe) if run.seed == SEEDS[0]]


def _large(*models: str) -> list[Run]:
    """On PneumoniaMNIST, whose many images are enough for a picture after fewer epochs."""
    return [replace(run, epochs=20) for run in _first(models, ("pneumoniamnist",))]


def figures() -> list[Run]:
    """All of them."""
    return _once(*(of_figure(f"figure{number}") for number in (5, 7, 6)))


def everything() -> list[Run]:
    """All tables: first what tells most about the paper's claims, last what takes longest and tells least."""
    small = MEDMNIST[:2]
    return _once(
        runs(("medmamba_tiny", "resnet18", "convnext_tiny"), MEDMNIST),
        runs(ABLATIONS, ("breastmnist", "busi")),
        runs(("medmamba_small12", "medmamba_base16"), small),
        runs(("medmamba_tiny",), small, AUTOAUGMENT),
        runs(("vmamba_tiny", "medvit_tiny"), small),
        tables3_to_5(),
        _others_of_table6(),
        table7(),
        _rest_of_table6(),
    )


def _once(*groups: list[Run]) -> list[Run]:
    """All of the groups one after the other, each run where it stands first."""
    return list({run.name: run for group in groups for run in group}.values())


PLANS: Mapping[str, Callable[[], list[Run]]] = {
    "all": everything,
    "table6": table6,
    "table7": table7,
    "tables3-5": tables3_to_5,
    "figures": figures,
}
