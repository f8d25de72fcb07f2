"""What is chosen about reading an image file: stored with the model, so that training and prediction read alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from medmamba.data.windows import FILE, Window, parse_window
from medmamba.errors import InputError

FRAMES = ("first", "middle", "all")


@dataclass(frozen=True)
class Reading:
    """How a file becomes pixels.

    Attributes:
        window: Of images with more than 8 bits: `file` for the window or table that the file states, else by the range
            of its values; or `CENTER,WIDTH`, or the name of a preset in `medmamba.data.windows.PRESETS`.
        frame: Of a file with several frames or pages: `first`, `middle` (the lower one of two), a number from 1, or
            `all`, which only prediction takes.
        max_pixels: Of one frame, height times width; a file that states more is refused before it is decoded. The
            default is that of Pillow.
    """

    window: str = FILE
    frame: str = "first"
    max_pixels: int = 178_956_970

    def __post_init__(self) -> None:
        if not isinstance(self.window, str):
            raise InputError(f"the window {self.window!r} is no text; give CENTER,WIDTH, a preset's name or {FILE!r}")
        parse_window(self.window)
        object.__setattr__(self, "frame", str(self.frame))
        number = self.frame.isascii() and self.frame.isdigit() and 1 <= int(self.frame[:10]) < 10**9
        if self.frame not in FRAMES and not number:
            raise InputError(f"frame {self.frame!r} is none; give {', '.join(FRAMES)} or a number from 1")
        if isinstance(self.max_pixels, bool) or not isinstance(self.max_pixels, int) or self.max_pixels < 1:
            raise InputError(f"max pixels {self.max_pixels!r} is no limit; give a whole number from 1")

    @property
    def stated_window(self) -> Window | None:
        """The window that was asked for; None for the file's own."""
        return parse_window(self.window)

    def indices(self, frames: int) -> range:
        """Which of so many frames are read, from 0.

        Raises:
            InputError: There is no such frame. The message is the end of a sentence about the file.
        """
        if self.frame == "all":
            return range(frames)
        if self.frame == "first":
            return range(1)
        if self.frame == "middle":
            return range((frames - 1) // 2, (frames - 1) // 2 + 1)
        number = int(self.frame)
        if number > frames:
            there = "only one frame" if frames == 1 else f"{frames} frames"
            raise InputError(f"has {there}, and frame {number} was asked for; choose first, middle or another number")
        return range(number - 1, number)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Reading:
        """The inverse of `dataclasses.asdict`; what is missing is as by default.

        Raises:
            InputError: A setting is unknown or impossible.
        """
        if not isinstance(settings, Mapping):
            raise InputError(f"the settings of reading are a {type(settings).__name__}; expected names and values")
        if unknown := sorted(set(settings) - {field.name for field in fields(cls)}):
            raise InputError(f"unknown settings of reading {', '.join(unknown)}; a newer version may have made them")
        return cls(**settings)


@dataclass(frozen=True)
class Frames:
    """An image file that is open.

    Attributes:
        count: Frames or pages that it says it has, from 1.
        kind: Format, colours and bits, as `PNG L` or `DICOM MONOCHROME2 12 bit`.
        read: One of them, from 0: uint8, (h, w) if grey or (h, w, 3) if RGB. An `InputError` of it is the end of a
            sentence about the file; a damaged file raises anything.
    """

    count: int
    kind: str
    read: Callable[[int], np.ndarray]
