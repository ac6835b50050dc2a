"""What the doctor finds on good and on broken machines."""

from __future__ import annotations

import argparse
import builtins
import importlib.metadata
import json
import sys
from types import SimpleNamespace

import numpy
import pytest

from cs3_ros import doctor
from cs3_ros.bundles import bundle
from cs3_ros.bundles.bundle import BundleError
from cs3_ros.bundles.bundle import load_bundle as real_load_bundle
from cs3_ros.doctor import Finding, examine


@pytest.fixture
def machine(monkeypatch) -> dict[str, object]:
    """A healthy machine: what may be imported, and the topics seen.

    A value that is an exception is raised by the import.
    """
    modules: dict[str, object] = {
        name: SimpleNamespace(__version__='1.2') for name in ('cv2', 'av', 'rosbags', 'mediapipe')
    }
    modules['torch'] = ImportError("No module named 'torch'")
    modules['topics'] = SimpleNamespace(
        describe=lambda: 'jazzy, rmw_fastrtps_cpp, domain 0',
        observe=lambda seconds, *a: seen(),
    )
    real_import, real_module = builtins.__import__, doctor.importlib.import_module

    def found(name: str):
        if isinstance(modules[name], Exception):
            raise modules[name]
        return modules[name]

    def import_module(name: str, package=None):
        return found(name) if name in modules else real_module(name, package)

    def import_statement(name, globals=None, locals=None, fromlist=(), level=0):
        if name == 'cs3_ros.ros' and fromlist and 'topics' in fromlist:
            return SimpleNamespace(topics=found('topics'))
        if name in ('torch', 'mediapipe', 'cv2'):
            return found(name)
        return real_import(name, globals, locals, fromlist, level)

    monkeypatch.setattr(doctor.importlib, 'import_module', import_module)
    monkeypatch.setattr(builtins, '__import__', import_statement)
    monkeypatch.setattr(
        doctor, '_version', lambda name: {'opencv-contrib-python': '4.11'}.get(name)
    )
    monkeypatch.setattr(bundle, 'bundle_names', lambda: ['lite'])
    monkeypatch.setattr(
        bundle,
        'load_bundle',
        lambda name: SimpleNamespace(has_networks=False, build=lambda: None, warning=''),
    )
    return modules


def report(name: str, **changes) -> SimpleNamespace:
    values = dict(
        topic=name.removeprefix('/cs3/'),
        other_types=(),
        type='audio_common_msgs/msg/AudioDataStamped',
        optional=False,
        publishers=0,
        qos='reliable',
        latched=False,
        rate_hz=0.0,
        format='',
        problem='',
    )
    return SimpleNamespace(name=name, **values | changes)


def seen(**publishers: int) -> list[SimpleNamespace]:
    """All inputs of the node; a JPEG camera and a microphone unless told otherwise."""
    numbers = {'image/compressed': 1, 'image': 0, 'audio': 1, 'audio_info': 1} | publishers
    return [
        report(
            f'/cs3/{topic}',
            publishers=number,
            optional=topic != 'audio',
            rate_hz=50.0 * (number > 0),
        )
        for topic, number in numbers.items()
    ]


def findings(machine) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(0.1)}


def test_a_healthy_machine(machine):
    found = findings(machine)
    assert {f.level for f in found.values()} <= {'ok', 'note'}
    assert found['interpreter'].found.startswith('Python 3') and sys.executable in (
        found['interpreter'].found
    )
    assert found['numpy'].found == numpy.__version__ and found['cv2'].found == '1.2'
    assert found['bundle lite'].level == found['ros'].level == 'ok'
    assert found['topic /cs3/audio'].found.endswith('1 publisher(s), reliable, 50.0 Hz')
    assert found['torch'].level == 'note' and not found['torch'].advice


@pytest.mark.parametrize('name', ['cv2', 'av', 'rosbags', 'mediapipe'])
@pytest.mark.parametrize(
    'error', [ImportError('no module'), AttributeError('_ARRAY_API not found'), OSError('libGL.so')]
)
def test_a_package_that_is_missing_or_broken(machine, name, error):
    machine[name] = error
    found = findings(machine)[name]
    assert found.level == 'fail' and str(error) in found.found and 'install' in found.advice


