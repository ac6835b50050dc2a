"""The times that frames and sound cover: where they do not meet, no event can have a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cs3_ros.collision import NS_PER_S

APART_S = 3.0
"""Frames and sound this far apart do not belong to one clock."""

Kind = Literal['frames', 'sound']


@dataclass
class Span:
    """From the first to the last stamp, nanoseconds."""

    first_ns: int
    last_ns: int

    def __str__(self) -> str:
        return f'{self.first_ns / NS_PER_S:.3f} to {self.last_ns / NS_PER_S:.3f} s'


class Spans:
    """Keeps what frames and sound have covered since the start or the last ``clear``."""

    def __init__(self) -> None:
        self._of: dict[Kind, Span] = {}

    def clear(self) -> None:
        """Forget all: a clock jumped."""
        self._of.clear()

    def add(self, kind: Kind, stamp_ns: int) -> None:
        """A frame, or a chunk of sound, of this stamp has come."""
        span = self._of.get(kind)
        if span is None:
            self._of[kind] = Span(stamp_ns, stamp_ns)
        else:
            span.first_ns = min(span.first_ns, stamp_ns)
            span.last_ns = max(span.last_ns, stamp_ns)

    @property
    def problem(self) -> str:
        """Why frames and sound do not meet, with both spans and the likely cause; '' if they do."""
        if len(self._of) < 2:
            return ''
        frames, sound = self._of['frames'], self._of['sound']
        apart_ns = max(frames.first_ns - sound.last_ns, sound.first_ns - frames.last_ns)
        if apart_ns <= APART_S * NS_PER_S:
            return ''
        early = min(frames.last_ns, sound.last_ns)
        cause = (
            'one of them is stamped by the time since its device or program started, the other by '
            'the time of day'
            if early < 10**8 * NS_PER_S < max(frames.first_ns, sound.first_ns)
            else 'the clocks of camera and microphone differ, or one ended before the other began'
        )
        return (
            f'sound ({sound}) and pictures ({frames}) do not overlap in time: {cause}; '
            'stamp both by one clock'
        )
