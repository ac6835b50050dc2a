"""HTML pages: texts stay texts, nothing is loaded."""

import base64

import cv2
import numpy as np

from cs3_ros.drawing.page import as_data_uri, figure, page, patch, table


def test_texts_are_escaped():
    assert '<td>a &lt;b&gt; &amp; c</td>' in table(['x'], [['a <b> & c']])
    assert '<td><b>c</b></td>' in table(['x'], [['<b>c</b>']], raw=True)
    assert '<th>&lt;x&gt;</th>' in table(['<x>'], [], raw=True)
    assert '<title>&lt;t&gt;</title>' in page('<t>', '')
    assert '&lt;p&gt;' in patch((1, 2, 3), '<p>') and 'rgb(1, 2, 3)' in patch((1, 2, 3), '')
    drawn = figure(np.zeros((2, 2, 3), np.uint8), '"q" <i>')
    assert 'alt="&quot;q&quot; &lt;i&gt;"' in drawn and '<i>' not in drawn


def test_pictures_are_inside():
    image = np.full((8, 8, 3), 77, np.uint8)
    uri = as_data_uri(image)
    data = base64.b64decode(uri.removeprefix('data:image/jpeg;base64,'))
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (8, 8, 3)
    assert as_data_uri(data) == uri


def test_nothing_may_be_loaded():
    assert "default-src 'none'; img-src data:" in page('x', '<p>y</p>')
