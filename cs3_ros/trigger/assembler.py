"""Onset + buffers -> CollisionClip, once enough frames and sound have followed.

The rule is the same for files, bags and the live node, and looks at stamps only: the frames of an
event are settled by the first frame at or after ``onset + frames_after_s``, its sound by the sample
at ``onset + audio_after_s``. Either is cut out as soon as its own stream has come that far, so a
clip does not depend on how the two streams interleave.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from cs3_ros.collision import NS_PER_S, AudioClip, CollisionClip, Frame, Onset
from cs3_ros.config import setting, validate
from cs3_ros.trigger.buffers import AudioBuffer, FrameBuffer

SHORTEST_S = 0.05
"""Least sound after an onset for networks: an impact has its first resonances in it."""


@dataclass(frozen=True)
class ClipConfig:
    """Which frames and sound a bundle needs round an onset."""

    frames_before_s: float = setting(
        0.0, 'Seconds of frames before the onset.', minimum=0.0, maximum=10.0
    )
    frames_after_s: float = setting(
        0.0, 'Seconds of frames after the onset.', minimum=0.0, maximum=10.0
    )
    audio_before_s: float = setting(
        0.0, 'Seconds of sound before the onset.', minimum=0.0, maximum=10.0
    )
    audio_after_s: float = setting(
        0.0, 'Seconds of sound after the onset.', minimum=0.0, maximum=10.0
    )
    audio_after_most_s: float = setting(
        0.0,
        'Most seconds of sound after the onset that the networks were made for, where they may '
        'hear more than ``audio_after_s``.',
        minimum=0.0,
        maximum=10.0,
    )
    max_frame_distance_s: float = setting(
        0.5, 'An onset without a frame this near is dropped, seconds.', minimum=0.0, maximum=10.0
    )

    def __post_init__(self) -> None:
        validate(self)

    @property
    def audio_s(self) -> float:
        """Length of the sound, seconds."""
        return self.audio_before_s + self.audio_after_s


@dataclass(frozen=True)
class WaitConfig:
    """What of a bundle's ``ClipConfig`` is chosen anew."""

    audio_after_s: float = setting(
        -1.0,
        "Seconds of sound after the onset that are waited for; -1 takes the bundle's.",
        minimum=-1.0,
        maximum=10.0,
    )

    def __post_init__(self) -> None:
        validate(self)
        if -1 < self.audio_after_s < 0:
            raise ValueError(
                f"clip.audio_after_s = {self.audio_after_s:g}: expected -1 for the bundle's, or at "
                'least 0'
            )

    def of(self, clip: ClipConfig) -> ClipConfig:
        """The spans of a bundle with what is chosen here.

        Args:
            clip: the bundle's own.

        Raises:
            ValueError: longer than what the bundle's networks were made for, or so short that
                nothing of an impact would be heard.
        """
        if self.audio_after_s < 0 or self.audio_after_s == clip.audio_after_s:
            return clip
        least = min(SHORTEST_S, clip.audio_after_s)
        most = max(clip.audio_after_s, clip.audio_after_most_s)
        if not least <= self.audio_after_s <= most:
            raise ValueError(
                f'clip.audio_after_s = {self.audio_after_s:g}: this bundle takes {least:g} to '
                f'{most:g} s, or -1 for its own {clip.audio_after_s:g} s; its networks were made '
                'for no more, and less has nothing of an impact'
            )
        return replace(clip, audio_after_s=self.audio_after_s)


@dataclass(eq=False)
class Event:
    """One onset on its way to a clip; compared by identity."""

    onset: Onset
    """When something hit something."""
    frames: tuple[Frame, ...] = ()
    """Frames round the onset in time order; empty until they are settled."""
    event_index: int = 0
    """Index in ``frames`` of the event frame."""
    audio: AudioClip | None = None
    """Sound round the onset; None until it is settled."""

    @property
    def clip(self) -> CollisionClip:
        """The finished clip.

        Raises:
            ValueError: the frames or the sound are not settled yet.
        """
        if not self.frames or self.audio is None:
            lacking = 'sound' if self.frames else 'frames'
            raise ValueError(
                f'the event at {self.onset.stamp_ns} ns has no {lacking} yet: '
                'take clips from complete events only'
            )
        return CollisionClip(self.onset, self.frames, self.event_index, self.audio)


