"""Annotating a list of candidates: on disk after every change, whole whenever it ends.

In its folder lie ``drawings/ID.json`` (what was drawn, see ``drawing``), and for each candidate
that is done ``masks/ID_1.png``, ``masks/ID_2.png`` and its line of ``manifest.jsonl``. The manifest
is written last, and a line is taken out of it before its masks change, so that it never names what
is not there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from cs3_ros.collision import NS_PER_S, Frame, Mask, Prompt
from cs3_ros.files.atomic import clear_parts, replacing
from cs3_ros.files.fields import expect, shown
from cs3_ros.files.jsonfile import read_json, write_json
from cs3_ros.files.media import VideoFile
from cs3_ros.pipeline import Masker
from cs3_training.curate.clip import Clip, load_clip
from cs3_training.curate.drawing import Drawing, as_data, painted, read_drawing
from cs3_training.data.manifest import EvaluationFrame
from cs3_training.data.manifest_makers import write_manifest
from cs3_training.data.records import Segment

MANIFEST = 'manifest.jsonl'
KEPT = 32
"""Answers of the masker that are kept, so that the brush need not wait for it."""


class Work:
    """Candidates, what was drawn on them, and the masks; for several threads.

    Args:
        segments: the candidates, in the order in which they are shown.
        videos: name of a video -> its file, for those that are there.
        folder: where everything is kept; it exists.
        masker: makes masks of what is drawn.

    Raises:
        ValueError: what lies in the folder is damaged; names the file.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        videos: Mapping[str, Path],
        folder: Path,
        masker: Masker,
    ) -> None:
        self.segments, self.folder = tuple(segments), folder
        self._videos, self._masker, self._lock = videos, masker, RLock()
        self._drawings: dict[str, Drawing] = {}
        self._clip: tuple[int, Clip] | None = None
        self._encoded: tuple[Frame, Any] | None = None
        self._cut: OrderedDict[Any, Mask] = OrderedDict()
        for name in ('drawings', 'masks'):
            (folder / name).mkdir(exist_ok=True)
            clear_parts(folder / name)
        for segment in self.segments:
            path = self._drawing_path(segment)
            if path.is_file():
                where = f'drawing {str(path)!r}'
                try:
                    drawing = read_drawing(read_json(path, where))
                except ValueError as error:
                    raise ValueError(f'{path}: {error}; remove it to draw anew') from error
                if drawing.verdict == 'done' and not all(
                    mask.is_file() for mask in self._mask_paths(segment, drawing)
                ):
                    drawing = replace(drawing, verdict='open')
                self._drawings[segment.id] = drawing
        self._write_manifest()

    @property
    def verdicts(self) -> list[str]:
        """What became of each candidate so far."""
        with self._lock:
            found = [self._drawings.get(segment.id) for segment in self.segments]
            return [drawing.verdict if drawing else 'open' for drawing in found]

    def has_video(self, index: int) -> bool:
        """Whether the video of a candidate is there."""
        return self.segments[index].video in self._videos

    def clip(self, index: int) -> Clip:
        """Pictures and sound of a candidate; those of the last one that was asked for are kept.

        Raises:
            OSError: the video is not there.
            ValueError: it cannot be read.
        """
        with self._lock:
            if self._clip is None or self._clip[0] != index:
                segment = self.segments[index]
                if segment.video not in self._videos:
                    raise FileNotFoundError(f'{segment.video}: no such video below --videos')
                self._clip = self._encoded = None  # frees the memory before the next one takes it
                self._cut.clear()
                video = VideoFile(self._videos[segment.video])
                self._clip = (index, load_clip(video, segment.start_ns, segment.stop_ns))
            return self._clip[1]

    def drawing(self, index: int) -> Drawing:
        """What was drawn on a candidate; for a new one the frame at its onset, else at its loudest
        sample."""
        with self._lock:
            segment, clip = self.segments[index], self.clip(index)
            drawing = self._drawings.get(segment.id)
            if drawing is None:
                onset_ns = clip.loudest_ns if segment.onset_ns is None else segment.onset_ns
                drawing = Drawing(max(onset_ns, 0), _nearest(clip, onset_ns).stamp_ns)
            return replace(drawing, frame_ns=_nearest(clip, drawing.frame_ns).stamp_ns)

    def masks(self, index: int, drawing: Drawing) -> list[Mask]:
        """The mask of each drawn object, bool [H, W]; all False where nothing was drawn.

        Raises:
            ValueError: the frame is none of the candidate's.
        """
        with self._lock:
            frame = self._frame(index, drawing)
            asked = [each.prompt for each in drawing.objects]
            masks = []
            for prompt, drawn in zip(asked, drawing.objects, strict=True):
                mask = np.zeros(frame.image.shape[:2], bool)
                if prompt is not None:
                    mask = self._segmented(frame, prompt, (drawn.box, drawn.include, drawn.exclude))
                masks.append(painted(mask, drawn.strokes))
            return masks

    def save(self, index: int, drawing: Drawing) -> list[Mask]:
        """Keep what was drawn; the mask of each object.

        Raises:
            OSError: it cannot be written.
            ValueError: the frame is none of the candidate's, or it is to be done and has no object
                or an empty mask.
        """
        with self._lock:
            segment, masks = self.segments[index], self.masks(index, drawing)
            if drawing.verdict == 'done':
                expect(bool(masks), segment.id, 'no object', 'one or two before it is done')
                empty = [k + 1 for k, mask in enumerate(masks) if not mask.any()]
                expect(not empty, segment.id, f'object {empty}', 'pixels in the mask of each')
            before = self._drawings.get(segment.id)
            if before is not None and before.verdict == 'done':
                self._keep(segment, replace(drawing, verdict='open'))
                for path in self._mask_paths(segment, before):
                    path.unlink(missing_ok=True)
            if drawing.verdict == 'done':
                paths = self._mask_paths(segment, drawing)
                for path, mask in zip(paths, masks, strict=True):
                    with replacing(path) as part:
                        part.write_bytes(as_png(mask.astype(np.uint8) * 255))
            self._keep(segment, drawing)
            return masks

    def _keep(self, segment: Segment, drawing: Drawing) -> None:
        before = self._drawings.get(segment.id)
        self._drawings[segment.id] = drawing
        was_done = before is not None and before.verdict == 'done'
        if was_done and drawing.verdict != 'done':
            self._write_manifest()
        write_json(self._drawing_path(segment), as_data(drawing))
        if drawing.verdict == 'done':
            self._write_manifest()

    def _frame(self, index: int, drawing: Drawing) -> Frame:
        frame = _nearest(self.clip(index), drawing.frame_ns)
        good = frame.stamp_ns == drawing.frame_ns
        expect(good, 'frame_ns', drawing.frame_ns, f'a frame of {self.segments[index].id}')
        return frame

    def _segmented(self, frame: Frame, prompt: Prompt, said: Any) -> Mask:
        key = (frame.stamp_ns, said)
        if key not in self._cut:
            if self._encoded is None or self._encoded[0] is not frame:
                self._encoded = (frame, self._masker.encode(frame.image))
            (self._cut[key],) = self._masker.segment(self._encoded[1], [prompt])
            if len(self._cut) > KEPT:
                self._cut.popitem(last=False)
        self._cut.move_to_end(key)
        return self._cut[key]

    def _drawing_path(self, segment: Segment) -> Path:
        return self.folder / 'drawings' / f'{segment.id}.json'

    def _mask_paths(self, segment: Segment, drawing: Drawing) -> list[Path]:
        folder = self.folder / 'masks'
        return [folder / f'{segment.id}_{k + 1}.png' for k in range(len(drawing.objects))]

    def _write_manifest(self) -> None:
        done = [
            self._evaluated(segment, drawing)
            for segment in self.segments
            if (drawing := self._drawings.get(segment.id)) and drawing.verdict == 'done'
        ]
        write_manifest(self.folder / MANIFEST, done)

    def _evaluated(self, segment: Segment, drawing: Drawing) -> EvaluationFrame:
        """What the manifest says of a candidate that is done."""
        return EvaluationFrame(
            segment.id,
            self._videos.get(segment.video, self.folder / f'{segment.video}.mp4'),
            drawing.onset_ns,
            drawing.frame_ns,
            tuple(self._mask_paths(segment, drawing)),
            # frames of a participant's kitchen are alike
            segment.video[:3] if segment.dataset == 'epic' else segment.video,
            segment.dataset if segment.dataset != 'own' else '',
            segment.label,
            (segment.stop_ns - segment.start_ns) / NS_PER_S,
        )


def _nearest(clip: Clip, time_ns: int) -> Frame:
    return min(clip.frames, key=lambda frame: abs(frame.stamp_ns - time_ns))


def as_png(values: np.ndarray) -> bytes:
    """The bytes of a PNG file.

    Args:
        values: uint8, grey [H, W] or BGRA [H, W, 4].

    Raises:
        ValueError: OpenCV could not encode it.
    """
    import cv2

    good, data = cv2.imencode('.png', values, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not good:
        raise ValueError(f'a picture of {shown(values.shape)} could not be encoded as PNG')
    return data.tobytes()
