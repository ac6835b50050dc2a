"""Makes evaluation manifests: from official tables with their masks, and from folders of clips."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.atomic import write_text
from cs3_ros.files.fields import expect, mapping, whole
from cs3_ros.files.jsonfile import read_json
from cs3_ros.files.media import VideoFile
from cs3_training.data.excerpts import pictures_at, sounds_in
from cs3_training.data.manifest import MOST_MASKS, EvaluationFrame, find_masks
from cs3_training.data.records import Segment
from cs3_training.data.sampling import CONTEXT_NS, HEARD_NS, loudest_ns, sound_span_ns
from cs3_training.data.videos import find_videos


@dataclass(eq=False)
class Made:
    """A manifest in the making."""

    frames: list[EvaluationFrame] = field(default_factory=list)
    """What is in it."""
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> ids of what is not."""

    def leave_out(self, reason: str, identifier: str) -> None:
        """Note what is not in it."""
        self.left_out.setdefault(reason, []).append(identifier)

    def write(self, path: Path) -> None:
        """Write it as JSON lines with paths relative to it.

        Raises:
            ValueError: there is not one frame.
        """
        why = '; '.join(f'{reason}: {len(ids)}' for reason, ids in self.left_out.items())
        expect(bool(self.frames), str(path), 'no frames', f'at least one ({why})')
        write_manifest(path, self.frames)


def write_manifest(path: Path, frames: Iterable[EvaluationFrame]) -> None:
    """Write frames as ``manifest.read_manifest`` reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(_as_json(frame, path.parent)) for frame in frames]
    write_text(path, '\n'.join([*lines, '']))


def _as_json(frame: EvaluationFrame, folder: Path) -> dict[str, Any]:
    def relative(other: Path) -> str:
        return Path(os.path.relpath(other, folder)).as_posix()

    data: dict[str, Any] = {
        'id': frame.id,
        'video': relative(frame.video),
        'onset_s': frame.onset_ns / NS_PER_S,
        'frame_s': frame.frame_ns / NS_PER_S,
        'masks': [relative(mask) for mask in frame.masks],
        'group': frame.group,
    }
    more = {'dataset': frame.dataset, 'label': frame.label, 'duration_s': frame.duration_s}
    return data | {name: value for name, value in more.items() if value not in ('', None)}


def from_segments(segments: Sequence[Segment], videos: Path, masks: Path) -> Made:
    """The frames that the authors chose, with the masks that are there.

    The 2 s that the networks hear lie about the middle of a segment that is not longer, about the
    loudest sample of a longer one, moved to stay inside of it (method.md G17, G19).

    Args:
        segments: of an evaluation table, with chosen frames.
        videos: folder of the videos.
        masks: folder of the masks, in any layout that ``find_masks`` knows.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the table has no chosen frames, or masks are ambiguous.
    """
    if any(segment.selected_ns is None for segment in segments):
        raise ValueError('this table has no chosen frames: expected the val table of CS3')
    expect(masks.is_dir(), 'masks', str(masks), 'a folder')
    found = find_videos(videos, {segment.video for segment in segments})
    files = find_masks(masks, {segment.id for segment in segments})
    made = Made()
    onsets = _onsets([each for each in segments if each.id in files], found, made)
    for segment in segments:
        if segment.video not in found:
            made.leave_out('videos that are not there', segment.id)
        elif segment.id not in files:
            made.leave_out('without masks', segment.id)
        elif segment.id in onsets:
            assert segment.selected_ns is not None
            made.frames.append(
                EvaluationFrame(
                    segment.id,
                    found[segment.video],
                    onsets[segment.id],
                    segment.selected_ns,
                    files[segment.id],
                    segment.video,
                    segment.dataset,
                    segment.label,
                    (segment.stop_ns - segment.start_ns) / NS_PER_S,
                )
            )
    return made


def _onsets(segments: Sequence[Segment], videos: dict[str, Path], made: Made) -> dict[str, int]:
    """Id -> media time about which a segment is heard."""
    onsets: dict[str, int] = {}
    listened: dict[str, list[Segment]] = {}
    for segment in segments:
        if segment.stop_ns - segment.start_ns <= HEARD_NS:
            onsets[segment.id] = (segment.start_ns + segment.stop_ns) // 2
        elif segment.video in videos:
            listened.setdefault(segment.video, []).append(segment)
    for name, group in listened.items():
        try:
            spans = [sound_span_ns(segment) for segment in group]
            for number, sound in sounds_in(VideoFile(videos[name]), spans, []):
                segment = group[number]
                latest = segment.stop_ns - CONTEXT_NS
                loudest = loudest_ns(segment, sound)
                onsets[segment.id] = min(max(loudest, segment.start_ns + CONTEXT_NS), latest)
        except ValueError:
            for segment in group:
                made.leave_out('of videos that cannot be read', segment.id)
            continue
        for segment in group:
            if segment.id not in onsets:
                made.leave_out('of videos without sound', segment.id)
    return onsets


def from_clips(folder: Path, every: int = 0) -> Made:
    """Annotated clip folders: ``clip.mp4``, ``clip.json`` with ``peak_frame``, ``masks/FFF_L.png``.

    Args:
        folder: holds the clip folders.
        every: take every such frame as event frame; 0 takes the one nearest the impact alone.

    Raises:
        ValueError: no clip in the folder, or one whose files are not as described.
    """
    names = sorted(path.parent for path in folder.glob('*/clip.json'))
    expect(bool(names), str(folder), 'no clip', 'clip folders with clip.json and clip.mp4')
    made = Made()
    for clip in names:
        where = f'{clip / "clip.json"}'
        facts = mapping(read_json(clip / 'clip.json', where), where, ('peak_frame',), None)
        video = VideoFile(clip / 'clip.mp4')
        stamps = [frame.stamp_ns for frame in video.frames()]
        peak = whole(facts['peak_frame'], f'{where}: peak_frame', 0, len(stamps) - 1)
        for number in range(0, len(stamps), every) if every else [peak]:
            files = sorted((clip / 'masks').glob(f'{number:03d}_*.png'))
            shown = [path for path in files if re.fullmatch(r'\d{3}_[1-9]', path.stem)]
            identifier = f'{clip.name}_{number:03d}'
            if not shown:
                made.leave_out('nothing annotated', identifier)
                continue
            expect(len(shown) <= MOST_MASKS, identifier, len(shown), 'one or two masks')
            stamp = stamps[number]
            made.frames.append(
                EvaluationFrame(identifier, video.path, stamp, stamp, tuple(shown), clip.name)
            )
    return made


def write_pictures(frames: Iterable[EvaluationFrame], folder: Path) -> list[str]:
    """``ID.png`` of each frame, for a detector that runs elsewhere; returns what was left out.

    Raises:
        ValueError: an id is no name of a file.
        OSError: they cannot be written.
    """
    from cs3_ros.files.images import save_image

    folder.mkdir(parents=True, exist_ok=True)
    left_out = []
    for frame in frames:
        good = re.fullmatch(r'[\w\-][\w.\-]{0,200}', frame.id) is not None
        expect(good, 'id', frame.id, 'letters, digits, _, - and points')
        try:
            (picture,) = pictures_at(VideoFile(frame.video), [frame.frame_ns], [])
        except (ValueError, OSError) as error:
            left_out.append(f'{frame.id}: {error}')
            continue
        save_image(folder / f'{frame.id}.png', picture.image)
    return left_out
