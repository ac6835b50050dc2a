"""The bundle small: fetched whole, checked, and run with GrabCut where its masker is absent."""

from __future__ import annotations

import argparse
import dataclasses

import needs
import pytest
from file_server import serving
from test_fetch import names, sha256

from cs3_ros.bundles import bundle as bundle_module
from cs3_ros.bundles import fetch as fetch_module
from cs3_ros.bundles import inventory
from cs3_ros.bundles.bundle import BundleError, load_bundle
from cs3_ros.bundles.watched_http import FetchError
from cs3_ros.bundles.weights import SUMS, recorded_digests

YOLOX, EDGETAM = 'yolox/yolox_nano.onnx', 'edgetam/model.safetensors'
TENSORS = (2).to_bytes(8, 'little') + b'{}'
"""A safetensors file of nothing."""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('CS3_HOME', str(tmp_path / 'home'))
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / 'home'


@pytest.fixture
def everything_installed(monkeypatch):
    monkeypatch.setattr(bundle_module, 'is_installed', lambda name: True)


def options(mirror: str) -> argparse.Namespace:
    return argparse.Namespace(bundle='small', mirror=mirror, from_dir=None)


def put(home, path, content=b'there'):
    (home / path).parent.mkdir(parents=True, exist_ok=True)
    (home / path).write_bytes(content)


def test_it_lists_permissive_weights_of_official_sources():
    bundle = load_bundle('small', as_written=True)
    assert {file.path for file in bundle.weights} == {YOLOX, EDGETAM, 'edgetam/config.json'}
    assert {file.licence for file in bundle.weights} == {'Apache-2.0'}
    (detector,) = (file for file in bundle.weights if file.path == YOLOX)
    assert detector.url == (
        'https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/yolox_nano.onnx'
    )
    assert detector.sha256 and detector.bytes == 3_659_407


def test_one_fetch_brings_all_and_refuses_a_file_of_a_wrong_digest(home, monkeypatch):
    with serving() as server:
        server.files = {
            f'/{YOLOX}': bytes(3_659_407),  # of the right size
            f'/{EDGETAM}': TENSORS,
            '/edgetam/config.json': b'{}',
        }
        with pytest.raises(FetchError, match='got SHA-256 .* expected c789161ed43c') as refused:
            fetch_module.main(options(server.url))
        assert YOLOX in str(refused.value) and EDGETAM not in str(refused.value)
        assert names(home) == {EDGETAM, 'edgetam/config.json', SUMS}
        assert recorded_digests()[EDGETAM] == sha256(TENSORS)
        bundle = load_bundle('small', as_written=True)
        right = tuple(
            dataclasses.replace(file, sha256=sha256(bytes(3_659_407)) if file.sha256 else '')
            for file in bundle.weights
        )
        mended = dataclasses.replace(bundle, weights=right)
        monkeypatch.setattr(fetch_module, 'load_bundle', lambda *a, **k: mended)
        assert fetch_module.main(options(server.url)) == 0
        assert names(home) == {YOLOX, EDGETAM, 'edgetam/config.json', SUMS}


def test_one_fetch_refuses_a_page_in_place_of_weights(home):
    with serving() as server:
        server.files = {f'/{EDGETAM}': b'<html>log in</html>', '/edgetam/config.json': b'nothing'}
        with pytest.raises(FetchError) as refused:
            fetch_module.main(options(server.url))
    told = str(refused.value)
    assert 'it is a page of HTML' in told and 'it is no JSON' in told and YOLOX in told
    assert names(home) <= {SUMS}


def test_without_its_masker_it_runs_with_grabcut_and_says_so(home, everything_installed):
    put(home, YOLOX)
    bundle = load_bundle('small')
    assert bundle.stages['masker'] == {'type': 'grabcut'} and not bundle.has_networks
    assert [file.path for file in bundle.weights] == [YOLOX] and not bundle.lacking_weights
    assert 'masker by grabcut instead of edgetam, as edgetam/' in bundle.warning
    assert '`cs3 fetch small` brings it' in bundle.warning
    put(home, EDGETAM)
    put(home, 'edgetam/config.json')
    whole = load_bundle('small')
    assert whole.stages['masker']['type'] == 'edgetam' and not whole.warning
    assert len(whole.weights) == 3


def test_without_the_packages_of_its_masker_it_says_what_brings_them(home, monkeypatch):
    for path in (YOLOX, EDGETAM, 'edgetam/config.json'):
        put(home, path)
    monkeypatch.setattr(bundle_module, 'is_installed', lambda name: name != 'timm')
    bundle = load_bundle('small')
    assert bundle.stages['masker']['type'] == 'grabcut'
    assert 'timm is not installed' in bundle.warning and 'pip install' in bundle.warning


def test_a_masker_that_is_there_but_broken_is_an_error(home, everything_installed):
    needs.networks()
    pytest.importorskip('timm', reason='no timm: docs/bundles.md')
    from cs3_ros.bundles.random_yolox import write_toy_yolox

    needs.hands()
    for path in (EDGETAM, 'edgetam/config.json'):
        put(home, path, b'{}')
    (home / 'yolox').mkdir()
    write_toy_yolox(home / YOLOX, seed=0)
    with pytest.raises(BundleError, match="bundle 'small', masker: "):
        load_bundle('small').build()


def test_without_the_detector_it_does_not_run(home, everything_installed):
    bundle = load_bundle('small')
    with pytest.raises(BundleError, match='lacks 1 of 1 files of weights, first yolox/yolox_nano'):
        bundle.build()
    row = inventory.look(bundle)
    assert not row.ready and 'cs3 fetch small' in row.steps


def test_it_builds_with_a_detector_and_runs(home):
    needs.hands()
    from cs3_ros.bench.events import random_event
    from cs3_ros.bundles.random_yolox import write_toy_yolox

    (home / 'yolox').mkdir(parents=True)
    write_toy_yolox(home / YOLOX, seed=0)
    collision = load_bundle('small').build()(random_event(0, 160, 96, 1.0))
    assert 'objects' in collision.timings_ms
    assert collision.heat_map is None and not collision.candidates  # one frame: nothing moves


@pytest.mark.parametrize(
    'fallback, told',
    [
        ('[grabcut]', 'fallback'),
        ('{hands: {type: mediapipe}, brain: {type: x}}', 'brain'),
        ('{masker: {type: scissors}}', 'scissors'),
        ('{masker: grabcut}', 'expected a type'),
    ],
)
def test_a_fallback_that_is_none_is_refused(tmp_path, fallback, told):
    path = tmp_path / 'mine.yaml'
    path.write_text(
        'name: mine\nclip: {}\nhands: {type: mediapipe}\nmasker: {type: grabcut}\n'
        f'fallback: {fallback}\n'
    )
    with pytest.raises(BundleError, match=told):
        load_bundle(str(path))
