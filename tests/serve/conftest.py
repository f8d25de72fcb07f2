"""A small model with all that a calibrated one has, and ways to ask a service of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from asking import CLASSES, HOME

from medmamba.bundle import Bundle
from medmamba.calibration.scope import fit_kind, with_limits
from medmamba.data import Preprocessing
from medmamba.data.phantoms import phantom
from medmamba.decisions import Conformal, Decisions
from medmamba.predictor import Classifier, load
from medmamba.predictor.scope import looks_of
from medmamba.serve.app import make_app
from medmamba.serve.service import Service
from medmamba.tasks import Task


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that is unsure of some pictures and calls others strange."""
    folder = tmp_path_factory.mktemp("secret-folder") / "run"
    decisions = Decisions(conformal=Conformal(0.1, (0.7, 0.7, 0.7), by_class=True), scope=0.05)
    arguments = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64)}
    bundle = Bundle(
        "medmamba_nano",
        Task.MULTICLASS,
        CLASSES,
        Preprocessing(48, 48),
        model_args=arguments,
        decisions=decisions,
        provenance={"start": f"the weights of {folder}", "data": {"name": str(folder), "counts": {}}},
    )
    torch.manual_seed(0)
    model = bundle.build_model()
    torch.nn.init.normal_(model.get_classifier().weight, std=1.0)  # type: ignore[operator]
    replace(bundle, decisions=Decisions()).save(folder, model.state_dict())
    # the scope is fitted on phantoms, of which some lie beyond it
    from medmamba.predictor.network import NetworkClassifier

    pixels = np.stack([bundle.preprocessing.pixels(phantom(seed)[0]) for seed in range(40)])
    features = NetworkClassifier(bundle, model.eval(), torch.device("cpu")).features(pixels)
    kind = fit_kind(features, np.arange(40) % 3, looks_of(pixels))
    bundle.save_description(folder, scope=with_limits(kind, features, looks_of(pixels), 0.05).pack())
    return folder


@pytest.fixture(scope="session")
def classifier(run: Path) -> Classifier:
    return load(run, device="cpu")


@pytest.fixture
def service(classifier: Classifier) -> Iterator[Service]:
    """At work, not warmed up."""
    service = Service(classifier)
    yield service
    service.close()


@pytest.fixture
def ask(service: Service) -> Callable[..., httpx.Response]:
    """Ask the service once: method, address and what httpx takes; `settings` are those of `make_app`."""

    def ask(method: str, address: str, *, settings: dict[str, Any] | None = None, **request: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(make_app(service, **(settings or {})))
            async with httpx.AsyncClient(transport=transport, base_url=HOME) as client:
                return await client.request(method, address, **request)

        return asyncio.run(once())

    return ask
