"""What people draw is kept whole, whenever the work ends, and the server answers its page alone."""

from __future__ import annotations

import needs

needs.annotate()

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from tiny_media import impulses, write_media

from cs3_ros.collision import NS_PER_S
from cs3_ros.maskers.grabcut import GrabCutMasker
from cs3_training.cli import main
from cs3_training.curate import work as work_module
from cs3_training.curate.drawing import Drawing, DrawnObject, Stroke, as_data, painted, read_drawing
from cs3_training.curate.server import TOKEN_HEADER, listen, make_app
from cs3_training.curate.work import Work
from cs3_training.data.manifest import read_manifest
from cs3_training.data.records import Segment

TOKEN = 'a-token'
BOX = DrawnObject((5.0, 5.0, 40.0, 40.0), ((20.0, 20.0),), ((60.0, 5.0),))
PAINT = DrawnObject(strokes=(Stroke(True, 4.0, ((50.0, 30.0), (55.0, 30.0))),))


@pytest.fixture(scope='module')
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('videos') / 'v.mkv'
    return write_media(path, frames=30, sound=impulses(1.0, 48_000, [0.5]))


@pytest.fixture
def make_work(video: Path, tmp_path: Path) -> Any:
    def make(masker: Any = GrabCutMasker()) -> Work:
        spans = [(0.2, 0.8), (0.4, 0.9)]
        segments = [
            Segment(f'v_{k}', 'own', 'v', round(start * NS_PER_S), round(stop * NS_PER_S), 'x', 0.5)
            for k, (start, stop) in enumerate(spans)
        ]
        gone = replace(segments[0], id='gone_0', video='gone')
        return Work([*segments, gone], {'v': video}, tmp_path, masker)

    return make


def names(folder: Path) -> list[str]:
    """What the manifest names, all of it there."""
    path = folder / 'manifest.jsonl'
    frames = read_manifest(path) if path.read_text() else []
    for frame in frames:
        assert all(mask.any() for mask in frame.load_masks())
    return [frame.id for frame in frames]


def test_a_new_candidate_is_seen_at_its_loudest_sample(make_work: Any) -> None:
    work = make_work()
    drawing = work.drawing(0)
    assert drawing.onset_ns == pytest.approx(0.5 * NS_PER_S, abs=1e5)
    assert drawing.frame_ns == pytest.approx(0.5 * NS_PER_S, abs=1e6)
    stamps = [frame.stamp_ns for frame in work.clip(0).frames]
    assert len(stamps) == 19 and stamps == sorted(stamps)
    assert work.clip(0).peaks(6).argmax() == 3
    with pytest.raises(FileNotFoundError, match='gone'):
        work.drawing(2)


