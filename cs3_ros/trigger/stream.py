"""The engine behind files, bags and topics: sound and frames in, onsets and collision clips out.

A video file, a bag and the live node push the same data here and so get the same clips. Nothing
raises on bad data: it is repaired, marked or refused, and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Frame, Onset
from cs3_ros.trigger.assembler import ClipAssembler, ClipConfig, Event, Progress
from cs3_ros.trigger.buffers import (
    JUMP_BACK_NS,
    AudioBuffer,
    AudioConfig,
    AudioPush,
    FrameBuffer,
    FrameConfig,
)
from cs3_ros.trigger.decimation import make_detector
from cs3_ros.trigger.onset import INPUT_RATES, DetectedOnset, OnsetConfig
from cs3_ros.trigger.spans import Spans

SILENCE_S = 1.0
"""A gap this long ends the sound before it, as the node's ``flush`` does."""
CLIPPED_SHARE = 0.01
"""A chunk with more than this share of samples at full scale counts as clipped."""
SILENT_RATE = 16_000
"""Rate of the empty sound of a clip that was asked for before any came."""
LATE_CHUNKS = 10
"""So many chunks in a row that are late, each after the other, are a clock that jumped back."""

COUNTS: Mapping[str, str] = MappingProxyType(
    {
        'frames': 'frames stored',
        'duplicate_frames': 'frames refused because their stamp was there already',
        'out_of_order_frames': 'frames stored at an earlier place',
        'evicted_frames': 'frames that left early because there were too many bytes',
        'audio_chunks': 'audio chunks stored, whole or in part',
        'gaps': 'gaps in the sound',
        'missing_samples': 'samples marked missing in gaps',
        'duplicates': 'audio chunks refused because they came before, with the same stamp',
        'overlaps': 'audio chunks whose head had come before and was cut off',
        'out_of_order': 'audio chunks that came too late: refused, or put into the gap before them',
        'dropped_samples': 'samples of such chunks and heads',
        'nonfinite_samples': 'NaN or infinite samples, marked missing',
        'clipped_chunks': 'audio chunks with more than 1 % of the samples at full scale',
        'bad_chunks': 'audio chunks refused for their shape, rate or channels',
        'bad_stamps': 'frames and chunks refused because their stamp was not positive',
        'rate_changes': 'changes of sample rate or channel count',
        'resets': 'clock jumps backwards',
        'jumps_forward': 'sound that jumped ahead by more than its buffer',
        'splices': 'onsets refused because lost sound was found there too late to mark it',
        'gated': 'sudden sounds turned away because they were probably no impacts (onset.gate)',
        'onsets': 'onsets heard',
        'no_frame': 'onsets dropped because no frame was near',
        'clips': 'collision clips completed',
    }
)
"""All counters and what they count."""


class Detector(Protocol):
    """What the stream needs of an onset detector; see ``OnsetDetector``."""

    def push(self, samples: NDArray[np.float32]) -> Sequence[DetectedOnset]:
        """Onsets that have become certain; samples are numbered from 0."""

    def skip(self, count: int) -> None:
        """Count samples that never arrived."""

    def flush(self) -> Sequence[DetectedOnset]:
        """The onsets that were still waiting for sound; the numbers go on."""

    def turned_away(self) -> Sequence[DetectedOnset]:
        """Peaks that were turned away since the last call."""

    def reset(self) -> None:
        """Forget everything; the next sample is number 0."""

    def reconfigure(self, config: OnsetConfig) -> None:
        """Change thresholds."""


@dataclass
class Update:
    """What one push brought forward, each list in time order."""

    onsets: list[Onset] = field(default_factory=list)
    """Onsets heard."""
    gated: list[Onset] = field(default_factory=list)
    """Sudden sounds that the gate turned away."""
    ready: list[Event] = field(default_factory=list)
    """Events whose frames are settled: ``Pipeline.prepare`` may begin."""
    complete: list[Event] = field(default_factory=list)
    """Events whose ``clip`` is there. Each was in ``ready`` before or is in this one."""


@dataclass(eq=False)
class _AudioTrack:
    """Buffer and detector of one kind of sound; they number the samples alike."""

    audio: AudioBuffer
    detector: Detector
    channels: int
    late: int = 0
    late_stamp_ns: int = 0

    def clear(self) -> None:
        self.audio.clear()
        self.detector.reset()
        self.late = 0

    def went_back(self, pushed: AudioPush, stamp_ns: int) -> bool:
        """Whether the clock jumped back: by over 1 s, or by less and it goes on from there."""
        if pushed.outcome not in ('duplicate', 'out_of_order'):
            self.late = 0
        else:
            self.late = self.late + 1 if stamp_ns > self.late_stamp_ns else 1
            self.late_stamp_ns = stamp_ns
        return pushed.outcome == 'jump_back' or self.late >= LATE_CHUNKS


