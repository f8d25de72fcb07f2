"""The verb that looks at the promises of a run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tyro.conf import Positional

from medmamba.cli.console import print_table


@dataclass(frozen=True)
class Verify:
    """Check a trained model, a backbone or an exported file: files, numbers, answers, record. Nothing is written.

    A line a check: passed, failed, or not possible and why. Exit code 1 if one failed.
    """

    model: Positional[Path]
    """Folder that train, pretrain, ensemble or import wrote, or a .onnx or .pt2 file of export."""
    data: str | None = None
    """What it was trained on, to be compared with the record: classes, fingerprint, counts."""
    group_column: str | None = None
    """Column of the table that names the patient, as in training."""
    label_columns: tuple[str, ...] = ()
    """Columns of 0 and 1 in the table, as in training."""
    allow: tuple[str, ...] = ()
    """Faults of the data that were allowed in training, by name; see docs/how-to/check.md."""
    json: bool = False
    """Print JSON instead of lines."""

    def run(self) -> int:
        from medmamba.verification import Outcome, verify

        checks = verify(
            self.model,
            self.data,
            group_column=self.group_column,
            label_columns=self.label_columns,
            allow=self.allow,
        )
        if self.json:
            print(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False))
        else:
            print_table([(check.name, str(check.outcome), check.words) for check in checks], header=False)
        return 1 if any(check.outcome is Outcome.FAILED for check in checks) else 0
