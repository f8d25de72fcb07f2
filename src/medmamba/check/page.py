"""The report as one page of HTML: no script, nothing from elsewhere, pictures of the offenders in it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from medmamba.check.findings import Finding
from medmamba.check.run import Report
from medmamba.check.scan import Scan
from medmamba.errors import InputError

HEIGHT = 120  # of a picture, pixels
GROUPS = 12  # of a finding, with pictures
IN_GROUP = 6  # pictures of a group
NAMES = 500  # listed of a finding; check.json has all

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bad: #b3261e; --good: #1a7f45; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin: 0; }
.verdict { font-size: 1.1rem; font-weight: 600; border-left: .35rem solid; padding: .3rem .8rem; margin: 1rem 0; }
.bad { border-color: var(--bad); } .good { border-color: var(--good); }
section { border: 1px solid var(--line); border-radius: .5rem; padding: .9rem 1.1rem; margin: 1rem 0; }
.tag { font-size: .8rem; font-weight: 600; border-radius: 1rem; padding: .1rem .6rem; background: var(--soft);
  margin-left: .5rem; }
.tag.wrong { background: var(--bad); color: #fff; }
p { margin: .4rem 0; } .advice, footer { opacity: .75; }
.groups { display: flex; flex-wrap: wrap; gap: .8rem; margin-top: .7rem; }
.group { display: flex; flex-wrap: wrap; gap: .4rem; background: var(--soft); border-radius: .4rem; padding: .4rem; }
figure { margin: 0; width: min-content; min-width: 120px; max-width: 14rem; }
figure img { height: 120px; max-width: 14rem; object-fit: contain; display: block; }
figcaption { font-size: .72rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; } details { margin-top: .6rem; } summary { cursor: pointer; }
li { overflow-wrap: anywhere; } footer { margin: 2rem 0; font-size: .85rem; }
"""


def page(report: Report) -> str:
    """The report in HTML."""
    name = _text(str(report.data["name"]))
    wrong = [finding for finding in report.findings if finding.wrong]
    kinds = len({finding.name for finding in wrong})
    verdict = "Nothing wrong was found." if not wrong else f"{kinds} kind{'s' * (kinds > 1)} of fault found."
    about = [f"{report.data['images']:,} images"]
    if "task" in report.data:
        about += [f"task {report.data['task']}", f"{len(report.data['classes'])} classes"]
    if made := report.data.get("splits made here"):
        about.append(f"{', '.join(made)} cut here, since no such split was given")
    sections = "\n".join(_section(finding, report) for finding in report.findings)
    notes = "".join(f"<li>{_text(note)}</li>" for note in report.data["notes"])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Check of {name}</title><style>{STYLE}</style></head><body>
<h1>Check of {name}</h1>
<p class="advice">{_text("; ".join(about))}</p>
<p class="verdict {"bad" if wrong else "good"}">{verdict}</p>
{sections}
{_table(report)}
{f"<section><h2>Notes</h2><ul>{notes}</ul></section>" if notes else ""}
<footer>Every figure and every name is in check.json. Research software, not a medical device.</footer>
</body></html>
"""


def _section(finding: Finding, report: Report) -> str:
    state = "wrong" if finding.wrong else "allowed" if finding.allowed else "note"
    shown = finding.groups[:GROUPS]
    pictures = "".join(
        f'<div class="group">{"".join(_figure(name, report) for name in group[:IN_GROUP])}</div>' for group in shown
    )
    return f"""<section><h2>{_text(finding.kind.title)}<span class="tag {state}">{state}</span></h2>
<p>{_text(finding.sentence)}.</p><p class="advice">{_text(finding.kind.advice)}</p>
{f'<div class="groups">{pictures}</div>' if pictures else ""}{_names(finding)}</section>"""


def _names(finding: Finding) -> str:
    """All images of a finding, with the reason of each where there is one."""
    groups = finding.groups
    if not groups:
        return ""
    reasons = finding.details.get("reasons")
    known = reasons if isinstance(reasons, dict) else {}
    lines = [known.get(group[0], ", ".join(group)) for group in groups[:NAMES]]  # a reason names its file
    rows = "".join(f"<li>{_text(line)}</li>" for line in lines)
    more = f"<li>and {len(groups) - NAMES} more, in check.json</li>" if len(groups) > NAMES else ""
    return f"<details><summary>All names</summary><ul>{rows}{more}</ul></details>"


def _figure(name: str, report: Report) -> str:
    """A picture with its name, split and class; without the picture where it cannot be read."""
    assert report.seen is not None
    data, seen = report.seen
    row = seen.row_of.get(name)
    if row is None:
        return f"<figure><figcaption>{_text(name)}</figcaption></figure>"
    split, target = str(seen.splits[row]), seen.targets[row]
    labels = [data.classes[label] for label in (np.flatnonzero(target) if target.ndim else [int(target)])]
    caption = f"{_text(name)}<br>{_text(split)}, {_text(', '.join(labels))}"
    picture = _picture(seen, row)
    return f'<figure><img alt="" src="{picture}"><figcaption>{caption}</figcaption></figure>'


def _picture(seen: Scan, row: int) -> str:
    """The image, small, as a data address."""
    try:
        image = Image.fromarray(seen.pixels(row))
    except (InputError, OSError):  # gone since it was looked at
        image = Image.new("L", (HEIGHT, HEIGHT))
    scale = HEIGHT / image.height
    image = image.resize((min(2 * HEIGHT, max(1, round(image.width * scale))), HEIGHT), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _table(report: Report) -> str:
    if not report.table:
        return ""

    def span(pair: Sequence[int]) -> str:
        return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]} to {pair[1]}"

    rows = "".join(
        f"<tr><td>{_text(row['split'])}</td><td>{_text(row['class'])}</td><td class=number>{row['images']:,}</td>"
        f"<td>{span(row['heights'])}</td><td>{span(row['widths'])}</td>"
        f"<td>{_text(', '.join(f'{kind} ({count})' for kind, count in row['kinds'].items()))}</td>"
        f"<td class=number>{row['brightness']:.0f} ± {row['brightness_sd']:.0f}</td></tr>"
        for row in report.table
    )
    columns = ("split", "class", "images", "height", "width", "kind (images)", "brightness")
    heads = "".join(f"<th{' class=number' * (c in ('images', 'brightness'))}>{c}</th>" for c in columns)
    return f"""<section><h2>What there is</h2>
<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>
<p class="advice">Sizes in pixels; brightness is the mean grey level of an image, 0 to 255, and its standard deviation
over images.</p></section>"""


def _text(words: str) -> str:
    """Safe in HTML, whatever a file is called."""
    return html.escape("".join(letter if letter.isprintable() else "\ufffd" for letter in words))
