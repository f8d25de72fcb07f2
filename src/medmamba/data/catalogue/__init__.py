"""The catalogue: what is known of the paper's 16 data sets and of the other two-dimensional MedMNIST sets.

A new data set is a row in `medmnist_sets.py` or `other_sets.py`; a new collection that images come from is a row in
`collections.py`. `docs/reference/data-sets.md` is made from them by `page`.
"""

from __future__ import annotations

from collections.abc import Mapping

from medmamba.data.catalogue.collections import COLLECTIONS, recognise, recognise_all
from medmamba.data.catalogue.medmnist_sets import MEDMNIST_ROWS, RECORD, SIZES
from medmamba.data.catalogue.other_sets import OTHER_ROWS
from medmamba.data.catalogue.row import Row

__all__ = ["CATALOGUE", "COLLECTIONS", "MEDMNIST", "RECORD", "SIZES", "Row", "recognise", "recognise_all"]

MEDMNIST: Mapping[str, Row] = {row.name: row for row in MEDMNIST_ROWS}
CATALOGUE: Mapping[str, Row] = {row.name: row for row in (*OTHER_ROWS, *MEDMNIST_ROWS)}
