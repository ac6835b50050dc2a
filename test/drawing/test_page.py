"""HTML pages: texts stay texts, nothing is loaded, what is missing is an error."""

import needs

needs.opencv()

import base64

import cv2
import jinja2
import numpy as np
import pytest
from html_page import HOSTILE, Page

from cs3_ros.drawing.overlay import OBJECT_COLOURS
from cs3_ros.drawing.page import as_data_uri, render

TEMPLATE = """{% extends 'base.html' %}
{% from 'parts.html' import figures, object_patches, patch, table %}
{% block title %}Of {{ text }}{% endblock %}
{% block body %}
{{ table([text, 'b'], [[1, text], ['c', 'd']]) }}
{{ figures([(text, picture)]) }}
<p>{{ patch((1, 2, 3), text) }} {{ object_patches() }}</p>
{% endblock %}
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Name of a package with ``TEMPLATE`` as page.html."""
    folder = tmp_path / 'package_with_a_page'
    folder.mkdir()
    (folder / '__init__.py').touch()
    (folder / 'page.html').write_text(TEMPLATE)
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


@pytest.fixture
def page(package):
    picture = np.full((8, 8, 3), 77, np.uint8)
    return Page(render(package, 'page.html', text=HOSTILE, picture=picture))


def test_a_hostile_text_stays_a_text_wherever_it_stands(page):
    page.check_that_nothing_is_loaded()
    # title twice, head and cell, caption, square; the caption stands beside the picture, too
    assert page.text.count(HOSTILE) == 6
    assert [image['alt'] for image in page.of('img')] == [HOSTILE]


def test_tables_have_their_lines(page):
    assert len(page.of('th')) == 2 and len(page.of('td')) == 4 and len(page.of('tr')) == 3
    assert page.text.count('1' + HOSTILE) == 1


def test_squares_have_their_colours(page):
    colours = ((1, 2, 3), *OBJECT_COLOURS)
    squares = [{'class': 'patch', 'style': f'background:rgb{colour}'} for colour in colours]
    assert page.of('span') == squares
    assert 'object 1 object 2' in page.text


def test_pictures_are_inside(page):
    data = base64.b64decode(page.of('img')[0]['src'].removeprefix('data:image/jpeg;base64,'))
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(found.astype(int), np.full((8, 8, 3), 77), atol=2)
    assert as_data_uri(data) == page.of('img')[0]['src'], 'a JPEG is taken as it is'


def test_a_missing_value_is_an_error(package):
    with pytest.raises(jinja2.UndefinedError, match='text'):
        render(package, 'page.html', picture=b'')


def test_a_missing_template_is_an_error(package):
    with pytest.raises(jinja2.TemplateNotFound, match='other.html'):
        render(package, 'other.html')
