"""A report as a reader of HTML takes it: tags with their attributes, and the text between them."""

from __future__ import annotations

from html.parser import HTMLParser

HOSTILE = """<script>alert("1")</script>'"><img src=x onerror=alert(2)>&amp;{{ 7 * 7 }}"""
"""A text that is no text where it is not escaped, or escaped twice, or taken for a template."""

_VOID = {'meta', 'img', 'br', 'link', 'input'}


class Page(HTMLParser):
    """Raises AssertionError where tags are not closed in their order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open

    @property
    def text(self) -> str:
        """All texts, with single spaces where the source has a run of white space."""
        return ' '.join(''.join(self.texts).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]

    def check_that_nothing_is_loaded(self) -> None:
        """Neither by a tag nor by an attribute, and the policy forbids what this does not know."""
        for tag, attributes in self.tags:
            assert tag not in {'script', 'link', 'iframe', 'object', 'embed', 'base', 'form'}, tag
            for name, value in attributes.items():
                assert not name.startswith('on') and name not in {'href', 'srcset', 'action'}, name
                assert name != 'src' or (value or '').startswith('data:image/jpeg;base64,')
                assert '://' not in (value or '') and 'url(' not in (value or '')
        assert '@import' not in self.text and 'url(' not in self.text
        (policy,) = [a for a in self.of('meta') if a.get('http-equiv') == 'Content-Security-Policy']
        rules = [rule.strip() for rule in (policy['content'] or '').split(';')]
        assert rules == ["default-src 'none'", 'img-src data:', "style-src 'unsafe-inline'"]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
