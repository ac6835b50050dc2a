"""HTML pages that need nothing beside them: every byte is in the file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from cs3_ros.collision import Image
from cs3_ros.files.images import as_jpeg

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2em auto;
  padding: 0 1em; }
h2 { margin-top: 2em; border-bottom: 1px solid #ccc; }
h4 { margin: 0; }
p { max-width: 50em; }
.note { background: #fff4d6; border-left: 4px solid #e0a800; padding: .5em 1em; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { text-align: right; padding: .25em .8em; border-bottom: 1px solid #e4e4e4;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
small { color: #666; }
svg { vertical-align: middle; }
.scale { fill: #f0f0f0; } .bar { fill: #3d7dca; } .whisker { stroke: #111; fill: none; }
.wave { stroke: #9db2c4; stroke-width: 2; } .heard { stroke: #e07b00; stroke-width: 3; }
.known { stroke: #157a2e; stroke-width: 3; }
.good { color: #157a2e; } .bad { color: #b3261e; font-weight: bold; }
.row { display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: .6em; }
section { margin: 1.2em 0 2em; }
figure { margin: 0; } figure img { width: 100%; display: block; }
figcaption { color: #666; font-size: 13px; }
.patch { display: inline-block; width: 1em; height: 1em; margin: 0 .3em; vertical-align: -2px; }
"""

# Nothing may be loaded, not even where a text that was not escaped asked for it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, body: str) -> str:
    """A whole page.

    Args:
        title: plain text.
        body: HTML.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
</body>
</html>
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], raw: bool = False) -> str:
    """A table.

    Args:
        head: plain texts.
        rows: cells, HTML where they are raw, else plain texts.
        raw: whether the cells are HTML.
    """

    def cells(row: Sequence[str], tag: str, raw: bool) -> str:
        return ''.join(f'<{tag}>{cell if raw else escape(cell)}</{tag}>' for cell in row)

    body = ''.join(f'<tr>{cells(row, "td", raw)}</tr>' for row in rows)
    return f'<table><tr>{cells(head, "th", False)}</tr>{body}</table>'


def figure(image: Image | bytes, caption: str) -> str:
    """A picture, RGB uint8 [H, W, 3] or the bytes of a JPEG, with its caption in plain text."""
    return (
        f'<figure><img src="{as_data_uri(image)}" alt="{escape(caption)}">'
        f'<figcaption>{escape(caption)}</figcaption></figure>'
    )


def patch(colour: tuple[int, int, int], text: str) -> str:
    """A small square of this RGB colour and what it stands for in plain text."""
    return f'<span class="patch" style="background:rgb{colour}"></span>{escape(text)}'


def as_data_uri(image: Image | bytes) -> str:
    """A picture, RGB uint8 [H, W, 3] or the bytes of a JPEG, inside of a URI.

    Raises:
        ValueError: OpenCV could not encode it.
    """
    data = image if isinstance(image, bytes) else as_jpeg(image)
    return f'data:image/jpeg;base64,{base64.b64encode(data).decode()}'
