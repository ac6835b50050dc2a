"""The site has every page and every room, and its links lead somewhere; ``make docs`` builds it."""

from __future__ import annotations

import posixpath
import runpy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from documents import ROOT

SITE = runpy.run_path(str(ROOT / 'tools' / 'docs_site.py'))
PAGES: dict[str, str] = SITE['pages']()
REFERENCES: dict[str, str] = SITE['references']()


def in_navigation(entry: Any) -> Iterator[str]:
    """The pages of an entry of the navigation."""
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from in_navigation(part)


def test_every_page_and_every_room_is_in_the_navigation() -> None:
    config = yaml.safe_load((ROOT / 'mkdocs.yml').read_text('utf-8'))
    shown = list(in_navigation(config['nav']))
    assert len(set(shown)) == len(shown)
    assert set(shown) == PAGES.keys() | REFERENCES.keys()
    assert {'architecture.md', 'python.md', 'api/trigger.md', 'api/training_nano.md'} <= set(shown)


@pytest.mark.parametrize('page', sorted(PAGES))
def test_links_of_a_page_lead_to_places_on_the_site(page: str) -> None:
    source = PAGES[page]
    text = (ROOT / source).read_text('utf-8')
    links = SITE['LINK'].findall(SITE['led'](text, page, source))
    assert len(links) == len(SITE['LINK'].findall(text))
    for link in links:
        place = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
        assert (
            place in PAGES
            or place in REFERENCES
            or (ROOT / 'docs' / place).is_file()
            or (ROOT / place.removeprefix('repository/')).is_file()
        ), link


@pytest.mark.parametrize(
    ('page', 'source', 'link', 'expected'),
    [
        ('index.md', 'README.md', 'docs/bundles.md#nano', 'bundles.md#nano'),
        ('index.md', 'README.md', 'docs/demo.jpg', 'demo.jpg'),
        ('topics.md', 'docs/topics.md', '../config/cs3.yaml', 'repository/config/cs3.yaml'),
        ('bundles.md', 'docs/bundles.md', '../training/README.md#set-up', 'training.md#set-up'),
        ('bundles.md', 'docs/bundles.md', '../cs3_ros/bundles', 'api/bundles.md'),
        ('training.md', 'training/README.md', '../docs/bundles.md', 'bundles.md'),
        ('training.md', 'training/README.md', '#evaluation', '#evaluation'),
        ('python.md', 'docs/python.md', 'https://a.b/c.md', 'https://a.b/c.md'),
    ],
)
def test_a_link_is_led(page: str, source: str, link: str, expected: str) -> None:
    assert SITE['led'](f'see [it]({link}).', page, source) == f'see [it]({expected}).'


def test_a_reference_names_the_modules_of_its_room() -> None:
    text = SITE['reference']('cs3_ros/trigger')
    assert text.startswith('# cs3_ros.trigger\n') and '::: cs3_ros.trigger.onset' in text
    assert '::: cs3_training.localiser.train' in SITE['reference'](
        'training/cs3_training/localiser'
    )
