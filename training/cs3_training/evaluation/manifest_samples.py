"""Samples of a manifest: frames, sound and masks of real videos as the pipeline takes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from cs3_ros.collision import NS_PER_S, AudioClip, CollisionClip, Frame, Onset
from cs3_ros.files.media import VideoFile
from cs3_ros.trigger.assembler import ClipConfig
from cs3_training.data.detections import Detections
from cs3_training.data.excerpts import RATE, pictures_at, pictures_between, sounds_in
from cs3_training.data.manifest import EvaluationFrame, read_manifest
from cs3_training.evaluation.samples import Sample

FAR_NS = NS_PER_S // 2
"""A picture further than this from the annotated time is not that picture."""


class ManifestSamples:
    """The frames of a manifest, read when they are asked for.

    The event frame is the picture nearest to ``frame_s``, its neighbours are those that the bundle
    looks at, and the sound lies about ``onset_s``, at 16 kHz.

    Args:
        path: of the manifest.
        spans: which pictures and how much sound the bundle takes.
        detections: hands that were found beforehand; None leaves them to the bundle.

    Raises:
        FileNotFoundError: there is no such manifest.
        ValueError: it is none.
    """

    def __init__(self, path: Path, spans: ClipConfig, detections: Detections | None = None) -> None:
        self.frames: Sequence[EvaluationFrame] = read_manifest(path)
        self._spans, self._detections = spans, detections
        self._video = lru_cache(maxsize=2)(VideoFile)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        """One sample.

        Raises:
            FileNotFoundError: its video or a mask is not there.
            ValueError: they cannot be read, the video lacks its frame or its sound, or the
                detections lack it.
        """
        frame = self.frames[index]
        truth = frame.load_masks()
        frames, event_index = self.pictures(frame)
        found = None if self._detections is None else self._detections.of(frame.id)
        return Sample(
            index=index,
            seed=0,
            clip=CollisionClip(
                Onset(frame.onset_ns, peak_dbfs=0.0, prominence_db=0.0),
                frames,
                event_index,
                self._sound(frame),
            ),
            other=self._sound(self.frames[self._partner(index)]),
            truth=truth,
            names=(frame.label,) if frame.label else (),
            in_hand=None,
            id=frame.id,
            group=frame.group,
            label=frame.label,
            duration_s=frame.duration_s,
            hands=None if found is None else found.hands,
            second_box=None if found is None else found.second_box,
        )

    def pictures(self, frame: EvaluationFrame) -> tuple[tuple[Frame, ...], int]:
        """The pictures that the bundle looks at and the number of the event frame among them.

        Raises:
            FileNotFoundError: the video is not there.
            ValueError: it cannot be read or has no picture at that time.
        """
        video, problems = self._video(frame.video), list[str]()
        nearest = next(iter(pictures_at(video, [frame.frame_ns], problems)), None)
        if nearest is None or abs(nearest.stamp_ns - frame.frame_ns) > FAR_NS:
            raise ValueError(
                f'{frame.video}: no picture at {frame.frame_ns / NS_PER_S:.3f} s'
                + (f' ({"; ".join(problems)})' if problems else '')
            )
        before, after = (
            round(seconds * NS_PER_S)
            for seconds in (self._spans.frames_before_s, self._spans.frames_after_s)
        )
        seen = [nearest]
        if before or after:
            at = nearest.stamp_ns
            seen = pictures_between(video, at - before, at + after, problems)
        frames = tuple(Frame.from_rgb(each.stamp_ns, each.image) for each in seen)
        return frames, [each.stamp_ns for each in seen].index(nearest.stamp_ns)

    def _sound(self, frame: EvaluationFrame) -> AudioClip:
        """What the bundle hears about the onset; zeros where the video begins or ends."""
        before, after = (
            round(seconds * NS_PER_S)
            for seconds in (self._spans.audio_before_s, self._spans.audio_after_s)
        )
        if not before + after:
            return AudioClip(frame.onset_ns, RATE, np.zeros(0, np.float32), np.zeros(0, bool))
        span = (frame.onset_ns - before, frame.onset_ns + after)
        for _, sound in sounds_in(self._video(frame.video), [span], []):
            if sound.heard.any():
                samples = sound.samples.astype(np.float32) / np.float32(1 << 15)
                return AudioClip(sound.start_ns, RATE, samples, sound.heard)
        raise ValueError(f'{frame.video}: no sound at {frame.onset_ns / NS_PER_S:.3f} s')

    def _partner(self, index: int) -> int:
        """Whose sound stands in where the sound is shuffled: of another video, where there is
        one half of the manifest further on."""
        return (index + len(self) // 2) % len(self)
