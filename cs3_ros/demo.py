"""``cs3 demo``: a clip through bag, node and topics, over real ROS 2, to a video with masks.

Runs what a robot runs, in separate processes: the lifecycle node, the player, and here a
subscriber, which prints a table of the events and writes ``overlay.mp4``.
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from cs3_ros.bench import REAL_CLIPS
from cs3_ros.collision import NS_PER_S, event_id

if TYPE_CHECKING:
    from cs3_ros.ros.spectator import LiveRun

WORK = 'demo_files'
"""Folder in the output folder that belongs to the demo: it is emptied at every run."""


def main(options: argparse.Namespace) -> int:
    """Run the demo."""
    from cs3_ros.bag_writer import make_bag
    from cs3_ros.bags import BagRecording
    from cs3_ros.draw import write_overlay_video
    from cs3_ros.images import save_image
    from cs3_ros.media import VideoFile
    from cs3_ros.ros.spectator import play

    out: Path = options.out
    if options.clip is not None and not options.clip.is_file():
        raise FileNotFoundError(f'{options.clip}: no such video')
    work = out / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    clip = options.clip or _sample(work)
    if VideoFile(clip).sound_format is None:
        raise ValueError(f'{clip}: has no sound track, so no collision can be heard in it')
    print(f'clip    {clip}\nbundle  {options.bundle}')
    print(f'writes  {out / "overlay.mp4"} and {work}; takes 20 s longer than the clip')
    bag = make_bag(clip, work / 'bag', progress=True)
    live = play(bag, options.bundle)
    recording = BagRecording(bag)
    _print_table(live, recording.origin_ns)
    stills = {}
    for frame_ns, picture in live.overlays.items():
        stills[frame_ns] = work / f'{event_id(frame_ns)}.jpg'
        save_image(stills[frame_ns], picture)
    write_overlay_video(out / 'overlay.mp4', recording, stills, progress=True)
    print(f'video   {out / "overlay.mp4"}')
    return 0


def _sample(folder: Path) -> Path:
    """A real clip where there is one, otherwise a drawn one."""
    real = sorted(REAL_CLIPS.glob('*/clip.mp4'))
    if real:
        return real[0]
    from cs3_ros.drawn_clip import make_drawn_clip

    return make_drawn_clip(folder / 'drawn_clip.mp4').path


def _print_table(live: LiveRun, origin_ns: int) -> None:
    print(f'\n{"onset s":>8} {"frame s":>8}  {"objects":27} {"mask pixels":16} {"latency ms":>10}')
    for event in live.events:
        onset = f'{(event.onset_ns - origin_ns) / NS_PER_S:8.3f}'
        if event.label_image is None:
            print(f'{onset} {"-":>8}  no masks')
            continue
        frame = f'{(event.frame_ns - origin_ns) / NS_PER_S:8.3f}'
        areas = [str((event.label_image == k + 1).sum()) for k in range(len(event.labels))]
        latency_ms = (event.answered_s - event.heard_s) * 1e3
        objects, pixels = ' + '.join(event.labels), ' + '.join(areas)
        print(f'{onset} {frame}  {objects:27} {pixels:16} {latency_ms:10.0f}')
    count = Counter(live.counts)
    lost = count['lost_frames'] + count['lost_audio']
    print(
        f'{len(live.events)} event(s): {count["with_objects"]} with masks, '
        f'{count["without_objects"]} without, {count["dropped"]} dropped because the pipeline was '
        f'busy, {count["failed"]} failed\n'
        f'{count["frames"]} frames and {count["audio_chunks"]} chunks received, {lost} lost\n'
    )
