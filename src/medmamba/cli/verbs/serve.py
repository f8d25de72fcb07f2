"""The verb that lets others use a model: on a page, and from programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from medmamba.cli.verbs.answer import model_in_the_box


@dataclass(frozen=True)
class Serve:
    """A page and a service on this machine: classify images in a browser or over HTTP, until Ctrl-C."""

    model: Positional[Path | None] = None
    """Folder of the trained model, or a .onnx file that export wrote; by default the small one in the package."""
    host: str = "127.0.0.1"
    """Address to bind to. Other machines reach only others than this one, which need a token in MEDMAMBA_TOKEN."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""
    allow_host: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """One more name under which browsers reach the service. May be given again."""
    max_pixels: int = 32_000_000
    """Refuse pictures with more pixels, before they are decoded."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""

    def run(self) -> int:
        from medmamba.serve import serve

        serve(
            self.model or model_in_the_box(),
            host=self.host,
            port=self.port,
            device=self.device,
            allow_hosts=self.allow_host,
            max_pixels=self.max_pixels,
        )
        return 0
