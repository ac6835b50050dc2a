"""What ``cs3 doctor`` looks at: interpreter, packages, bundles, added stages, ROS and topics."""

from __future__ import annotations

import argparse
import importlib
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from typing import TYPE_CHECKING

import numpy

from cs3_ros.bundles.bundle import bundle_names, load_bundle
from cs3_ros.bundles.inventory import look
from cs3_ros.bundles.needs import problem_of_stage
from cs3_ros.bundles.stages import installed_stages
from cs3_ros.files.jsonfile import prepare_json, write_json
from cs3_ros.packages import MODELS, PACKAGES, describe, fix_of, is_installed, problem_of
from cs3_ros.runtime import GIB

if TYPE_CHECKING:
    from cs3_ros.ros.topics import TopicReport


def main(options: argparse.Namespace) -> int:
    """Print the findings; 1 when something fails."""
    prepare_json(options.json, options.force)
    findings = []
    for finding in examine(options.seconds, options.namespace):
        findings.append(finding)
        print(f'{finding.level:>4}  {finding.name}: {finding.found}', flush=True)
        if finding.advice:
            print(f'      -> {finding.advice}')
    write_json(options.json, [asdict(finding) for finding in findings])
    failed = sum(finding.level == 'fail' for finding in findings)
    print(f'{failed} failure(s), {sum(f.level == "warn" for f in findings)} warning(s)')
    return int(failed > 0)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    """What was looked at."""
    level: str
    """ok, note (fine, but something is not there), warn or fail."""
    found: str
    """What there is."""
    advice: str = ''
    """What to do; empty when all is well."""


def examine(seconds: float = 2.0, namespace: str = '/cs3') -> Iterator[Finding]:
    """Look at everything, one finding at a time.

    Args:
        seconds: how long to listen to the topics.
        namespace: of the topics.
    """
    yield _interpreter()
    yield from _packages()
    yield from _bundles()
    yield from _stages()
    yield from _ros(seconds, namespace)


def _interpreter() -> Finding:
    found = f'Python {platform.python_version()}, {sys.executable}'
    return Finding('interpreter', 'ok', found)


def _packages() -> Iterator[Finding]:
    level, advice = 'ok', ''
    if int(numpy.__version__.split('.')[0]) >= 2:
        level, advice = (
            'note',
            "if apt's cv_bridge or mediapipe fail to import: pip install 'numpy<2'",
        )
    yield Finding('numpy', level, numpy.__version__, advice)
    names = ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python')
    opencvs = [f'{d.name} {d.version}' for name in names for d in distributions(name=name)]
    if len(opencvs) > 1:
        yield Finding(
            'opencv', 'fail', ', '.join(opencvs), 'they overwrite each other: keep exactly one'
        )
    for package, why in (
        ('cv2', 'pictures'),
        ('av', 'video files'),
        ('rosbags', 'bags'),
        ('mediapipe', 'bundle lite'),
    ):
        if problem := problem_of(package):
            fix = fix_of(problem, PACKAGES[package].install)
            yield Finding(package, 'fail', f'{problem} (needed for {why})', fix)
        else:
            yield Finding(package, 'ok', describe(package).partition(' ')[2] or 'installed')
    yield from _torch()


def _torch() -> Iterator[Finding]:
    if not is_installed('torch'):
        yield Finding('torch', 'note', 'not installed; lite does not need it')
        return
    if problem := problem_of('torch'):
        yield Finding('torch', 'fail', problem, f'{MODELS}; or remove torch')
        return
    torch = importlib.import_module('torch')
    yield Finding('torch', 'ok', f'{torch.__version__}, {torch.get_num_threads()} CPU threads')
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        memory, cuda = gpu.total_memory / GIB, torch.version.cuda
        yield Finding('gpu', 'ok', f'{gpu.name}, {memory:.1f} GiB, CUDA {cuda}')
    else:
        advice = 'zero_shot and cs3 are slow on a CPU; lite and nano need no GPU'
        if torch.version.cuda is None:
            advice += '; with a GPU install a CUDA build of torch'
        yield Finding('gpu', 'note', 'torch sees none', advice)


def _bundles() -> Iterator[Finding]:
    """Those without networks are loaded; the others would take long and much memory."""
    for name in bundle_names():
        try:
            bundle = load_bundle(name)
            if not bundle.has_networks and not bundle.lacking_weights:
                bundle.build()
                yield Finding(f'bundle {name}', 'ok', _and('loads', bundle.warning))
                continue
            row = look(bundle)
            broken = set(row.packages) - set(bundle.lacking_packages)
            level = 'ok' if row.ready else 'warn' if broken else 'note'
            found = _and('all is there' if row.ready else row.state, bundle.warning)
            yield Finding(f'bundle {name}', level, found, '; '.join(row.steps))
        except Exception as error:  # a stage may raise anything while it loads
            yield Finding(f'bundle {name}', 'fail', str(error), 'do what is named above')


def _stages() -> Iterator[Finding]:
    for stage in installed_stages():
        problem = problem_of_stage(stage)
        level, advice = ('fail', f'mend or remove {stage.distribution}') if problem else ('ok', '')
        found = problem or f'{stage.entry_point.value} of {stage.distribution}'
        yield Finding(f'stage {stage.entry_point.name}', level, found, advice)


def _and(found: str, warning: str) -> str:
    return f'{found}. {warning}' if warning else found


def _ros(seconds: float, namespace: str) -> Iterator[Finding]:
    try:
        from cs3_ros.ros import topics
    except ImportError as error:
        yield Finding(
            'ros',
            'fail',
            str(error),
            'source /opt/ros/jazzy/setup.bash and install ros-jazzy-audio-common-msgs and '
            'ros-jazzy-vision-msgs; without ROS: make setup',
        )
        return
    yield Finding('ros', 'ok', topics.describe())
    try:
        reports = topics.observe(seconds, namespace)
    except RuntimeError as error:
        yield Finding(
            'ros topics',
            'fail',
            str(error),
            'unset RMW_IMPLEMENTATION, or install the middleware that it names',
        )
        return
    for report in reports:
        found = f'{report.type}, {report.publishers} publisher(s), {report.qos}, '
        found += f'{report.rate_hz:.1f} Hz'
        if report.format:
            found += f', {report.format}'
        if report.clock:
            found += f', {report.clock}'
        level, advice = 'ok', ''
        if report.publishers == 0:
            level = 'note' if report.optional else 'warn'
            advice = f'nobody publishes {report.name}: start the driver, or remap the topic'
        elif report.problem:
            level, advice = 'fail', report.problem
        elif report.rate_hz == 0 and not report.latched:
            level, advice = 'warn', f'no message in {seconds:g} s: is the driver running?'
        yield Finding(f'topic {report.name}', level, found, advice)
    yield from _together(reports)


def _together(reports: Sequence[TopicReport]) -> Iterator[Finding]:
    """What only all topics tell: each transport of the images is optional, but not both."""
    images = [report for report in reports if report.topic.startswith('image')]
    if not any(report.publishers for report in images):
        names = ' and '.join(report.name for report in images)
        advice = 'start the camera driver, or remap image and image/compressed'
        yield Finding('images', 'warn', f'nobody publishes {names}', advice)
    sound, info = (
        next(report for report in reports if report.topic == topic)
        for topic in ('audio', 'audio_info')
    )
    if sound.publishers and not sound.other_types and not info.publishers:
        yield Finding(
            'sound format',
            'warn',
            f'{sound.name} without {info.name}: nobody tells how to read the bytes',
            'have the driver publish AudioInfo, or set the parameters audio_rate, audio_channels '
            'and audio_sample_format',
        )
