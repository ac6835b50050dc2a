"""``cs3 demo``: a clip through bag, node and topics, over real ROS 2, to a table and a report.

Runs what a robot runs, in separate processes: the lifecycle node, the player, and here a
subscriber. Without a clip of yours, the training package makes a synthetic one, with its truth.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from cs3_ros.bundles.bundle import Bundle, load_bundle
from cs3_ros.bundles.weights import how_to_bring
from cs3_ros.collision import Image
from cs3_ros.files.output_folder import OutputFolder
from cs3_ros.files.truth import ClipTruth, read_truth
from cs3_ros.packages import pip_install

WORK = 'demo_files'
"""Folder in the output folder with the bag and the pictures."""
NAMES = (
    r'report\.html',
    r'overlay\.mp4',
    r'picture\.jpg',
    rf'{WORK}/\d{{1,6}}(_strip)?\.jpg',
    rf'{WORK}/bag/(metadata\.yaml|bag\.mcap)',
)
"""All that a demo writes, as ``OutputFolder`` wants it."""
SYNTHETIC = 'synthetic_clip'
"""Folder in the output folder with the synthetic clip, which is kept for the next run."""
SYNTHETIC_BUNDLE, BUNDLE = 'nano', 'lite'
"""Bundles for the synthetic clip and for a clip of the user's."""
HOLD_S = 1.0
"""How long an answer stands in the video."""


def main(options: argparse.Namespace) -> int:
    """Run the demo."""
    out: Path = options.out
    if options.clip is None and options.truth is not None:
        raise ValueError(f'--truth {options.truth}: expected its clip, too: cs3 demo CLIP --truth')
    if options.clip is not None and not options.clip.is_file():
        raise FileNotFoundError(f'{options.clip}: no such video')
    truth = None if options.truth is None else read_truth(options.truth)
    default = SYNTHETIC_BUNDLE if options.clip is None else BUNDLE
    bundle = load_bundle(options.bundle or default)
    check_ready(bundle)
    times: dict[str, float] = {}
    clip: Path | None = options.clip
    if clip is None:
        _output(out, options.force)  # before the work is done
        with _timed(times, 'synthetic clip'):
            clip, truth = _synthetic(out / SYNTHETIC)
    print(f'clip    {clip}\nbundle  {bundle.name}: {bundle.description}', flush=True)
    if bundle.warning:
        print(f'        {bundle.warning}', flush=True)
    _run(clip, truth, options.bundle or default, bundle, out, options.force, times)
    took = ', '.join(f'{name} {seconds:.0f} s' for name, seconds in times.items())
    print(f'took    {took}')
    return 0


def check_ready(bundle: Bundle) -> None:
    """Say now what the node would fail for.

    Raises:
        ImportError: a package is not installed; names the fix.
        FileNotFoundError: a file of weights is not there; names the fix.
    """
    for package, fix in bundle.lacking_packages.items():
        raise ImportError(f'bundle {bundle.name} needs {package}: {fix}')
    for file in bundle.lacking_weights:
        fix = how_to_bring(file, bundle.name)
        raise FileNotFoundError(f'bundle {bundle.name} needs {file.path}: {fix}')


def _output(out: Path, force: bool) -> OutputFolder:
    return OutputFolder(out, 'demo', NAMES, force=force, kept=(SYNTHETIC,))


def _run(
    clip: Path,
    truth: ClipTruth | None,
    name: str,
    bundle: Bundle,
    out: Path,
    force: bool,
    times: dict[str, float],
) -> None:
    # late: check_ready names what is not installed, and how to bring it, before an import fails
    from cs3_ros.files.media import VideoFile

    video = VideoFile(clip)
    if video.sound_format is None:
        raise ValueError(f'{clip}: has no sound track, so no collision can be heard in it')
    if truth is not None and video.size != (truth.width, truth.height):
        raise ValueError(
            f'{clip}: frames of {video.size[0]}x{video.size[1]}, truth of '
            f'{truth.width}x{truth.height}: expected the truth file of this clip'
        )
    work, overlay = out / WORK, out / 'overlay.mp4'
    if overlay.resolve() == clip.resolve() or work.resolve() in clip.resolve().parents:
        raise ValueError(f'{clip}: the demo would overwrite it: give another --out')
    with _output(out, force) as output:
        _play(clip, truth, name, bundle, output, times)


