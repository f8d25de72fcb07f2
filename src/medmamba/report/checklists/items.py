"""What an item of a checklist is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medmamba.report.checklists.record import Record

SENTENCE = "not available from the run's record: write it yourself"

Facts = list[str]
Answer = Callable[[Record], Facts]


@dataclass(frozen=True)
class Item:
    """One row.

    Attributes:
        number: As the checklist numbers it: `7`, `18e`.
        topic: What it asks for, in our own words.
        answer: What the record says of it, as sentences without a full stop, none where the record is silent; None for
            what only people can know.
        add: What the record cannot know of it, to be added to the answer.
    """

    number: str
    topic: str
    answer: Answer | None = None
    add: str = ""

    def facts(self, record: Record) -> Facts:
        """What the record says of it, maybe nothing."""
        return self.answer(record) if self.answer else []


@dataclass(frozen=True)
class Checklist:
    """A checklist: its name, who published it, and its items in order."""

    name: str
    source: str
    items: tuple[Item, ...]


def together(*answers: Answer) -> Answer:
    """Several answers as one, in this order."""

    def answer(record: Record) -> Facts:
        return [fact for each in answers for fact in each(record)]

    return answer
