"""Events by the thousand: ``cs3 bench soak --events N``, with tracking and, where asked, depth.

A peer feeds one click after the other, in stamps of its own, as fast as it is answered, and hears
all that the nodes say: masks, tracked masks, contact points. After each block of events the node is
deactivated, and what was sent, told and counted is compared.
"""

from __future__ import annotations

import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from audio_common_msgs.msg import AudioData, AudioDataStamped
from geometry_msgs.msg import PointStamped
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from cs3_ros.bench.fake_stages import click_sound
from cs3_ros.bench.soak_peers import Peer
from cs3_ros.collision import NS_PER_S
from cs3_ros.files.images import as_jpeg
from cs3_ros.files.pcm import SoundFormat, encode
from cs3_ros.ros.messages import header, info_message, stamp_to_ns
from cs3_ros.ros.spin import spin_until
from cs3_ros.space.sight import Unseen

BLOCK = 250
"""Events between two deactivations."""
PRESSED = 4
"""One block of so many does not wait for tracked masks, and ends while they are made."""
PERIOD_S, CLICK_S = 0.4, 0.1
"""Each event has so long a stretch of pictures and sound; the click is so long after its begin."""
TRACK_S = 0.3
"""``tracking.seconds`` of the node."""
ANSWER_S = 2.0
"""Masks, tracked masks or points that are not there after this long are not waited for."""
RATE, CHUNK_S, FRAME_RATE, DEPTH_RATE = 48_000, 0.02, 30, 10
HEIGHT, WIDTH, PAN_PX = 64, 96, 1
START_NS = 1000 * NS_PER_S
WITHOUT_DEPTH, ZERO_DEPTH = 3, 6
"""Of ten events, these have no depth image at their time and one that is empty."""
DISTANCE_MM = 700

SENSES, DEPTH_SENSES = ('image/compressed', 'audio_info', 'audio'), ('depth', 'camera_info')

NO_POINT = (*get_args(Unseen), 'no_transform', 'dropped', 'failed')
"""Counters of the contact node for events that give no point."""


