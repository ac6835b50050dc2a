"""``cs3 demo``: a clip through bag, node and topics, over real ROS 2, to a video with masks.

Runs what a robot runs, in separate processes: the lifecycle node, the player, and here a
subscriber, which prints a table of the events and writes ``overlay.mp4``.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

SAMPLES = Path('../shared/data/real_clips')
"""Real clips beside a developer's checkout; a user's machine has none."""


def main(options: argparse.Namespace) -> int:
    """Run the demo."""
    from cs3_ros.bag_writer import make_bag

    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    clip = options.clip or _sample(out)
    if not clip.is_file():
        raise FileNotFoundError(f'{clip}: no such video')
    print(f'clip    {clip}')
    print(
        f'writes  {out}/bag, {out}/overlays, {out}/overlay.mp4; takes some seconds longer than it'
    )
    shutil.rmtree(out / 'bag', ignore_errors=True)
    bag = make_bag(clip, out / 'bag', progress=True)
    from cs3_ros.ros.demo import play_into_node

    return play_into_node(bag, out, options.bundle)


def _sample(out: Path) -> Path:
    """A real clip where there is one, otherwise a drawn one."""
    real = sorted(SAMPLES.glob('*/clip.mp4'))
    if real:
        return real[0]
    from cs3_ros.drawn_clip import make_drawn_clip

    return make_drawn_clip(out / 'drawn_clip.mp4').path
