"""A miniature EPIC-KITCHENS and Ego4D under official names: pictures that tell their number, sound
with clicks at known times, rows in the official formats."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

UIDS = ('0a1b2c3d-0000-4000-8000-00000000000a', '0a1b2c3d-0000-4000-8000-00000000000b')
EPIC = ('P01_01', 'P01_102', 'P02_03')
BITS = 12
"""Of the number that a picture tells, a bright or dark stripe for each."""


@dataclass(frozen=True)
class Made:
    """A video that was made."""

    path: Path
    """Of the file."""
    stamps_s: list[float]
    """Times of its pictures."""
    clicks_s: list[float]
    """Times of its clicks."""


def even(seconds: float, fps: Fraction) -> list[float]:
    return [float(k / fps) for k in range(int(seconds * fps))]


def uneven(seconds: float, seed: int = 0) -> list[float]:
    """Times of a variable frame rate, steps of 10 to 90 ms."""
    steps = np.random.default_rng(seed).integers(10, 90, int(seconds * 30)) / 1000
    stamps = np.concatenate([[0], np.cumsum(steps)])
    return [float(round(stamp, 3)) for stamp in stamps[stamps < seconds]]


def make_video(
    path: Path,
    stamps_s: list[float],
    clicks_s: list[float],
    *,
    seconds: float,
    size: tuple[int, int] = (96, 64),
    rate: int = 48_000,
    gop: int = 30,
    time_base: Fraction = Fraction(1, 60_000),
    noise: int = 0,
    sound: bool = True,
) -> Made:
    """H.264 with B-frames and AAC, as the data sets have them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(stamps_s))
    with av.open(str(path), 'w', format='mp4') as container:
        options = {'g': str(gop), 'bf': '2', 'preset': 'ultrafast', 'b-adapt': '0', 'crf': '23'}
        video = container.add_stream('libx264', rate=60, options=options)
        video.width, video.height, video.pix_fmt = *size, 'yuv420p'
        video.codec_context.time_base = time_base
        track = container.add_stream('aac', rate=rate, layout='stereo') if sound else None
        for number, stamp in enumerate(stamps_s):
            frame = av.VideoFrame.from_ndarray(picture(number, size, rng, noise), format='rgb24')
            frame.time_base, frame.pts = time_base, round(stamp / time_base)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if track is not None:
            samples = np.zeros((2, round(seconds * rate)), np.float32)
            for click in clicks_s:
                first = round(click * rate)
                length = min(rate // 500, samples.shape[1] - first)  # 2 ms
                samples[:, first : first + length] = 0.9 * rng.choice([-1, 1], length)
            for first in range(0, samples.shape[1], 1024):
                piece = np.ascontiguousarray(samples[:, first : first + 1024])
                sound_frame = av.AudioFrame.from_ndarray(piece, 'fltp', 'stereo')
                sound_frame.sample_rate = rate
                sound_frame.time_base, sound_frame.pts = Fraction(1, rate), first
                container.mux(track.encode(sound_frame))
            container.mux(track.encode(None))
    return Made(path, stamps_s, clicks_s)


def picture(number: int, size: tuple[int, int], rng: np.random.Generator, noise: int):
    width, height = size
    bits = [number >> k & 1 for k in range(BITS)]
    row = np.repeat(np.where(bits, 220, 30), width // BITS)
    row = np.pad(row, (0, width - len(row)))
    image = np.repeat(np.repeat(row[None, :, None], height, 0), 3, 2)
    if noise:
        image = image + rng.integers(-noise, noise, (height, width, 1))
    return image.clip(0, 255).astype(np.uint8)


def number_of(image: np.ndarray) -> int:
    """The number that a picture tells."""
    stripe = image.shape[1] // BITS
    bits = [image[:, k * stripe + 2 : (k + 1) * stripe - 2].mean() > 125 for k in range(BITS)]
    return sum(bit << k for k, bit in enumerate(bits))


def clock(seconds: float) -> str:
    whole = round(seconds * 1000)
    minutes, rest = divmod(whole, 60_000)
    return f'{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}'


def write_epic(
    path: Path, rows: list[tuple[str, float, float]], selected: list[float] = ()
) -> Path:  # type: ignore[assignment]
    """A CSV of CS3 for EPIC: video, begin and end of each row."""
    columns = 'annotation_id,participant_id,video_id,start_timestamp,stop_timestamp,'
    columns += 'start_sample,stop_sample,class'
    lines = [
        columns + (',selected_frame,selected_timestamp,selected_frame_type' if selected else '')
    ]
    for k, (video, start, stop) in enumerate(rows):
        line = f'{video}_{k},{video[:3]},{video},{clock(start)},{clock(stop)},'
        line += f'{round(24000 * start)},{round(24000 * stop)},metal-wood-collision'
        if selected:
            line += f',{round(60 * selected[k])},{clock(selected[k])},max'
        lines.append(line)
    path.write_text('\n'.join(lines) + '\n')
    return path


def write_ego4d(path: Path, rows: list[tuple[str, float]]) -> Path:
    """A CSV of CS3 for Ego4D: video and begin of clips of 3 s."""
    lines = [
        'annotation_id,video_id,start_timestamp,stop_timestamp,start_sample,stop_sample,class,score'
    ]
    for video, start in rows:
        stop = start + 3
        lines.append(
            f'{video}_{start:.2f}_{stop:.2f},{video},{clock(start)},{clock(stop)},'
            f'{round(24000 * start)},{round(24000 * stop)},metal-only-collision,0.25'
        )
    path.write_text('\n'.join(lines) + '\n')
    return path


def make_epic(folder: Path) -> tuple[Path, Path]:
    """Folder of the videos and CSV: three videos of 59.94, 50 and 29.97 fps, 12 rows in 3 shards
    with ``--samples 4``; a fourth video is not there, a fifth has no sound."""
    rates = (Fraction(60000, 1001), Fraction(50), Fraction(30000, 1001))
    rows = []
    for video, fps in zip(EPIC, rates, strict=True):
        path = folder / 'EPIC-KITCHENS' / video[:3] / 'videos' / f'{video}.MP4'
        make_video(path, even(6, fps), [0.5, 1.5, 2.25, 4.0, 5.5], seconds=6)
        rows += [(video, 0.3, 0.9), (video, 1.3, 1.7), (video, 3.7, 4.35), (video, 2.0, 5.6)]
    make_video(folder / 'P03_01.MP4', even(2, Fraction(30)), [], seconds=2, sound=False)
    rows += [('P03_01', 0.5, 1.0), ('P04_01', 0.5, 1.0)]
    return folder, write_epic(folder / 'epic_train_filtered.csv', rows)


def make_ego4d(folder: Path) -> tuple[Path, Path]:
    """Two videos of 30 fps and of a variable frame rate, and the CSV of their clips."""
    make_video(
        folder / 'v2' / 'full_scale' / f'{UIDS[0]}.mp4', even(10, Fraction(30)), [1.2, 5.0, 8.9],
        seconds=10,
    )  # fmt: skip
    make_video(
        folder / 'v2' / 'full_scale' / f'{UIDS[1]}.mp4', uneven(8), [2.0, 4.5], seconds=8,
        rate=44_100, time_base=Fraction(1, 15360),
    )  # fmt: skip
    rows = [(UIDS[0], 0.0), (UIDS[0], 3.75), (UIDS[0], 7.0), (UIDS[1], 1.0), (UIDS[1], 2.5)]
    return folder, write_ego4d(folder / 'ego4d_train_filtered.csv', rows)
