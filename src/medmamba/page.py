"""What all pages of HTML have in common: one style, names made safe, small pictures in them. No script, no request."""

from __future__ import annotations

import base64
import html
import io

import numpy as np
from PIL import Image

HEIGHT = 120  # of a picture, pixels

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
@media print { body { max-width: none; margin: 0; font-size: 10pt; } .scroll { overflow: visible; }
  figure, svg, tr, .keep { break-inside: avoid; } h2, summary { break-after: avoid; } }
"""


def document(title: str, body: str, *, style: str = "") -> str:
    """A whole page; title and body are HTML already, `style` comes after what all pages share."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{STYLE}{style}</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


def text(words: str) -> str:
    """Safe in HTML, whatever a file is called."""
    return html.escape("".join(letter if letter.isprintable() else "\ufffd" for letter in words))


def thumbnail(pixels: np.ndarray, height: int = HEIGHT) -> np.ndarray:
    """A picture at this height and no wider than twice as much: uint8, (h, w) or (h, w, 3)."""
    image = Image.fromarray(pixels)
    width = min(2 * height, max(1, round(image.width * height / image.height)))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def jpeg_address(pixels: np.ndarray) -> str:
    """A picture as a data address: uint8, (h, w) or (h, w, 3)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
