"""The catalogue as a page of the documents: `docs/reference/data-sets.md` is what `page` gives."""

from __future__ import annotations

from collections.abc import Iterator

from medmamba.data.catalogue import CATALOGUE, Row

TOTAL_CLAIMED = 411_007  # images of the 16 sets, by the paper's abstract

_HEAD = """# Data sets

The paper's 16 data sets, and the other two of MedMNIST's two-dimensional ones: what each is, how to get it, and where
the paper contradicts itself about it. `medmamba info --data` prints the table. This page is made from the rows of
`medmamba.data.catalogue` by its `page.page()`.

MedMNIST sets are opened by name: `medmamba train breastmnist@64 --out runs/breast`. Of the others that can be had,
[`medmamba prepare`](../how-to/published-data.md) turns the publisher's download into a table. Class folders of your own
are taken as they are.

"Images" is what the publisher says, "the paper" is its table 2: images in training, validation and test. The sizes in
that table add up to {added:,} images; the paper's abstract and introduction claim {claimed:,}.

"""


def page() -> str:
    """The page, in Markdown."""
    added = sum(sum(row.paper) for row in CATALOGUE.values() if row.paper)
    parts = [_HEAD.format(added=added, claimed=TOTAL_CLAIMED), "\n".join(_table()), "\n"]
    parts += [f"\n{section}" for section in map(_section, CATALOGUE.values())]
    return "".join(parts)


def _table() -> Iterator[str]:
    yield "| name | task | classes | images | the paper | licence |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in CATALOGUE.values():
        paper = _counts(row.paper) if row.paper else "not used"
        cells = (f"`{row.name}`", str(row.task), str(len(row.classes)), f"{row.total:,}", paper, row.licence)
        yield f"| {' | '.join(cells)} |"


def _counts(counts: tuple[int, int, int]) -> str:
    return " / ".join(f"{count:,}" for count in counts)


def _section(row: Row) -> str:
    images = [f"{name} {row.class_counts[name]:,}" if row.class_counts else name for name in row.classes]
    facts = {
        "Images": f"{row.modality}; {row.total:,} images" + (f" of {row.patients:,} patients" if row.patients else ""),
        "Classes": "; ".join(images),
        "Splits": f"{_counts(row.counts)}, the publisher's" if row.counts else "",
        "The paper's splits": _counts(row.paper) if row.paper else "",
        "Images from": "; ".join(row.derived_from) + "".join(f"; perhaps {each}" for each in row.perhaps_from),
        "Get it": row.get,
        "Page": f"<{row.source}>",
        "Licence": row.licence,
        "Cite": row.citation,
    }
    lines = [f"- {name}: {words}" for name, words in facts.items() if words]
    for title, sentences in (
        ("Contradictions", row.contradictions),
        ("Look out", row.cautions),
        ("Not verified", row.unverified),
    ):
        lines += [f"- {title}: {sentence}" for sentence in sentences]
    return f"## {row.title}\n\n" + "\n".join(lines) + "\n"
