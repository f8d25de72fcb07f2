"""The verb that shows where a model looks, and checks whether that means something."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from medmamba.cli.console import print_table, progress_bar
from medmamba.errors import InputError

if TYPE_CHECKING:
    from medmamba.predictor import Classifier


@dataclass(frozen=True)
class Explain:
    """Heat maps: where in images a model finds evidence for a class. With --check, whether its maps mean something."""

    model: Positional[Path]
    """Folder of the trained model."""
    images: Positional[tuple[str, ...]]
    """Files, folders (searched through), glob patterns, or .txt lists of paths."""
    out: Path | None = None
    """Folder for the pictures, maps and explain.json; by default heat-maps in the model's folder."""
    target: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="CLASS")] = ()
    """Class to be explained, by name; by default of each image the one that is predicted. May be given again."""
    method: str | None = None
    """gradcam, layercam, gradcam++, xgradcam, hirescam, elementwise, eigengradcam, eigencam, kpcacam, fem, or scorecam
    (slow); by default layercam for our networks, gradcam for others."""
    layer: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """Layer whose map is taken, by module name; given again, the mean of their maps. By default chosen for the network:
    see docs/how-to/explain.md."""
    list_layers: bool = False
    """Print the layers that have a map, with the size of it, and end."""
    colours: str = "safe"
    """safe, for colour-blind readers too, or paper, a rainbow."""
    frame: str | None = None
    """Of files with several frames or pages: first, middle or a number from 1; by default as in training."""
    check: str | None = None
    """Check the maps on this data set, instead of explaining images; exit code 1 if they cannot be shown to mean
    something."""
    split: str = "test"
    """Of the data set of --check."""
    n: int = 40
    """Images of it."""
    seed: int = 0
    """Of the check's draws."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    json: bool = False
    """Print what is written to explain.json or check.json instead of a table."""

    def run(self) -> int:
        from medmamba.predictor import load

        if self.check is None and not self.list_layers and not self.images:
            raise InputError(
                "no images were named; give files, folders or patterns after the model's folder, or --check DATA"
            )
        if self.check is not None and self.images:
            raise InputError(f"--check takes its images from {self.check}; leave out {self.images[0]}")
        classifier = load(self.model, device=self.device)
        if self.list_layers:
            return self._list(classifier)
        out = self.out or self.model / "heat-maps"
        return self._explain(classifier, out) if self.check is None else self._check(classifier, self.check, out)

    def _list(self, classifier: Classifier) -> int:
        from medmamba.explain.maps import HeatMapper, network_of

        mapper = HeatMapper(classifier.bundle, network_of(classifier), method=self.method, layers=self.layer)
        chosen = [("layer", "channels", "map", "")]
        for name, (channels, rows, columns) in mapper.found.items():
            chosen.append((name, str(channels), f"{rows} x {columns}", "*" if name in mapper.layers else ""))
        print_table(chosen)
        print(f"\n* taken, with {mapper.method}")
        return 0

    def _explain(self, classifier: Classifier, out: Path) -> int:
        from medmamba.explain import heat_maps

        with progress_bar("explaining") as progress:
            rows = heat_maps(
                classifier,
                self.images,
                out=out,
                targets=self.target,
                method=self.method,
                layers=self.layer,
                colours=self.colours,
                frame=self.frame,
                progress=progress,
            )
        if self.json:
            print(json.dumps(rows, indent=2, ensure_ascii=False))
        else:
            table = [("file", "class", "probability", "target", "picture", "note")]
            for row in rows:
                cells = (row[key] or "" for key in ("target", "picture", "note"))
                known = row["error"] is None
                table.append((row["file"], row["class"] or "", f"{row['probability']:.3f}" if known else "-", *cells))
            print_table(table)
            print(f"\n{out}")
        failed = sum(row["error"] is not None for row in rows)
        if failed:
            print(f"{failed} images could not be read; see error in explain.json", file=sys.stderr)
        return 1 if failed else 0

    def _check(self, classifier: Classifier, data: str, out: Path) -> int:
        from medmamba.explain import check_heat_maps

        with progress_bar("checking maps") as progress:
            result = check_heat_maps(
                classifier,
                data,
                self.split,
                n=self.n,
                method=self.method,
                layers=self.layer,
                seed=self.seed,
                out=out / "check.json",
                progress=progress,
            )
        if self.json:
            print(json.dumps(result, indent=2, ensure_ascii=False))
        else:
            print(f"{result['method']} at {', '.join(result['layers'])}, {result['n']} images of {result['data']}")
            for name in ("randomisation", "removal", "pointing"):
                if result[name] is not None:
                    print(f"{name}: {'passed' if result[name]['passed'] else 'NOT PASSED'}: {result[name]['verdict']}")
            print(f"\n{out / 'check.json'}")
        return 0 if result["passed"] else 1
