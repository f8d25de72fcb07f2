"""The report as one page of HTML: no script, nothing from elsewhere, pictures of the offenders in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medmamba.check.findings import Finding
from medmamba.check.run import Report
from medmamba.check.scan import Scan
from medmamba.errors import InputError
from medmamba.page import HEIGHT, document, jpeg_address, text, thumbnail

GROUPS = 12  # of a finding, with pictures
IN_GROUP = 6  # pictures of a group
NAMES = 500  # listed of a finding; check.json has all


def page(report: Report) -> str:
    """The report in HTML."""
    name = text(str(report.data["name"]))
    wrong = [finding for finding in report.findings if finding.wrong]
    kinds = len({finding.name for finding in wrong})
    verdict = "Nothing wrong was found." if not wrong else f"{kinds} kind{'s' * (kinds > 1)} of fault found."
    about = [f"{report.data['images']:,} images"]
    if "task" in report.data:
        about += [f"task {report.data['task']}", f"{len(report.data['classes'])} classes"]
    if made := report.data.get("splits made here"):
        about.append(f"{', '.join(made)} cut here, since no such split was given")
    sections = "\n".join(_section(finding, report) for finding in report.findings)
    notes = "".join(f"<li>{text(note)}</li>" for note in report.data["notes"])
    body = f"""<p class="advice">{text("; ".join(about))}</p>
<p class="verdict {"bad" if wrong else "good"}">{verdict}</p>
{sections}
{_table(report)}
{f"<section><h2>Notes</h2><ul>{notes}</ul></section>" if notes else ""}
<footer>Every figure and every name is in check.json. Research software, not a medical device.</footer>"""
    return document(f"Check of {name}", body)


def _section(finding: Finding, report: Report) -> str:
    state = "wrong" if finding.wrong else "allowed" if finding.allowed else "note"
    shown = finding.groups[:GROUPS]
    pictures = "".join(
        f'<div class="group">{"".join(_figure(name, report) for name in group[:IN_GROUP])}</div>' for group in shown
    )
    return f"""<section><h2>{text(finding.kind.title)}<span class="tag {state}">{state}</span></h2>
<p>{text(finding.sentence)}.</p><p class="advice">{text(finding.kind.advice)}</p>
{f'<div class="groups">{pictures}</div>' if pictures else ""}{_names(finding)}</section>"""


def _names(finding: Finding) -> str:
    """All images of a finding, with the reason of each where there is one."""
    groups = finding.groups
    if not groups:
        return ""
    reasons = finding.details.get("reasons")
    known = reasons if isinstance(reasons, dict) else {}
    lines = [known.get(group[0], ", ".join(group)) for group in groups[:NAMES]]  # a reason names its file
    rows = "".join(f"<li>{text(line)}</li>" for line in lines)
    more = f"<li>and {len(groups) - NAMES} more, in check.json</li>" if len(groups) > NAMES else ""
    return f"<details><summary>All names</summary><ul>{rows}{more}</ul></details>"


def _figure(name: str, report: Report) -> str:
    """A picture with its name, split and class; without the picture where it cannot be read."""
    assert report.seen is not None
    data, seen = report.seen
    row = seen.row_of.get(name)
    if row is None:
        return f"<figure><figcaption>{text(name)}</figcaption></figure>"
    split, target = str(seen.splits[row]), seen.targets[row]
    labels = [data.classes[label] for label in (np.flatnonzero(target) if target.ndim else [int(target)])]
    caption = f"{text(name)}<br>{text(split)}, {text(', '.join(labels))}"
    picture = _picture(seen, row)
    return f'<figure><img alt="" src="{picture}"><figcaption>{caption}</figcaption></figure>'


def _picture(seen: Scan, row: int) -> str:
    """The image, small, as a data address."""
    try:
        pixels = seen.pixels(row)
    except (InputError, OSError):  # gone since it was looked at
        pixels = np.zeros((HEIGHT, HEIGHT), np.uint8)
    return jpeg_address(thumbnail(pixels))


def _table(report: Report) -> str:
    if not report.table:
        return ""

    def span(pair: Sequence[int]) -> str:
        return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]} to {pair[1]}"

    rows = "".join(
        f"<tr><td>{text(row['split'])}</td><td>{text(row['class'])}</td><td class=number>{row['images']:,}</td>"
        f"<td>{span(row['heights'])}</td><td>{span(row['widths'])}</td>"
        f"<td>{text(', '.join(f'{kind} ({count})' for kind, count in row['kinds'].items()))}</td>"
        f"<td class=number>{row['brightness']:.0f} ± {row['brightness_sd']:.0f}</td></tr>"
        for row in report.table
    )
    columns = ("split", "class", "images", "height", "width", "kind (images)", "brightness")
    heads = "".join(f"<th{' class=number' * (c in ('images', 'brightness'))}>{c}</th>" for c in columns)
    return f"""<section><h2>What there is</h2>
<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>
<p class="advice">Sizes in pixels; brightness is the mean grey level of an image, 0 to 255, and its standard deviation
over images.</p></section>"""
