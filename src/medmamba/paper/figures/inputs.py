"""What every figure is drawn from, and what every figure leaves behind."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmamba.errors import InputError
from medmamba.paper.sets import Source, source_of
from medmamba.paper.sheet import NOTICE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from medmamba.bundle import Bundle

SCHEMA = 1
SOFT = "#555555"  # of words that are no numbers


@dataclass(frozen=True)
class Inputs:
    """What figures are drawn from; each takes what it needs.

    Attributes:
        data: Folder of the data sets (figures 3, 5, 6, 7).
        results: Folder whose `runs` holds a JSON file a run (figure 4).
        bundles: Folders of trained models by the name of the set that they were trained on (figures 5, 6, 7).
        out: Folder to write to; made if needed.
        device: Where models run: auto, cpu, cuda, cuda:1 or mps.
        seed: Of every choice of images, of t-SNE and of corruptions. Figure 4 has the intervals of the tables.
        limit: Images of a set at most in figures 6 and 7, each class in proportion; None for all.
        progress: Called with (done, in all, what is being done) now and again.
    """

    data: Path
    results: Path
    bundles: Mapping[str, Sequence[Path]]
    out: Path
    device: str = "auto"
    seed: int = 0
    limit: int | None = None
    progress: Callable[[int, int, str], None] | None = field(default=None, compare=False)

    def bundles_by_set(self) -> dict[str, list[Path]]:
        """Folders of trained models by the set's one name.

        Raises:
            InputError: There is no such set.
        """
        known: dict[str, list[Path]] = {}
        for name, folders in self.bundles.items():
            known.setdefault(source_of(name).name, []).extend(Path(folder) for folder in folders)
        return known

    def tell(self, what: str) -> Callable[[int, int], None]:
        """A function that takes (done, in all) for one thing that is being done."""

        def move(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress(done, total, what)

        return move


def finish(inputs: Inputs, name: str, picture: bytes, entries: dict[str, Any]) -> dict[str, Any]:
    """Write NAME.png and NAME.json and give what the JSON holds: the numbers drawn, and sentences about them."""
    from medmamba.json_file import write_json
    from medmamba.writing import write_atomically

    report = {"schema": SCHEMA, "figure": name, "seed": inputs.seed, **entries, "notice": NOTICE}
    inputs.out.mkdir(parents=True, exist_ok=True)
    write_atomically(inputs.out / f"{name}.png", picture)
    write_json(inputs.out / f"{name}.json", report)  # last: where it stands, the picture stands too
    return report


def check_out(inputs: Inputs) -> None:
    """Refuse an output folder that is a file, before anything is computed; and say what drawing needs: InputError."""
    from medmamba.drawing import require_matplotlib

    require_matplotlib("explain")
    if inputs.out.exists() and not inputs.out.is_dir():
        raise InputError(f"{inputs.out} is a file; name a folder to write to")


def about_bundle(bundle: Bundle) -> dict[str, Any]:
    """How a trained model was made, as far as it says: what traces a figure back to a run."""
    data = bundle.provenance.get("data") or {}
    recipe = bundle.provenance.get("recipe") or {}
    shape = bundle.preprocessing
    return {
        "model": bundle.model,
        "model_args": bundle.model_args,
        "image_size": [shape.height, shape.width],
        "recipe": recipe.get("name") if isinstance(recipe, dict) else recipe,
        "seed": bundle.provenance.get("seed"),
        "device": bundle.provenance.get("device"),
        "version": (bundle.provenance.get("versions") or {}).get("medmamba"),
        "trained_on": data.get("name"),
        "fingerprint": data.get("fingerprint"),
    }


def substitutes(sources: Sequence[Source]) -> list[str]:
    """A sentence for each set that is none of the paper's."""
    return [source.about for source in sources if source.about]


def of_class(name: str, most: int = 100) -> str:
    """A class's name in words, cut to so many letters; that of a MedMNIST set without names is a number."""
    words = f"class {name}" if name.isdigit() else name.replace("_", " ")
    return words if len(words) <= most else words[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def say(axes: Axes, words: str) -> None:
    """An empty panel that says why it is empty."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color="#BBBBBB", linestyle=":")
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize="small", color=SOFT)


def footer(figure: Figure, sentences: Sequence[str], *, width: float, y: float) -> None:
    """Sentences below a figure, over `width` inches; `y` is the top, as a share of the figure's height."""
    text = textwrap.fill(" ".join([*sentences, NOTICE]), int(19 * width)).replace("$", r"\$")
    figure.text(0.01, y, text, va="top", ha="left", fontsize="x-small", color=SOFT)