@dataclass(frozen=True)
class Progress:
    """What a call brought forward; each event appears once in each list, in onset order."""

    ready: tuple[Event, ...]
    """Frames are settled: ``Pipeline.prepare`` may begin."""
    complete: tuple[Event, ...]
    """Sound is settled too: ``event.clip`` is there."""


class ClipAssembler:
    """Keeps onsets until their clips can be cut out of the buffers.

    Args:
        config: spans round the onset.
        frames: where frames are taken from.
        counts: receives ``no_frame``, the onsets that were dropped because no frame was near.
    """

    def __init__(self, config: ClipConfig, frames: FrameBuffer, counts: Counter[str]) -> None:
        self.config = config
        self._frames = frames
        self._counts = counts
        self._pending: list[Event] = []

    def __len__(self) -> int:
        """Events that wait for frames or sound."""
        return len(self._pending)

    def add(self, onset: Onset) -> None:
        """Wait for what belongs to a new onset."""
        self._pending.append(Event(onset))

    def poll(self, audio: AudioBuffer) -> Progress:
        """Cut out what has become available."""
        return self._advance(audio, closing=False)

    def close_all(self, audio: AudioBuffer) -> Progress:
        """Nothing will follow: close all events with what is there, missing sound marked."""
        return self._advance(audio, closing=True)

    def settle_audio(self, audio: AudioBuffer) -> None:
        """No more sound will follow in this buffer, frames may; missing sound is marked."""
        for event in self._pending:
            self._cut_audio(event, audio)

    def event_now(self, onset: Onset, audio: AudioBuffer) -> Event | None:
        """A complete event at a moment without an onset; None where no frame is near.

        Sound that is still to come is made up for by as much earlier sound.
        """
        event = Event(onset)
        if not self._cut_frames(event):
            return None
        end_ns = onset.stamp_ns + _ns(self.config.audio_after_s)
        if audio.end_ns is not None:
            end_ns = min(end_ns, audio.end_ns)
        span_ns = _ns(self.config.audio_before_s) + _ns(self.config.audio_after_s)
        event.audio = audio.window(end_ns - span_ns, end_ns)
        return event

    def _advance(self, audio: AudioBuffer, closing: bool) -> Progress:
        ready, complete, pending = [], [], []
        end_ns, latest = audio.end_ns, self._frames.latest
        for event in self._pending:
            onset_ns = event.onset.stamp_ns
            heard_ns = -1 if end_ns is None else end_ns - onset_ns
            seen_ns = -1 if latest is None else latest.stamp_ns - onset_ns
            if closing or heard_ns >= _ns(self.config.audio_after_s):
                self._cut_audio(event, audio)
            # Frames that the sound has left behind by a whole buffer are not waited for.
            overdue = heard_ns > _ns(audio.config.buffer_s)
            if not event.frames and (
                closing or overdue or seen_ns >= _ns(self.config.frames_after_s)
            ):
                if not self._cut_frames(event):
                    self._counts['no_frame'] += 1
                    continue
                ready.append(event)
            if event.frames and event.audio is not None:
                complete.append(event)
            else:
                pending.append(event)
        self._pending = pending
        return Progress(tuple(ready), tuple(complete))

    def _cut_audio(self, event: Event, audio: AudioBuffer) -> None:
        if event.audio is None:
            onset_ns = event.onset.stamp_ns
            event.audio = audio.window(
                onset_ns - _ns(self.config.audio_before_s),
                onset_ns + _ns(self.config.audio_after_s),
            )

    def _cut_frames(self, event: Event) -> bool:
        """Give the event its frames; False where none is near enough."""
        onset_ns = event.onset.stamp_ns
        nearest = self._frames.nearest(onset_ns)
        if nearest is None or abs(nearest.stamp_ns - onset_ns) > _ns(
            self.config.max_frame_distance_s
        ):
            return False
        around = self._frames.window(
            min(nearest.stamp_ns, onset_ns - _ns(self.config.frames_before_s)),
            max(nearest.stamp_ns, onset_ns + _ns(self.config.frames_after_s)),
        )
        event.event_index = around.index(nearest)
        # Copies: a picture decoded for the event shall not live as long as the buffer's frame.
        event.frames = tuple(replace(frame) for frame in around)
        return True


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