def _play(
    clip: Path,
    truth: ClipTruth | None,
    name: str,
    bundle: Bundle,
    output: OutputFolder,
    times: dict[str, float],
) -> None:
    from cs3_ros.demo.pictures import make_pictures, shown_size
    from cs3_ros.demo.report import latency_note, losses_of, table_of, text_table, write_report
    from cs3_ros.demo.score import compare
    from cs3_ros.drawing.overlay_video import write_overlay_video
    from cs3_ros.files.bag_writer import make_bag
    from cs3_ros.files.bags import BagRecording
    from cs3_ros.files.images import save_image
    from cs3_ros.ros.spectator import play

    work, bag_names = output.path / WORK, (f'{WORK}/bag/metadata.yaml', f'{WORK}/bag/bag.mcap')
    output.announce(*bag_names)

    def save(name: str, image: Image) -> Path:
        with output.replacing(f'{WORK}/{name}') as part:
            save_image(part, image)
        return work / name

    with _timed(times, 'bag'):
        bag = make_bag(clip, work / 'bag', progress=True)
    output.confirm(*bag_names)
    with _timed(times, 'node and player'):
        live = play(bag, name)
    recording = BagRecording(bag)
    rows = compare(live.events, recording.origin_ns, truth)
    print(f'\n{text_table(*table_of(rows, truth))}\n\n{latency_note(bundle)}')
    print(f'{losses_of(live.counts, len(live.events))}\n', flush=True)
    with _timed(times, 'pictures and report'):
        pictures = make_pictures(recording, rows, live, save, bundle.name)
        with output.replacing('report.html') as part:
            write_report(part, bundle, clip, rows, live, pictures, truth)
        true = [index for index in pictures.strips if rows[index].true is not None]
        chosen = sorted(true or pictures.strips)[:1]  # the first one, whatever came of it
        for index in chosen:
            with output.replacing('picture.jpg') as part:
                shutil.copyfile(pictures.strips[index], part)
    with _timed(times, 'video'), output.replacing('overlay.mp4') as part:
        write_overlay_video(
            part,
            recording,
            pictures.stills,
            hold_s=HOLD_S,
            size=shown_size(recording.size),
            heading=_heading(bundle, truth),
            onsets=[event.onset_ns for event in live.events],
            progress=True,
        )
    out = output.path
    print(f'video   {out / "overlay.mp4"}\nreport  {out / "report.html"}')
    if chosen:
        print(f'picture {out / "picture.jpg"}')


def _synthetic(folder: Path) -> tuple[Path, ClipTruth]:
    """The clip of the training package and its truth; made where it is not there yet.

    Raises:
        ImportError: the training package is not installed.
        RuntimeError: it could not make the clip.
    """
    if find_spec('cs3_training') is None:
        raise ImportError(
            'the synthetic clip is made by the training package: name a video of yours (cs3 demo '
            f'my_video.mp4) or, {pip_install("train")} -e training'
        )
    # A process of its own, as a user would run it: the library does not import the training.
    command = ['-m', 'cs3_training.cli', 'synth', 'clip', '--out', str(folder)]
    made = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    if made.returncode:
        raise RuntimeError(f'the synthetic clip could not be made: {made.stderr.strip()}')
    return folder / 'clip.mp4', read_truth(folder / 'truth.json')


def _heading(bundle: Bundle, truth: ClipTruth | None) -> str:
    parts = [f'bundle {bundle.name}']
    if bundle.warning:  # as much of it as fits into a line
        parts.append(re.split(r'[(.:;]', bundle.warning)[0].strip())
    if truth is not None:
        parts.append('white: truth')
    return '  |  '.join(parts)


@contextmanager
def _timed(times: dict[str, float], name: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    times[name] = time.monotonic() - start