def torch(cuda: str | None = None, gpu: bool = False) -> SimpleNamespace:
    """What the doctor asks torch for; ``cuda`` is the version that it was built for."""
    properties = SimpleNamespace(name='NVIDIA H100', total_memory=80 * 1024**3)
    return SimpleNamespace(
        __version__='2.6',
        version=SimpleNamespace(cuda=cuda),
        get_num_threads=lambda: 7,
        cuda=SimpleNamespace(
            is_available=lambda: gpu, get_device_properties=lambda device: properties
        ),
    )


def test_torch_and_the_gpu(machine):
    machine['torch'] = torch('12.4', gpu=True)
    found = findings(machine)
    assert found['torch'].found == '2.6, 7 CPU threads'
    assert found['gpu'].found == 'NVIDIA H100, 80.0 GiB, CUDA 12.4' and not found['gpu'].advice
    machine['torch'] = torch('12.4')
    found = findings(machine)['gpu']
    assert found.level == 'note' and 'CUDA build' not in found.advice
    machine['torch'] = torch()
    assert 'CUDA build of torch' in findings(machine)['gpu'].advice


def test_torch_that_is_broken(machine):
    machine['torch'] = OSError('libcudart.so.12: cannot open shared object file')
    found = findings(machine)
    assert found['torch'].level == 'fail' and 'libcudart' in found['torch'].found
    assert found['torch'].advice and 'gpu' not in found


def test_a_numpy_too_new(machine, monkeypatch):
    monkeypatch.setattr(numpy, '__version__', '2.1.0')
    assert 'numpy<2' in findings(machine)['numpy'].advice


def test_two_opencvs(machine, monkeypatch):
    monkeypatch.setattr(doctor, '_version', lambda name: '4.11')
    found = findings(machine)['opencv']
    assert found.level == 'fail' and 'exactly one' in found.advice
    assert 'opencv-python-headless 4.11' in found.found


def test_versions_come_from_the_metadata():
    assert doctor._version('numpy') == importlib.metadata.version('numpy')
    assert doctor._version('no-such-distribution') is None


@pytest.mark.parametrize('error', [BundleError('weights are missing'), RuntimeError('bad file')])
def test_a_bundle_that_cannot_be_built(machine, monkeypatch, error):
    def build():
        raise error

    monkeypatch.setattr(
        bundle, 'load_bundle', lambda name: SimpleNamespace(has_networks=False, build=build)
    )
    found = findings(machine)['bundle lite']
    assert (found.level, found.found) == ('fail', str(error)) and found.advice


def test_a_bundle_with_networks_is_looked_at_but_not_loaded(machine, monkeypatch, tmp_path):
    monkeypatch.setenv('CS3_HOME', str(tmp_path))
    monkeypatch.setattr(bundle, 'bundle_names', lambda: ['zero_shot'])
    monkeypatch.setattr(bundle, 'load_bundle', real_load_bundle)
    monkeypatch.setattr(bundle, 'find_spec', lambda name: name)
    found = findings(machine)['bundle zero_shot']
    assert found.level == 'note' and found.found.startswith('missing 11 of 11 files')
    assert found.advice == 'cs3 fetch zero_shot'
    for file in real_load_bundle('zero_shot').weights:
        (tmp_path / file.path).parent.mkdir(exist_ok=True)
        (tmp_path / file.path).write_bytes(b'nothing that could be loaded')
    found = findings(machine)['bundle zero_shot']
    assert (found.level, found.found, found.advice) == ('ok', 'all is there', '')
    monkeypatch.setattr(bundle, 'find_spec', lambda name: None if name == 'sam2' else name)
    found = findings(machine)['bundle zero_shot']
    assert (found.level, found.found) == ('note', 'not installed: sam2')
    assert '--no-build-isolation sam2' in found.advice


def test_what_a_bundle_warns_of_is_told(machine, monkeypatch):
    blind = SimpleNamespace(has_networks=False, build=lambda: None, warning='It is blind.')
    monkeypatch.setattr(bundle, 'load_bundle', lambda name: blind)
    found = findings(machine)['bundle lite']
    assert (found.level, found.found) == ('ok', 'loads. It is blind.')


