"""A page of HTML that needs nothing but itself: pictures inside, no script, no network."""

from __future__ import annotations

import base64
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; color: #1a1a1a; background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.3rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid #ccc; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
a { color: #0b5a94; display: inline-block; padding: .3rem 0; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff;
  white-space: normal; min-width: min(8rem, 35vw); max-width: min(20rem, 40vw); }
td.best { font-weight: 700; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption, .note { color: #555; font-size: .9rem; }
.pictures { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(31rem, 100%), 1fr)); }
.pictures figure { margin: 0; }
.pair { display: flex; flex-wrap: wrap; align-items: flex-start; gap: .3rem; }
.pair img { flex: 1 1 15rem; width: 15rem; min-width: 0; }
pre { overflow-x: auto; overflow-wrap: normal; background: #f5f5f5; padding: .8rem;
  font-size: .8rem; line-height: 1.35; }
summary { cursor: pointer; padding: .4rem 0; }
@media (max-width: 40rem) {
  body { padding: .7rem; }
  h1 { font-size: 1.35rem; }
  .chart img { max-width: none; width: calc(.8 * var(--width)); }
}
@media print { details > pre { display: none; } }
"""


def document(title: str, sections: Sequence[tuple[str, str, str]], intro: str) -> str:
    """The whole page.

    Args:
        title: plain text.
        sections: an id, a heading in plain text, and HTML.
        intro: HTML under the title.
    """
    links = ''.join(f'<a href="#{key}">{escape(heading)}</a>' for key, heading, _ in sections)
    body = ''.join(
        f'<section id="{key}"><h2>{escape(heading)}</h2>{content}</section>\n'
        for key, heading, content in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>'
        f'<h1>{escape(title)}</h1>{intro}<nav>{links}</nav>\n{body}</body></html>\n'
    )


def note(text: str) -> str:
    """A line of plain text in grey."""
    return f'<p class="note">{escape(text)}</p>'


def chart(png: bytes, alt: str) -> str:
    """A figure with axes: on a phone it keeps a readable size and scrolls sideways."""
    width = int.from_bytes(png[16:20], 'big')  # where a PNG has it
    return f'<div class="scroll chart" style="--width:{width}px">{picture(png, "png", alt)}</div>'


def picture(content: bytes, kind: str, alt: str, caption: str = '') -> str:
    """An image inside the page.

    Args:
        content: the file.
        kind: 'png' or 'jpeg'.
        alt, caption: plain text.
    """
    return f'<figure>{_image(content, kind, alt)}{_caption(caption)}</figure>'


def pair(jpegs: Sequence[bytes], alts: Sequence[str], caption: str) -> str:
    """Two images of one thing: side by side, or one under the other where it is narrow."""
    images = ''.join(_image(content, 'jpeg', alt) for content, alt in zip(jpegs, alts))
    return f'<figure><div class="pair">{images}</div>{_caption(caption)}</figure>'


def _image(content: bytes, kind: str, alt: str) -> str:
    data = base64.b64encode(content).decode('ascii')
    return f'<img src="data:image/{kind};base64,{data}" alt="{escape(alt)}">'


def _caption(text: str) -> str:
    return f'<figcaption>{escape(text)}</figcaption>' if text else ''


def pictures(figures: Iterable[str]) -> str:
    """Figures side by side, as many as there is room for."""
    return f'<div class="pictures">{"".join(figures)}</div>'


def folded(summary: str, text: str) -> str:
    """Plain text that opens on a click."""
    return f'<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>'


def table(
    corner: str,
    rows: Mapping[str, Mapping[str, float]],
    columns: Sequence[str],
    lower_is_better: Sequence[str] = (),
    *,
    mark_best: bool | Collection[str] = True,
    digits: int = 3,
) -> str:
    """Numbers; the best of each column, or of those named, is bold where there are several rows.

    >>> 'class="best">0.500' in table('run', {'a': {'AP': 0.5}, 'b': {'AP': 0.25}}, ['AP'])
    True
    """
    best = {}
    marked = (columns if mark_best else ()) if isinstance(mark_best, bool) else mark_best
    for column in marked if len(rows) > 1 else ():
        values = [row[column] for row in rows.values() if math.isfinite(row[column])]
        if values:
            best[column] = (min if column in lower_is_better else max)(values)
    head = ''.join(f'<th>{escape(column)}</th>' for column in (corner, *columns))
    lines = []
    for name, row in rows.items():
        cells = ''.join(_cell(row[column], best.get(column), digits) for column in columns)
        lines.append(f'<tr><td>{escape(name)}</td>{cells}</tr>')
    body = ''.join(lines)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: float, best: float | None, digits: int) -> str:
    text = f'{value:.{digits}f}' if math.isfinite(value) else '–'
    mark = ' class="best"' if value == best else ''
    return f'<td{mark}>{text}</td>'
