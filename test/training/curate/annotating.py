"""A drawn clip with two candidates, and ``cs3-train annotate`` in a process of its own."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

from drawn_clip import FRAME_RATE, DrawnClip, make_drawn_clip

COLUMNS = (
    *('annotation_id', 'video_id', 'start_timestamp', 'stop_timestamp', 'class', 'score'),
    *('onset_timestamp', 'description'),
)


def write_candidates(path: Path, rows: list[tuple[str, float, float, float]]) -> Path:
    """A table of candidates: video, begin, end and onset of each in seconds."""
    lines = [','.join(COLUMNS)]
    for video, start, stop, onset in rows:
        times = [f'00:00:{time:06.3f}' for time in (start, stop, onset)]
        name = f'{video}_{start:.2f}_{stop:.2f}'
        kind = 'metal-ceramic-collision'
        lines.append(f'{name},{video},{times[0]},{times[1]},{kind},0.4,{times[2]},mug and tin')
    path.write_text('\n'.join(lines) + '\n')
    return path


def make_work(folder: Path) -> tuple[DrawnClip, Path]:
    """The clip below ``folder``/videos and the table of two candidates."""
    (folder / 'videos').mkdir(parents=True)
    clip = make_drawn_clip(folder / 'videos' / 'drawn.mp4')
    spans = [(0.4, 1.4), (1.5, 2.5)]
    rows = [
        ('drawn', *span, frame / FRAME_RATE)
        for span, frame in zip(spans, clip.click_frames, strict=False)
    ]
    return clip, write_candidates(folder / 'candidates.csv', rows)


class Annotate:
    """The command in a process; a context manager that ends it.

    Attributes:
        url: of its page, with the token.
    """

    def __init__(self, folder: Path, *more: str) -> None:
        words = ['annotate', '--candidates', str(folder / 'candidates.csv')]
        words += ['--videos', str(folder / 'videos'), '--out', str(folder / 'out'), *more]
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'cs3_training.cli', *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {'PYTHONUNBUFFERED': '1'},
        )  # fmt: skip
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], 60)[0], 'it does not begin'
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith('http://127.0.0.1:'), self.process.communicate()

    def __enter__(self) -> Annotate:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end(9)

    def end(self, signal: int) -> tuple[int, str]:
        """Send a signal; exit status, and what was printed since the address."""
        if self.process.poll() is None:
            self.process.send_signal(signal)
        out, errors = self.process.communicate(timeout=20)
        return self.process.returncode, out + errors