def test_no_ros(machine):
    machine['topics'] = ImportError("No module named 'rclpy'")
    found = findings(machine)
    assert found['ros'].level == 'fail' and 'rclpy' in found['ros'].found
    assert 'setup.bash' in found['ros'].advice and 'make setup' in found['ros'].advice
    assert not any(name.startswith('topic') for name in found)


def test_ros_that_does_not_start(machine):
    def fail(seconds, *arguments):
        raise RuntimeError('failed to initialize rcl: rmw not found')

    machine['topics'].observe = fail
    found = findings(machine)['ros topics']
    assert found.level == 'fail' and 'rmw not found' in found.found and found.advice


@pytest.mark.parametrize(
    'changes, level, words',
    [
        (dict(publishers=0), 'warn', 'nobody publishes /t'),
        (dict(publishers=0, optional=True), 'note', 'nobody publishes /t'),
        (dict(publishers=1, rate_hz=0.0), 'warn', 'no message in 0.1 s'),
        (dict(publishers=1, rate_hz=0.0, latched=True), 'ok', ''),
        (dict(publishers=1, rate_hz=9.0, problem='mp3: format:=wave'), 'fail', 'format:=wave'),
        (dict(publishers=1, rate_hz=9.0), 'ok', ''),
    ],
)
def test_topics(machine, changes, level, words):
    machine['topics'].observe = lambda seconds, *a: [*seen(), report('/t', **changes)]
    found = findings(machine)['topic /t']
    assert found.level == level and words in found.advice and bool(words) == bool(found.advice)


def test_no_camera_is_one_warning(machine):
    machine['topics'].observe = lambda seconds, *a: seen(**{'image/compressed': 0})
    found = findings(machine)
    assert found['images'].level == 'warn' and 'camera' in found['images'].advice
    assert found['images'].found == 'nobody publishes /cs3/image/compressed and /cs3/image'
    assert [f.name for f in found.values() if f.level == 'warn'] == ['images']
    machine['topics'].observe = lambda seconds, *a: seen(**{'image/compressed': 0, 'image': 1})
    assert 'images' not in findings(machine)


def test_sound_that_nobody_tells_how_to_read(machine):
    machine['topics'].observe = lambda seconds, *a: seen(audio_info=0)
    found = findings(machine)['sound format']
    assert found.level == 'warn' and found.found.startswith('/cs3/audio without /cs3/audio_info')
    assert all(name in found.advice for name in ('audio_rate', 'audio_channels', 'AudioInfo'))
    machine['topics'].observe = lambda seconds, *a: seen(audio_info=0, audio=0)
    assert 'sound format' not in findings(machine), 'without sound there is no format'
    other = seen(audio_info=0)
    other[2].other_types = ('audio_common_msgs/msg/AudioStamped',)
    machine['topics'].observe = lambda seconds, *a: other
    assert 'sound format' not in findings(machine), 'AudioStamped tells its format itself'


def test_the_command_prints_advice_and_writes_json(machine, capsys, tmp_path):
    path = tmp_path / 'new' / 'doctor.json'
    options = argparse.Namespace(seconds=0.1, namespace='/cs3', json=path)
    assert doctor.main(options) == 0
    assert capsys.readouterr().out.endswith('0 failure(s), 0 warning(s)\n')
    machine['av'] = ImportError('no av')
    assert doctor.main(options) == 1
    lines = capsys.readouterr().out.splitlines()
    at = lines.index('fail  av: no av (needed for video files)')
    assert lines[at + 1] == '      -> pip install av' and lines[-1].startswith('1 failure(s)')
    written = json.loads(path.read_text())
    assert {'name': 'av', 'level': 'fail'}.items() <= next(
        f for f in written if f['name'] == 'av'
    ).items()
    assert all(set(f) == {'name', 'level', 'found', 'advice'} for f in written)


def test_it_runs_here(monkeypatch, tmp_path):
    """For real, but for what takes long: whatever is found, nothing is raised."""
    monkeypatch.setattr(bundle, 'bundle_names', lambda: [])
    monkeypatch.setitem(sys.modules, 'torch', torch())
    monkeypatch.setattr(doctor, '_ros', lambda seconds, namespace: iter(()))
    found = list(examine(0.1))
    assert {'interpreter', 'numpy', 'cv2', 'av', 'rosbags', 'mediapipe', 'torch'} <= {
        f.name for f in found
    }