class EventPeer(Peer):
    """A peer that hears what comes of its clicks.

    Args:
        depth: send depth and camera_info, too, and expect points.

    Attributes:
        played: events so far.
    """

    def __init__(self, depth: bool) -> None:
        from cs3_ros.bench.node_peers import textured

        super().__init__()
        self.played = 0
        self._depth = depth
        wall = textured(0, WIDTH + 8 * PAN_PX, HEIGHT)
        views = (np.ascontiguousarray(wall[:, k * PAN_PX :][:, :WIDTH]) for k in range(8))
        jpegs = [array.array('B', as_jpeg(view, 80)) for view in views]
        self._jpegs = jpegs + jpegs[-2:0:-1]  # the camera pans to and fro
        self._sounds = [encode(click_sound((CLICK_S,), PERIOD_S, RATE, k)) for k in range(16)]
        values = [np.full((HEIGHT, WIDTH), mm, '<u2').tobytes() for mm in (0, DISTANCE_MM)]
        self._depths = [array.array('B', value) for value in values]
        self._next_tracked = 0
        self._clear()
        told: Any = self._on_tracked  # rclpy's annotations know callbacks without info only
        self.create_subscription(ImageMessage, 'collision_masks', self._on_masks, 1000)
        self.create_subscription(ImageMessage, 'tracked_masks', told, 1000)
        self.create_subscription(PointStamped, 'contact_point', self._on_point, 1000)

    def block(self, count: int) -> str:
        """Play events on the active node; what was wrong, '' if nothing was.

        Args:
            count: how many.
        """
        self._clear()
        for topic in (*SENSES, *(DEPTH_SENSES if self._depth else ())):
            if topic not in self._outlets:
                self.advertise(topic)
        self.heard()
        self.tell(info_message(SoundFormat(RATE, 1, 'S16LE')))
        spin_until(self, lambda: False, 0.5)  # by then the node has read audio_info
        pressed = self.played // BLOCK % PRESSED == PRESSED - 1
        for _ in range(count):
            self._publish(self.played)
            self._events.append(self.played)
            self.played += 1
            if len(self._events) > 1:  # two are under way, so that the nodes never wait
                self._wait_for(self._events[-2], pressed)
            self.on_wait()
        self._wait_for(self._events[-1], pressed)
        return ''

    def account(self) -> str:
        """What the nodes owe after a block, the node inactive: '' if nothing."""
        counted, contact = self.counted, self.counted_contact
        dropped = counted('dropped', 'failed', 'no_frame')
        frames_lost = counted('lost_frames', 'lost_audio', 'evicted_frames')
        unanswered = len(self._events) - len(self.masks) - dropped
        masks = sorted(self.masks)
        untracked = len(_spans(masks, self._frames) - self.tracked)
        untracked -= counted('dropped_track_frames', 'failed_tracks') + self.unheard
        problems = [
            f'{unanswered} events untold' * (unanswered != 0 and not frames_lost),
            f'{untracked} tracked frames untold' * (untracked > 0),
        ]
        if self._depth:
            lost = contact('lost_collision_masks', 'lost_detections')
            seen = contact('events')
            unseen = len(masks) - seen - lost
            pointless = seen - contact('contacts', *NO_POINT)
            due = sum(number % 10 not in (WITHOUT_DEPTH, ZERO_DEPTH) for number in self._events)
            lacking = due - len(self.points)
            excused = lost + dropped + frames_lost + contact('lost_depth', 'dropped')
            problems += [
                f'{unseen} events untold by the contact node' * (unseen > 0),
                f'{pointless} points untold' * (pointless != 0),
                f'{lacking} points lacking' * (lacking != 0 and not excused),
            ]
        return '; '.join(filter(None, problems))

    def figures(self) -> dict[str, int]:
        """What came of the last block."""
        node = ('done', 'dropped', 'failed', 'tracked_frames', 'dropped_track_frames')
        found = {name: self.counted(name) for name in (*node, 'failed_tracks', 'lost_objects')}
        if self._depth:
            names = ('contacts', 'lost_depth', *NO_POINT)
            found |= {f'contact.{name}': self.counted_contact(name) for name in names}
        return {'events': len(self._events), **found, 'unheard': self.unheard}

    # ---- what is sent ---------------------------------------------------------------------------

    def _publish(self, number: int) -> None:
        """An event at once, in the order of its stamps."""
        sound, step = self._sounds[number % 16], 2 * round(RATE * CHUNK_S)
        parts = [(k * CHUNK_S, 'audio') for k in range(len(sound) // step)]
        parts += [(k / FRAME_RATE, 'image') for k in range(round(PERIOD_S * FRAME_RATE))]
        if self._depth:
            kinds = range(round(PERIOD_S * DEPTH_RATE))
            parts += [(k / DEPTH_RATE, 'depth') for k in kinds if number % 10 != WITHOUT_DEPTH]
            parts += [(0.0, 'camera_info')]
        for offset_s, kind in sorted(parts):
            stamp_ns = START_NS + round((number * PERIOD_S + offset_s) * NS_PER_S)
            stamp = header(stamp_ns, 'camera')
            if kind == 'audio':
                first = round(offset_s / CHUNK_S) * step
                data = AudioData(data=array.array('B', sound[first : first + step]))
                self.send('audio', AudioDataStamped(header=stamp, audio=data))
            elif kind == 'image':
                self._frames.append(stamp_ns)
                jpeg = self._jpegs[len(self._frames) % len(self._jpegs)]
                message = CompressedImage(header=stamp, format='jpeg', data=jpeg)
                self.send('image/compressed', message)
            elif kind == 'depth':
                image = ImageMessage(header=stamp, height=HEIGHT, width=WIDTH, encoding='16UC1')
                image.step, image.data = 2 * WIDTH, self._depths[number % 10 != ZERO_DEPTH]
                self.send('depth', image)
            else:
                k = [90.0, 0.0, WIDTH / 2 - 0.5, 0.0, 90.0, HEIGHT / 2 - 0.5, 0.0, 0.0, 1.0]
                self.send('camera_info', CameraInfo(header=stamp, width=WIDTH, height=HEIGHT, k=k))

    def _wait_for(self, number: int, pressed: bool) -> None:
        """Hear what is due for an event, as long as that is worth waiting for."""
        low, high = (START_NS + round(k * PERIOD_S * NS_PER_S) for k in (number, number + 1))
        due = [stamp_ns for stamp_ns in self._frames[-24:] if low <= stamp_ns <= high]
        pointed = self._depth and number % 10 not in (WITHOUT_DEPTH, ZERO_DEPTH)

        def answered() -> bool:
            masks = [stamp_ns for stamp_ns in self._last_masks if low <= stamp_ns < high]
            if pressed or not masks:
                return bool(masks)
            tracked = self.tracked.issuperset(_spans(masks, due))
            return tracked and (not pointed or masks[0] in self.points)

        spin_until(self, answered, ANSWER_S)

    # ---- what is heard --------------------------------------------------------------------------

    def _clear(self) -> None:
        self._events: list[int] = []
        self._frames: list[int] = []
        self._last_masks: list[int] = []
        self.masks: set[int] = set()
        self.tracked: set[int] = set()
        self.points: set[int] = set()
        self.unheard = 0

    def _on_masks(self, message: ImageMessage) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        self.masks.add(stamp_ns)
        self._last_masks = [*self._last_masks, stamp_ns][-4:]

    def _on_tracked(self, message: ImageMessage, info: Mapping[str, int]) -> None:
        number = info['publication_sequence_number']
        if self._next_tracked:
            self.unheard += number - self._next_tracked  # by this process
        self._next_tracked = number + 1
        self.tracked.add(stamp_to_ns(message.header.stamp))

    def _on_point(self, message: PointStamped) -> None:
        self.points.add(stamp_to_ns(message.header.stamp))


def _spans(events: Sequence[int], frames: Sequence[int]) -> set[int]:
    """Stamps of the frames to which masks have to be carried on: ``TRACK_S`` from each event."""
    found = set()
    for stamp_ns in frames:
        k = bisect_right(events, stamp_ns)
        if k and stamp_ns <= events[k - 1] + round(TRACK_S * NS_PER_S):
            found.add(stamp_ns)
    return found


def slope(rss_mb: Sequence[float], block: int) -> float:
    """Megabytes per thousand events, by least squares, the first quarter left out: there buffers
    and caches fill.

    Args:
        rss_mb: after each block, at least four.
        block: events of a block.
    """
    kept = np.asarray(rss_mb[len(rss_mb) // 4 :], np.float64)
    return float(np.polyfit(np.arange(len(kept)), kept, 1)[0]) * 1000 / block
