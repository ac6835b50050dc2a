"""The frame of an HTML page that needs nothing beside it: every byte is in the file."""

from __future__ import annotations

from html import escape

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
