"""What is shipped: metadata that agrees, pinned requirements, a package that colcon knows."""

import importlib.metadata
import importlib.util
import os
import re
import runpy
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def setup_arguments():
    """The keyword arguments that setup.py gives to setuptools."""
    return given_to_setuptools(ROOT)


def given_to_setuptools(folder):
    captured = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr('setuptools.setup', captured.update)
        runpy.run_path('setup.py')
    return captured


@pytest.fixture(scope='module')
def manifest():
    """package.xml as catkin_pkg reads it."""
    package = pytest.importorskip('catkin_pkg.package', reason='catkin_pkg is not installed')
    warnings: list[str] = []
    parsed = package.parse_package(str(ROOT / 'package.xml'), warnings=warnings)
    assert warnings == []
    return parsed


@pytest.fixture(scope='module')
def pins():
    """Canonical name -> its lines of requirements/constraints.txt, one for each kind of machine."""
    found: dict[str, list[Requirement]] = {}
    for requirement in requirements(ROOT / 'requirements' / 'constraints.txt'):
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def requirements(path: Path) -> list[Requirement]:
    lines = path.read_text('utf-8').splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith('#')]


MACHINES = [
    {'sys_platform': 'linux', 'platform_machine': machine, 'python_version': python}
    for machine in ('x86_64', 'aarch64')
    for python in ('3.11', '3.12')
]