def test_a_large_stretch_is_held_more_sparsely(
    make_work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('cs3_training.curate.clip.MOST_BYTES', 24 * 64 * 48 * 3 // 2)
    stamps = [frame.stamp_ns for frame in make_work().clip(0).frames]
    assert 4 <= len(stamps) <= 12 and np.ptp(stamps) >= 0.4 * NS_PER_S
    assert np.ptp(np.diff(stamps)) < 0.002 * NS_PER_S


def test_what_is_done_is_in_the_manifest(make_work: Any, tmp_path: Path) -> None:
    work = make_work()
    drawing = replace(work.drawing(1), objects=(BOX, PAINT), verdict='done')
    masks = work.save(1, drawing)
    again = make_work()
    assert again.verdicts == ['open', 'done', 'open'] and again.drawing(1) == drawing
    (frame,) = read_manifest(tmp_path / 'manifest.jsonl')
    assert (frame.id, frame.group, frame.frame_ns) == ('v_1', 'v', drawing.frame_ns)
    np.testing.assert_array_equal(frame.load_masks(), masks)
    again.save(1, replace(drawing, verdict='skipped'))
    assert names(tmp_path) == [] and not list((tmp_path / 'masks').iterdir())
    for objects, said in (((), 'no object'), ((DrawnObject(),), 'object \\[1\\]')):
        with pytest.raises(ValueError, match=said):
            again.save(0, replace(again.drawing(0), objects=objects, verdict='done'))
    with pytest.raises(ValueError, match='frame_ns'):
        again.save(0, replace(again.drawing(0), frame_ns=7))


def test_an_end_at_any_write_leaves_a_manifest_that_holds(
    make_work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 0

    def counted(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError('the disk is full')
            return function(*arguments)

        return call

    for name in ('replacing', 'write_json', 'write_manifest'):
        monkeypatch.setattr(work_module, name, counted(getattr(work_module, name)))
    reached = set()
    for allowed in range(1, 25):
        left = 1000
        work = make_work()
        work.save(0, replace(work.drawing(0), objects=(BOX,), verdict='open'))
        left = allowed
        drawing = replace(work.drawing(0), objects=(BOX, PAINT), verdict='done')
        try:
            work.save(0, drawing)
            work.save(0, replace(drawing, objects=(PAINT,)))
            work.save(0, replace(drawing, verdict='open'))
            finished = True
        except OSError:
            finished = False
        left = 1000
        named = names(tmp_path)
        # what was done but for its line gets that
        assert (make_work().verdicts[0] == 'done') == (names(tmp_path) == ['v_0'])
        assert set(named) <= set(names(tmp_path))
        reached.add((finished, bool(named)))
    assert reached == {(False, False), (False, True), (True, False)}


def test_a_masker_with_networks_takes_points_beside_the_box(make_work: Any) -> None:
    from cs3_ros.bundles.bundle import load_bundle
    from cs3_ros.runtime import RuntimeConfig

    masker = load_bundle('nano').build_masker(RuntimeConfig('cpu'), points_in_box=True)
    work = make_work(masker)
    drawing = replace(work.drawing(0), objects=(replace(BOX, include=(), exclude=()), BOX))
    alone, corrected = work.save(0, drawing)
    assert alone.shape == corrected.shape == (48, 64) and alone.any()
    assert not np.array_equal(alone, corrected)


def test_a_damaged_drawing_is_told(make_work: Any, tmp_path: Path) -> None:
    make_work()
    (tmp_path / 'drawings' / 'v_0.json').write_text('{"onset_ns": 3}')
    with pytest.raises(ValueError, match='v_0.json.*missing'):
        make_work()


def good() -> dict[str, Any]:
    return json.loads(json.dumps(as_data(Drawing(5, 7, (BOX, PAINT)))))


def test_a_drawing_survives_json() -> None:
    assert read_drawing(good()) == Drawing(5, 7, (BOX, PAINT))


@pytest.mark.parametrize(
    ('place', 'value'),
    [
        ('onset_ns', -1), ('frame_ns', 1.5), ('frame_ns', 1 << 70), ('verdict', 'perhaps'),
        ('objects', 3), ('objects', [0, 0, 0]), ('objects.0', 'a'), ('objects.0.box', [1, 2, 3]),
        ('objects.0.box', [9, 9, 1, 1]), ('objects.0.box', [0, 0, 1, float('nan')]),
        ('objects.0.include', [[1]]), ('objects.0.include', [[1, 1e9]]),
        ('objects.0.include', 'ab'), ('objects.0.exclude', [[1, 1]] * 1000),
        ('objects.1.strokes.0.add', 1), ('objects.1.strokes.0.radius', 0),
        ('objects.1.strokes.0.points', []), ('objects.1.strokes.0.points', [[0, '1']]),
        ('objects.1.strokes', [{}] * 3000),
    ],
)  # fmt: skip
def test_bad_drawings_are_refused(place: str, value: Any) -> None:
    data: Any = good()
    *way, last = place.split('.')
    inner = data
    for step in way:
        inner = inner[int(step) if step.isdecimal() else step]
    inner[int(last) if last.isdecimal() else last] = value
    with pytest.raises(ValueError, match=f'^{place.split(".")[0]}'):
        read_drawing(data)


def test_the_brush_adds_and_takes_away() -> None:
    empty = np.zeros((50, 80), bool)
    line = ((20.0, 25.0), (60.0, 25.0))
    thick = painted(empty, (Stroke(True, 10.0, line),))
    assert thick.sum() == pytest.approx(40 * 20 + np.pi * 100, rel=0.08)
    hole = painted(thick, (Stroke(False, 5.0, ((40.0, 25.0),)),))
    assert not hole[25, 40] and hole[25, 20] and not (hole & ~thick).any()
    assert painted(hole, (Stroke(True, 8.0, ((40.0, 25.0),)),))[25, 40]
    assert not painted(empty, (Stroke(True, 3.0, ((-500.0, 9e4),)),)).any()


# ---- the server --------------------------------------------------------------------------------


@contextmanager
def served(work: Work) -> Iterator[int]:
    """The port of a server in a thread."""
    with listen(0) as opened:
        port = opened.getsockname()[1]
        app = make_app(work, 'lite: grabcut', TOKEN, port)
        server = uvicorn.Server(uvicorn.Config(app, log_level='critical', lifespan='off'))
        thread = threading.Thread(target=server.run, kwargs={'sockets': [opened]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield port
        finally:
            server.should_exit = True
            thread.join()


def ask(port: int, path: str, method: str = 'GET', body: Any = None, **headers: str | None) -> Any:
    """Status, headers and body of one request; headers that are None are left out."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
    sent = {'Host': f'127.0.0.1:{port}', TOKEN_HEADER: TOKEN}
    sent |= {name.replace('_', '-'): text for name, text in headers.items()}  # type: ignore[misc]
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.putrequest(method, path, skip_host=True)
    for name, text in sent.items():
        if text is not None:
            connection.putheader(name, text)
    if data is not None:
        connection.putheader('Content-Length', str(len(data)))
    connection.endheaders(data)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


PATHS = ('/api/items', '/api/items/0', '/api/items/0/frames/0', '/api/items/0/sound')
FILES = ('/', '/page.js', '/page.css')


def test_only_the_page_of_this_run_is_answered(make_work: Any) -> None:
    work = make_work()
    with served(work) as port:
        for path in PATHS:
            assert ask(port, path)[0] == 200
            for headers in (
                {TOKEN_HEADER: None}, {TOKEN_HEADER: 'b-token'}, {TOKEN_HEADER: ''},
                {'Host': 'evil.example'}, {'Host': f'evil.example:{port}'}, {'Host': None},
                {'Host': f'127.0.0.1:{port + 1}'}, {'Origin': 'http://evil.example'},
                {'Origin': 'null'}, {'Origin': f'https://127.0.0.1:{port}'},
            ):  # fmt: skip
                status, _, data = ask(port, path, **headers)
                # without a Host the request is none of HTTP/1.1
                assert status == (400 if headers == {'Host': None} else 403), headers
                assert b'frames' not in data and len(data) < 100
            assert ask(port, f'{path}?token={TOKEN}', **{TOKEN_HEADER: None})[0] == 403
        assert ask(port, '/api/items', Host=f'localhost:{port}')[0] == 200
        for path in FILES:
            assert ask(port, path)[0] == 403  # a browser sends no such header for a page
            assert ask(port, f'{path}?token=b')[0] == 403
            status, headers, data = ask(port, f'{path}?token={TOKEN}', **{TOKEN_HEADER: None})
            assert status == 200 and b'@TOKEN@' not in data
            assert "default-src 'none'" in headers['content-security-policy']
            assert headers['cache-control'] == 'no-store'
        for path in ('/work.py', '/..%2fwork.py', '/__init__.py'):
            assert ask(port, f'{path}?token={TOKEN}')[0] == 404
        body = as_data(work.drawing(0))
        assert ask(port, '/api/items/0', 'PUT', body, Origin='http://evil.example')[0] == 403
        assert not (work.folder / 'drawings' / 'v_0.json').exists()
        assert ask(port, '/api/items/0', 'PUT', body)[0] == 200
        assert (work.folder / 'drawings' / 'v_0.json').exists()


def test_bad_requests_get_one_line(make_work: Any) -> None:
    work = make_work()
    with served(work) as port:
        for path in ('/api/items/9', '/api/items/0/frames/99', '/api/nothing'):
            assert ask(port, path)[0] == 404
        status, _, data = ask(port, '/api/items/2')
        assert status == 400 and 'gone: no such video' in json.loads(data)['error']
        for body in (b'{', b'\xff', {'objects': 1}, b'[' * 5000, b' ' * (17 << 20)):
            try:
                status, _, data = ask(port, '/api/items/0', 'PUT', body)
            except (BrokenPipeError, ConnectionResetError):  # it did not wait for all of it
                continue
            assert status == 400 and json.loads(data)['error']
        assert ask(port, '/api/items/0', 'POST', {})[0] == 405
        assert ask(port, '/api/items')[0] == 200


def test_the_command_tells_what_is_wrong(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from annotating import write_candidates

    table = write_candidates(tmp_path / 'c.csv', [('v', 0.2, 0.8, 0.5)])
    words = ['annotate', '--candidates', str(table), '--out', str(tmp_path / 'out'), '--videos']
    (tmp_path / 'empty').mkdir()
    assert main([*words, str(tmp_path / 'empty')]) == 1
    assert 'none of the videos' in capsys.readouterr().err
    assert main([*words, str(video.parent), '--port', '99999']) == 1
    assert '--port 99999' in capsys.readouterr().err
    with listen(0) as taken:
        port = str(taken.getsockname()[1])
        assert main([*words, str(video.parent), '--port', port]) == 1
    assert 'another one' in capsys.readouterr().err
    table.write_text(table.read_text().replace('v_0.20', '../v_0.20'))
    assert main([*words, str(video.parent)]) == 1
    assert 'annotation_id' in capsys.readouterr().err
