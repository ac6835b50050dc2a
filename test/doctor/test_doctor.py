"""What the doctor finds on good and on broken machines."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy
import pytest

from cs3_ros import cli, ros
from cs3_ros.bundles import bundle, needs
from cs3_ros.bundles.bundle import Bundle, BundleError, load_bundle
from cs3_ros.bundles.stages import StageSpec
from cs3_ros.doctor import examine as doctor
from cs3_ros.doctor.examine import Finding, examine


@pytest.fixture
def problems(monkeypatch) -> dict[str, str]:
    """A healthy machine without torch: package -> what is wrong with it."""
    found: dict[str, str] = {}
    monkeypatch.setattr(doctor, 'problem_of', lambda name: found.get(name, ''))
    monkeypatch.setattr(doctor, 'describe', lambda name: f'{name} 1.2')
    monkeypatch.setattr(doctor, 'distributions', lambda name: ())
    monkeypatch.setattr(doctor, 'is_installed', lambda name: False)
    monkeypatch.setattr(doctor, 'bundle_names', lambda: ['lite'])
    monkeypatch.setattr(Bundle, 'build', lambda self: None)
    return found


@pytest.fixture
def topics(monkeypatch) -> SimpleNamespace:
    """What is asked of ROS."""
    fake = SimpleNamespace(
        describe=lambda: 'jazzy, rmw_fastrtps_cpp, domain 0',
        observe=lambda seconds, *a: seen(),
    )
    monkeypatch.setattr(ros, 'topics', fake, raising=False)
    return fake


@pytest.fixture
def machine(problems, topics) -> SimpleNamespace:
    """Both of them."""
    return SimpleNamespace(problems=problems, topics=topics)


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
        clock='',
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
def test_a_package_that_is_missing_or_broken(machine, name):
    machine.problems[name] = f'{name} 1.2 has no hands'
    found = findings(machine)[name]
    assert found.level == 'fail' and found.found.startswith(f'{name} 1.2 has no hands (needed for')
    assert 'pip install -c requirements/constraints.txt -e' in found.advice


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


def test_torch_and_the_gpu(machine, monkeypatch):
    monkeypatch.setattr(doctor, 'is_installed', lambda name: True)
    monkeypatch.setitem(sys.modules, 'torch', torch('12.4', gpu=True))
    found = findings(machine)
    assert found['torch'].found == '2.6, 7 CPU threads'
    assert found['gpu'].found == 'NVIDIA H100, 80.0 GiB, CUDA 12.4' and not found['gpu'].advice
    monkeypatch.setitem(sys.modules, 'torch', torch('12.4'))
    found = findings(machine)['gpu']
    assert found.level == 'note' and 'CUDA build' not in found.advice
    monkeypatch.setitem(sys.modules, 'torch', torch())
    assert 'CUDA build of torch' in findings(machine)['gpu'].advice


def test_torch_that_is_broken(machine, monkeypatch):
    monkeypatch.setattr(doctor, 'is_installed', lambda name: True)
    machine.problems['torch'] = 'torch 2.6 cannot be imported (OSError: libcudart.so.12)'
    found = findings(machine)
    assert found['torch'].level == 'fail' and 'libcudart' in found['torch'].found
    assert found['torch'].advice and 'gpu' not in found


def test_a_numpy_too_new(machine, monkeypatch):
    monkeypatch.setattr(numpy, '__version__', '2.1.0')
    assert 'numpy<2' in findings(machine)['numpy'].advice


def test_two_opencvs(machine, monkeypatch):
    monkeypatch.setattr(
        doctor, 'distributions', lambda name: [SimpleNamespace(name=name, version='4.11')]
    )
    found = findings(machine)['opencv']
    assert found.level == 'fail' and 'exactly one' in found.advice
    assert 'opencv-python-headless 4.11' in found.found


@pytest.mark.parametrize('error', [BundleError('weights are missing'), RuntimeError('bad file')])
def test_a_bundle_that_cannot_be_built(machine, monkeypatch, error):
    def build(self):
        raise error

    monkeypatch.setattr(Bundle, 'build', build)
    found = findings(machine)['bundle lite']
    assert (found.level, found.found) == ('fail', str(error)) and found.advice


def test_a_bundle_with_networks_is_looked_at_but_not_loaded(machine, monkeypatch, tmp_path):
    monkeypatch.setenv('CS3_HOME', str(tmp_path))
    monkeypatch.setattr(doctor, 'bundle_names', lambda: ['zero_shot'])
    wrong = {}
    monkeypatch.setattr(needs, 'problem_of', lambda name: wrong.get(name, ''))
    monkeypatch.setattr(StageSpec, 'load', lambda self: (object, object))
    found = findings(machine)['bundle zero_shot']
    assert found.level == 'note' and found.found.startswith('missing 11 of 11 files')
    assert found.advice == 'cs3 fetch zero_shot'
    for file in load_bundle('zero_shot').weights:
        (tmp_path / file.path).parent.mkdir(exist_ok=True)
        (tmp_path / file.path).write_bytes(b'nothing that could be loaded')
    found = findings(machine)['bundle zero_shot']
    assert (found.level, found.found, found.advice) == ('ok', 'all is there', '')
    wrong['sam2'] = 'sam2 is not installed'
    monkeypatch.setattr(bundle, 'is_installed', lambda name: name != 'sam2')
    found = findings(machine)['bundle zero_shot']
    assert (found.level, found.found) == ('note', 'not installed: sam2')
    assert '--no-build-isolation' in found.advice
    wrong['mediapipe'] = 'mediapipe 1.0 has no solutions'
    found = findings(machine)['bundle zero_shot']
    assert found.level == 'warn' and 'mediapipe 1.0 has no solutions' in found.found


def test_what_a_bundle_warns_of_is_told(machine, monkeypatch, tmp_path):
    path = tmp_path / 'blind.yaml'
    path.write_text(
        'name: blind\nwarning: It is blind.\nclip: {}\n'
        'hands: {type: mediapipe}\nmasker: {type: grabcut}\n'
    )
    monkeypatch.setattr(doctor, 'bundle_names', lambda: [str(path)])
    found = findings(machine)[f'bundle {path}']
    assert (found.level, found.found) == ('ok', 'loads. It is blind.')


def test_no_ros(problems, monkeypatch):
    monkeypatch.delattr(ros, 'topics', raising=False)
    monkeypatch.delitem(sys.modules, 'cs3_ros.ros.topics', raising=False)
    monkeypatch.setitem(sys.modules, 'rclpy', None)
    found = findings(problems)
    assert found['ros'].level == 'fail' and 'rclpy' in found['ros'].found
    assert 'setup.bash' in found['ros'].advice and 'make setup' in found['ros'].advice
    assert not any(name.startswith('topic') for name in found)


def test_ros_that_does_not_start(machine):
    def fail(seconds, *arguments):
        raise RuntimeError('failed to initialize rcl: rmw not found')

    machine.topics.observe = fail
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
    machine.topics.observe = lambda seconds, *a: [*seen(), report('/t', **changes)]
    found = findings(machine)['topic /t']
    assert found.level == level and words in found.advice and bool(words) == bool(found.advice)


def test_no_camera_is_one_warning(machine):
    machine.topics.observe = lambda seconds, *a: seen(**{'image/compressed': 0})
    found = findings(machine)
    assert found['images'].level == 'warn' and 'camera' in found['images'].advice
    assert found['images'].found == 'nobody publishes /cs3/image/compressed and /cs3/image'
    assert [f.name for f in found.values() if f.level == 'warn'] == ['images']
    machine.topics.observe = lambda seconds, *a: seen(**{'image/compressed': 0, 'image': 1})
    assert 'images' not in findings(machine)


def test_sound_that_nobody_tells_how_to_read(machine):
    machine.topics.observe = lambda seconds, *a: seen(audio_info=0)
    found = findings(machine)['sound format']
    assert found.level == 'warn' and found.found.startswith('/cs3/audio without /cs3/audio_info')
    assert all(name in found.advice for name in ('audio_rate', 'audio_channels', 'AudioInfo'))
    machine.topics.observe = lambda seconds, *a: seen(audio_info=0, audio=0)
    assert 'sound format' not in findings(machine), 'without sound there is no format'
    other = seen(audio_info=0)
    other[2].other_types = ('audio_common_msgs/msg/AudioStamped',)
    machine.topics.observe = lambda seconds, *a: other
    assert 'sound format' not in findings(machine), 'AudioStamped tells its format itself'


def test_the_command_prints_advice_and_writes_json(machine, capsys, tmp_path):
    path = tmp_path / 'new' / 'doctor.json'
    words = ['doctor', '--seconds', '0.1', '--json', str(path)]
    assert cli.main(words) == 0
    assert capsys.readouterr().out.endswith('0 failure(s), 0 warning(s)\n')
    machine.problems['av'] = 'av is not installed'
    assert cli.main(words) == 1
    lines = capsys.readouterr().out.splitlines()
    at = lines.index('fail  av: av is not installed (needed for video files)')
    assert lines[at + 1].startswith('      -> in a clone of cs3_ros: pip install')
    assert lines[-1].startswith('1 failure(s)')
    written = json.loads(path.read_text())
    assert {'name': 'av', 'level': 'fail'}.items() <= next(
        f for f in written if f['name'] == 'av'
    ).items()
    assert all(set(f) == {'name', 'level', 'found', 'advice'} for f in written)


def test_stages_of_other_packages(machine, tmp_path, monkeypatch):
    info = tmp_path / 'my_masker-1.2.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: my-masker\nVersion: 1.2\n')
    (info / 'entry_points.txt').write_text(
        '[cs3_ros.stages]\nmasker.good = my_masker:STAGE\nmasker.bad = my_masker:NONE\n'
    )
    (tmp_path / 'my_masker.py').write_text(
        'from dataclasses import dataclass\n'
        'from cs3_ros.bundles.stages import StageSpec\n'
        "STAGE = StageSpec('my_masker', 'Masker', 'Config')\n"
        '@dataclass(frozen=True)\nclass Config: pass\n'
        'class Masker: pass\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = findings(machine)
    assert found['stage masker.good'].level == 'ok'
    assert found['stage masker.good'].found == 'my_masker:STAGE of my-masker 1.2'
    bad = found['stage masker.bad']
    assert bad.level == 'fail' and 'cannot be loaded' in bad.found and 'my-masker' in bad.advice


def test_it_runs_here(topics, monkeypatch):
    """For real, but for what takes long: whatever is found, nothing is raised."""
    monkeypatch.setattr(doctor, 'bundle_names', lambda: [])
    found = list(examine(0.1))
    assert {'interpreter', 'numpy', 'cv2', 'av', 'rosbags', 'mediapipe', 'torch'} <= {
        f.name for f in found
    }
