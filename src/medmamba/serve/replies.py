"""The shapes of the replies, for whoever reads the OpenAPI description."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class About(BaseModel):
    """Which model answered."""

    name: str
    classes: list[str]
    research_use: str


class ImageAnswer(BaseModel):
    """The answer for one image; all but `name` and `error` are null where it could not be read."""

    name: str
    error: str | None
    label: str | None
    probabilities: dict[str, float] | None
    prediction_set: list[str] | None
    refer: str | None
    width: int | None
    height: int | None


class Answers(BaseModel):
    """What `/v1/predict` says."""

    model: About
    seconds: float
    images: list[ImageAnswer]


class ErrorAbout(BaseModel):
    """What is wrong."""

    status: int
    message: str


class ErrorReply(BaseModel):
    """What every reply says that is none; from `/v1/predict` also the images, where none could be read."""

    error: ErrorAbout
    images: list[ImageAnswer] | None = None


class ModelReply(BaseModel):
    """What the model is; see `medmamba.serve.about`."""

    name: str
    purpose: str | None
    task: str
    classes: list[str]
    positive: str | None
    threshold: float | list[float] | None
    preprocessing: dict[str, Any]
    calibrated: bool
    prediction_sets: bool
    scope: bool
    explains: bool
    limits: dict[str, int]
    card: str
    facts: dict[str, str]
    provenance: dict[str, Any]
    versions: dict[str, str | None]
    device: str
    backend: str
    research_use: str