def applies(requirement: Requirement, machine: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(machine)


def colcon(*arguments, cwd):
    if importlib.util.find_spec('colcon_ros') is None:
        pytest.skip('colcon is not installed in this Python environment')
    environment = {k: v for k, v in os.environ.items() if not k.startswith('PYTEST_')}
    result = subprocess.run(
        [sys.executable, '-m', 'colcon', '--log-base', str(cwd / 'log'), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_manifest_and_setup_agree(manifest, setup_arguments):
    assert manifest.package_format == 3
    assert manifest.get_build_type() == 'ament_python'
    assert manifest.name == setup_arguments['name'] == (ROOT / 'resource').glob('*').__next__().name
    assert manifest.description == f'{setup_arguments["description"]}.'
    assert manifest.licenses == [setup_arguments['license']]
    (maintainer,) = manifest.maintainers
    assert maintainer.name == setup_arguments['maintainer']
    assert maintainer.email == setup_arguments['maintainer_email']


def test_versions_agree(manifest, setup_arguments):
    changelog = (ROOT / 'CHANGELOG.rst').read_text('utf-8')
    newest = re.search(r'^(\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)\n-+$', changelog, re.MULTILINE)
    assert newest is not None
    assert manifest.version == setup_arguments['version'] == newest.group(1)


def test_the_base_install_is_light(setup_arguments):
    base = {canonicalize_name(Requirement(r).name) for r in setup_arguments['install_requires']}
    heavy = {'torch', 'torchvision', 'torchaudio', 'transformers', 'sam2', 'mediapipe', 'librosa'}
    assert not base & heavy
    assert not {name for name in base if 'opencv' in name}


@pytest.mark.parametrize('machine', MACHINES, ids=lambda m: '-'.join(m.values()))
def test_every_requirement_is_pinned_within_its_range(setup_arguments, pins, machine):
    extras = setup_arguments['extras_require']
    assert set(extras) == {'lite', 'models', 'train', 'test', 'cluster', 'bench', 'docs'}
    texts = [*setup_arguments['install_requires'], *(r for e in extras.values() for r in e)]
    needed = [*map(Requirement, texts), *requirements(ROOT / 'requirements' / 'ros.txt')]
    for requirement in needed:
        if applies(requirement, machine):
            lines = pins[canonicalize_name(requirement.name)]
            (pin,) = [line for line in lines if applies(line, machine)]
            ((operator, version),) = [(s.operator, s.version) for s in pin.specifier]
            assert operator == '==' and requirement.specifier.contains(version), requirement


def test_what_the_training_adds_is_pinned_and_shipped(pins):
    training = given_to_setuptools(ROOT / 'training')
    for text in [each for extra in training['extras_require'].values() for each in extra]:
        requirement = Requirement(text)
        (pin,) = pins[canonicalize_name(requirement.name)]
        ((operator, version),) = [(s.operator, s.version) for s in pin.specifier]
        assert operator == '==' and requirement.specifier.contains(version), requirement
        assert {s.operator for s in requirement.specifier} & {'<', '=='}, requirement
    package = ROOT / 'training' / 'cs3_training'
    patterns = training['package_data']['cs3_training']
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    for ending in ('html', 'js', 'css', 'yaml'):
        assert set(package.rglob(f'*.{ending}')) <= shipped


def test_every_requirement_has_an_upper_bound(setup_arguments):
    """So that a version which breaks what is used here is not taken where there are no pins."""
    extras = setup_arguments['extras_require'].values()
    for text in [*setup_arguments['install_requires'], *(r for e in extras for r in e)]:
        operators = {specifier.operator for specifier in Requirement(text).specifier}
        assert operators & {'<', '=='}, text


def test_a_name_is_pinned_once_on_each_machine(pins):
    for lines in pins.values():
        for machine in MACHINES:
            assert sum(applies(line, machine) for line in lines) == 1, lines


def test_one_opencv_at_most():
    names = {canonicalize_name(d.metadata['Name']) for d in importlib.metadata.distributions()}
    assert len({name for name in names if name.startswith('opencv')}) <= 1


def test_shipped_files_are_found_without_ros(setup_arguments):
    share = {place: sources for place, sources in setup_arguments['data_files']}
    assert share['share/cs3_ros'] == ['package.xml']
    assert share['share/cs3_ros/launch'] == [
        'launch/cs3.launch.py',
        'launch/replay.launch.py',
        'launch/robot.launch.py',
    ]
    assert {'config/cs3.yaml', 'config/cs3_foxglove.json'} <= set(share['share/cs3_ros/config'])
    assert (files('cs3_ros') / 'ros' / 'fastdds.xml').is_file()
    assert (files('cs3_ros') / 'py.typed').is_file()


def test_every_module_and_every_template_is_shipped(setup_arguments):
    package = ROOT / 'cs3_ros'
    folders = {'.'.join(path.parent.relative_to(ROOT).parts) for path in package.rglob('*.py')}
    assert folders == set(setup_arguments['packages'])
    patterns = setup_arguments['package_data']['cs3_ros']
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    assert set(package.rglob('*.html')) <= shipped


def test_colcon_takes_it_for_an_ament_python_package(tmp_path):
    listing = colcon('list', '--base-paths', str(ROOT), cwd=tmp_path)
    assert listing.split() == ['cs3_ros', str(ROOT), '(ros.ament_python)']


@pytest.mark.parametrize('how', [[], ['--symlink-install']], ids=['', 'symlinks'])
def test_colcon_builds_what_ros2_launch_needs(tmp_path, how):
    colcon(
        'build',
        *('--base-paths', str(ROOT), '--build-base', 'build', '--install-base', 'install', *how),
        cwd=tmp_path,
    )
    prefix = tmp_path / 'install' / 'cs3_ros'
    workspace_python = tmp_path / '.venv' / 'bin' / 'python'
    workspace_python.parent.mkdir(parents=True)
    (tmp_path / '.venv' / 'pyvenv.cfg').touch()
    workspace_python.write_text('#!/bin/sh\necho in the environment: "$@"\n')
    workspace_python.chmod(0o755)
    terminal = {k: v for k, v in os.environ.items() if k not in ('VIRTUAL_ENV', 'PYTHONPATH')}
    for name in ('cs3', 'cs3_node'):
        script = prefix / 'lib' / 'cs3_ros' / name
        run = f'source {tmp_path}/install/setup.bash && exec {script} --version'
        done = subprocess.run(['bash', '-c', run], env=terminal, capture_output=True, text=True)
        assert done.stdout == f'in the environment: {script} --version\n', done.stderr
    for path in (
        'package.xml',
        'launch/cs3.launch.py',
        'launch/replay.launch.py',
        'launch/robot.launch.py',
        'config/cs3.yaml',
        '../ament_index/resource_index/packages/cs3_ros',
    ):
        assert (prefix / 'share' / 'cs3_ros' / path).is_file(), path
    if not how:  # else it lies in the source
        assert list(prefix.glob('lib/python*/site-packages/cs3_ros/ros/fastdds.xml'))


def test_executables_for_ros2_run(setup_arguments) -> None:
    """``Node(package='cs3_ros', executable=...)`` of a launch file finds what these declare."""
    scripts = dict(line.split(' = ') for line in setup_arguments['entry_points']['console_scripts'])
    assert {'cs3', 'cs3_node', 'mic', 'bag_play'} <= set(scripts)
    for target in scripts.values():
        module, _, function = target.partition(':')
        assert callable(getattr(importlib.import_module(module), function))


def test_the_pins_of_kilted_hold_what_setup_asks_for():
    kilted = {r.name: r for r in requirements(ROOT / 'requirements' / 'constraints_kilted.txt')}
    asked = [r.name for r in requirements(ROOT / 'requirements' / 'ros.txt')]
    of_ros = {name.replace('ros-jazzy-', 'ros-kilted-') for name in asked if name[:4] == 'ros-'}
    assert {'ros-kilted-rclpy', 'ros-rmw-fastrtps-cpp'} <= of_ros <= set(kilted)
    assert all(name.startswith('ros-') for name in kilted), 'the rest has the versions of Jazzy'
    assert all(str(r.specifier).startswith('==') for r in kilted.values())


def test_setup_knows_two_distributions():
    done = subprocess.run(
        ['bash', str(ROOT / 'tools' / 'setup_env.sh')],
        env={**os.environ, 'ROS': 'humble'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and 'ROS=humble: expected jazzy or kilted' in done.stderr
    for distribution, folder in (('jazzy', '.venv'), ('kilted', '.venv-kilted')):
        made = subprocess.run(
            ['make', '-n', 'gate', f'ROS={distribution}'], cwd=ROOT, capture_output=True, text=True
        )
        assert f'ROS={distribution} tools/setup_env.sh' in made.stdout
        assert f'\n{folder}/bin/cs3-train evaluate' in made.stdout