class CollisionStream:
    """Buffers, detector and assembler in one.

    Args:
        clip_config: spans round the onset, given by the bundle.
        onset_config: when something counts as an impact.
        audio_config: how sound is buffered.
        frame_config: how many frames are kept.
        make_detector: makes a detector for a sample rate.

    Raises:
        ValueError: a buffer is too short for the clips.
    """

    def __init__(
        self,
        clip_config: ClipConfig = ClipConfig(),
        onset_config: OnsetConfig = OnsetConfig(),
        audio_config: AudioConfig = AudioConfig(),
        frame_config: FrameConfig = FrameConfig(),
        make_detector: Callable[[int, OnsetConfig], Detector] = make_detector,
    ) -> None:
        clip = clip_config
        _check_span('audio', clip.audio_before_s + clip.audio_after_s, audio_config.buffer_s)
        _check_span('frames', clip.frames_before_s + clip.frames_after_s, frame_config.buffer_s)
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        """All counters of ``COUNTS``."""
        self.frames = FrameBuffer(frame_config)
        """The newest frames."""
        self.spans = Spans()
        """Times that frames and sound have covered."""
        self._onset_config = onset_config
        self._audio_config = audio_config
        self._make_detector = make_detector
        self._track: _AudioTrack | None = None
        self._assembler = ClipAssembler(clip_config, self.frames, self.counts)

    @property
    def audio(self) -> AudioBuffer | None:
        """The newest sound; None while there is none."""
        return None if self._track is None else self._track.audio

    def push_audio(self, stamp_ns: int, samples: NDArray[np.float32], rate: int) -> Update:
        """Take in a chunk of sound.

        Args:
            stamp_ns: header stamp; which sample it belongs to is in ``AudioConfig``.
            samples: float32 [N] or, to be averaged, [N, channels], in [-1, 1]; see
                ``AudioConfig.channels``.
            rate: samples per second.
        """
        update = Update()
        if stamp_ns <= 0:
            self.counts['bad_stamps'] += 1
            return update
        samples = np.asarray(samples, np.float32)
        if (
            samples.ndim not in (1, 2)
            or not samples.size
            or not INPUT_RATES[0] <= rate <= INPUT_RATES[1]
        ):
            self.counts['bad_chunks'] += 1
            return update
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        try:
            self._audio_config.check_channels(channels)
        except ValueError:  # doors that can say so check before
            self.counts['bad_chunks'] += 1
            return update
        mono = samples if samples.ndim == 1 else self._audio_config.mix(samples)
        track = self._track_for(rate, channels, update)
        pushed = track.audio.push(stamp_ns, mono)
        if track.went_back(pushed, stamp_ns):
            self.counts['resets'] += 1
            self.spans.clear()
            self._close_all(track, update)
            track.clear()
            # Frames of the old time go; after a small jump those of the new one come again.
            latest = self.frames.latest
            if latest and (pushed.outcome != 'jump_back' or _is_ahead(latest.stamp_ns, stamp_ns)):
                self.frames.clear()
            pushed = track.audio.push(stamp_ns, mono)
        elif pushed.outcome == 'jump_forward':
            self.counts['jumps_forward'] += 1
            self._end_sound(track, update)
            track.clear()
            pushed = track.audio.push(stamp_ns, mono)
        self._count(pushed)
        if pushed.samples.size:
            self.spans.add('sound', stamp_ns)
        if pushed.missing >= SILENCE_S * rate:
            self._hear(track, track.detector.flush(), update)
        track.detector.skip(pushed.missing)
        self._hear(track, track.detector.push(pushed.samples), update)
        self._add(self._assembler.poll(track.audio), update)
        return update

    def push_frame(self, frame: Frame) -> Update:
        """Take in a frame; it is not decoded before an event needs it."""
        update = Update()
        if frame.stamp_ns <= 0:
            self.counts['bad_stamps'] += 1
            return update
        track = self._track
        pushed = self.frames.push(frame)
        if pushed.outcome == 'jump_back':
            self.counts['resets'] += 1
            self.spans.clear()
            # Sound that has jumped already, and the events heard in it, belong to the new time.
            if track is not None and _is_ahead(track.audio.newest_stamp_ns, frame.stamp_ns):
                self._close_all(track, update)
                track.clear()
            self.frames.clear()
            pushed = self.frames.push(frame)
        if pushed.outcome == 'duplicate':
            self.counts['duplicate_frames'] += 1
            return update
        self.counts['frames'] += 1
        self.spans.add('frames', frame.stamp_ns)
        self.counts['out_of_order_frames'] += pushed.outcome == 'out_of_order'
        self.counts['evicted_frames'] += pushed.evicted
        if track is not None:
            self._add(self._assembler.poll(track.audio), update)
        return update

    def flush(self) -> Update:
        """Close all events with what is there: the file ended, or no sound came for a while."""
        update = Update()
        if self._track is not None:
            self._close_all(self._track, update)
        return update

    def reconfigure(self, onset_config: OnsetConfig) -> None:
        """Use other onset thresholds from now on."""
        self._onset_config = onset_config
        if self._track is not None:
            self._track.detector.reconfigure(onset_config)

    def event_now(self) -> Event | None:
        """A complete event on the newest frame and sound, with NaN for the onset's levels.

        None without frames.
        """
        latest = self.frames.latest
        if latest is None:
            return None
        onset = Onset(latest.stamp_ns, float('nan'), float('nan'))
        return self._assembler.event_now(
            onset, self.audio or AudioBuffer(SILENT_RATE, self._audio_config)
        )

    def _track_for(self, rate: int, channels: int, update: Update) -> _AudioTrack:
        """What listens to this kind of sound; another kind ends the one before."""
        track = self._track
        if track is not None and (track.audio.rate, track.channels) == (rate, channels):
            return track
        if track is not None:
            self.counts['rate_changes'] += 1
            self._end_sound(track, update)
        detector = self._make_detector(rate, self._onset_config)
        self._track = _AudioTrack(AudioBuffer(rate, self._audio_config), detector, channels)
        return self._track

    def _hear(self, track: _AudioTrack, detected: Sequence[DetectedOnset], update: Update) -> None:
        for peak in detected:
            if track.audio.is_spliced(peak.sample):
                self.counts['splices'] += 1
                continue
            onset = _onset_of(peak, track.audio)
            self.counts['onsets'] += 1
            self._assembler.add(onset)
            update.onsets.append(onset)
        for peak in track.detector.turned_away():
            self.counts['gated'] += 1
            update.gated.append(_onset_of(peak, track.audio))

    def _end_sound(self, track: _AudioTrack, update: Update) -> None:
        """The sound breaks off; frames of its events may still come."""
        self._hear(track, track.detector.flush(), update)
        self._assembler.settle_audio(track.audio)

    def _close_all(self, track: _AudioTrack, update: Update) -> None:
        self._hear(track, track.detector.flush(), update)
        self._add(self._assembler.close_all(track.audio), update)

    def _add(self, progress: Progress, update: Update) -> None:
        update.ready += progress.ready
        update.complete += progress.complete
        self.counts['clips'] += len(progress.complete)

    def _count(self, pushed: AudioPush) -> None:
        if pushed.outcome != 'appended':
            self.counts[_COUNTER_OF[pushed.outcome]] += 1
        self.counts['audio_chunks'] += pushed.samples.size > 0
        self.counts['gaps'] += pushed.revision.gaps
        self.counts['missing_samples'] += pushed.missing + pushed.revision.samples
        self.counts['dropped_samples'] += pushed.dropped
        self.counts['nonfinite_samples'] += pushed.nonfinite
        self.counts['clipped_chunks'] += pushed.clipped > CLIPPED_SHARE * pushed.samples.size


def _onset_of(peak: DetectedOnset, audio: AudioBuffer) -> Onset:
    stamp_ns = audio.time_ns(peak.sample)
    return Onset(stamp_ns, peak.peak_dbfs, peak.prominence_db, peak.probability)


_COUNTER_OF = {
    'gap': 'gaps',
    'overlap': 'overlaps',
    'duplicate': 'duplicates',
    'out_of_order': 'out_of_order',
}


def _check_span(name: str, span_s: float, buffer_s: float) -> None:
    least = span_s + SILENCE_S
    if buffer_s < least:
        raise ValueError(
            f'{name}.buffer_s = {buffer_s:g}: clips that span {span_s:g} s of {name} need '
            f'a buffer of at least {least:g} s'
        )


def _is_ahead(newest_ns: int | None, stamp_ns: int) -> bool:
    """Whether a buffer belongs to the time before a clock jumped back to ``stamp_ns``."""
    return newest_ns is not None and newest_ns > stamp_ns + JUMP_BACK_NS
