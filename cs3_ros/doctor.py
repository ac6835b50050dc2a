"""``cs3 doctor``: is this machine ready, are the topics there; one line of advice per problem."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cs3_ros.files.jsonfile import prepare_json, write_json
from cs3_ros.runtime import GIB

if TYPE_CHECKING:
    from cs3_ros.ros.topics import TopicReport


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
    yield from _ros(seconds, namespace)


def main(options: argparse.Namespace) -> int:
    """Print the findings; 1 when something fails."""
    prepare_json(options.json)
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


def _interpreter() -> Finding:
    found = f'Python {platform.python_version()}, {sys.executable}'
    return Finding('interpreter', 'ok', found)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> Iterator[Finding]:
    import numpy

    level, advice = 'ok', ''
    if int(numpy.__version__.split('.')[0]) >= 2:
        level, advice = (
            'note',
            "if apt's cv_bridge or mediapipe fail to import: pip install 'numpy<2'",
        )
    yield Finding('numpy', level, numpy.__version__, advice)
    names = ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python')
    opencvs = [f'{name} {_version(name)}' for name in names if _version(name)]
    if len(opencvs) > 1:
        yield Finding(
            'opencv', 'fail', ', '.join(opencvs), 'they overwrite each other: keep exactly one'
        )
    for module, why, fix in (
        ('cv2', 'pictures', 'apt install python3-opencv, or pip install "cs3_ros[lite]"'),
        ('av', 'video files', 'pip install av'),
        ('rosbags', 'bags', 'pip install rosbags'),
        ('mediapipe', 'bundle lite', 'pip install "cs3_ros[lite]"'),
    ):
        try:
            version = getattr(importlib.import_module(module), '__version__', 'installed')
            yield Finding(module, 'ok', str(version))
        except Exception as error:  # a broken binary raises anything
            yield Finding(module, 'fail', f'{error} (needed for {why})', fix)
    yield from _torch()


def _torch() -> Iterator[Finding]:
    try:
        torch = importlib.import_module('torch')
    except ImportError:
        yield Finding('torch', 'note', 'not installed; lite does not need it')
        return
    except Exception as error:  # a broken binary raises anything
        yield Finding('torch', 'fail', str(error), 'pip install "cs3_ros[models]", or remove torch')
        return
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
    from cs3_ros.bundles.bundle import bundle_names, load_bundle
    from cs3_ros.bundles.inventory import look

    for name in bundle_names():
        try:
            bundle = load_bundle(name)
            if not bundle.has_networks:
                bundle.build()
                yield Finding(f'bundle {name}', 'ok', _and('loads', bundle.warning))
                continue
            row = look(bundle)
            level, found = ('ok', 'all is there') if row.ready else ('note', row.state)
            found = _and(found, bundle.warning)
            yield Finding(f'bundle {name}', level, found, '; '.join(row.steps))
        except Exception as error:  # a stage may raise anything while it loads
            yield Finding(f'bundle {name}', 'fail', str(error), 'install what is named above')


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
