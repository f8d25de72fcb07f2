"""What a check can find: a name, what it means, what to do. A new kind is a row here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from medmamba.errors import InputError, suggest


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Attributes:
        title: In a few words.
        advice: What it does to a result, and what to do about it.
        wrong: Whether it makes the check fail; others are told only.
    """

    title: str
    advice: str
    wrong: bool = True


KINDS = {
    "not-opened": Kind(
        "The data set cannot be opened as it is", "Training will refuse it with this sentence; mend it."
    ),
    "unusable": Kind(
        "Images that training will refuse the data set for", "They are left out below. Mend the table or the folder."
    ),
    "unreadable": Kind(
        "Files that cannot be read", "Training stops at the first of them. Replace them, or take them out."
    ),
    "blank": Kind(
        "Images that show nothing",
        "Every pixel, or nearly every one, has the same value: a failed export or download, or a lost window.",
    ),
    "patient-overlap": Kind(
        "Patients in more than one split",
        "A model recognises a patient it has seen, and the result is too good. Put each patient into one split.",
    ),
    "label-conflict": Kind(
        "The same picture with different labels",
        "At least one of the labels is wrong. Look at them; decide, or leave both out.",
    ),
    "leaked-images": Kind(
        "The same picture in two splits",
        "What was trained on is tested on, and the result is too good. Keep one, or put all copies into one split.",
    ),
    "duplicates": Kind(
        "The same picture more than once in a split",
        "It counts twice, and if splits are made anew without patients, copies may part. A group column keeps them "
        "together.",
        wrong=False,
    ),
    "class-missing": Kind(
        "A class is missing from a split",
        "Missing from train it cannot be learnt, from val it does not help to choose an epoch, from test nothing is "
        "known of it.",
    ),
    "small-class": Kind(
        "Very small classes",
        "Figures of a class with so few images say little; their intervals tell how little.",
        wrong=False,
    ),
    "shortcut": Kind(
        "A likely shortcut",
        "The class can be told without looking at what the picture shows. A model may learn that instead, and fail "
        "elsewhere. Crop borders, bring all images to one size and format, or collect the classes in the same way.",
    ),
    "unusual": Kind(
        "Pictures that look inverted or turned",
        "They resemble the others once inverted or turned. Look at them.",
        wrong=False,
    ),
    "mixed": Kind(
        "Images of different kinds",
        "All are read by stated rules; see that the kinds do not go with the classes.",
        wrong=False,
    ),
}


@dataclass(frozen=True)
class Finding:
    """Something that a check found.

    Attributes:
        name: One of `KINDS`.
        sentence: What and how many.
        groups: The images concerned, by name; those of one group belong together.
        details: Figures, as JSON takes them.
        allowed: Whether it was allowed by name, and so does not make the check fail.
    """

    name: str
    sentence: str
    groups: Sequence[Sequence[str]] = ()
    details: dict[str, object] = field(default_factory=dict)
    allowed: bool = False

    @property
    def kind(self) -> Kind:
        """What it means."""
        return KINDS[self.name]

    @property
    def wrong(self) -> bool:
        """Whether it makes the check fail."""
        return self.kind.wrong and not self.allowed


def check_names(names: Collection[str]) -> None:
    """Raise `InputError` if a name is not that of a finding."""
    known = tuple(KINDS)
    for name in names:
        if name not in known:
            raise InputError(
                f"there is no finding {name!r} to allow{suggest(name, known)}; choose from {', '.join(known)}"
            )
