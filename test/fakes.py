"""Stages and recordings that do nothing clever: they let tests look at what surrounds them."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.bench.fake_stages import BothHands, BoxMasker, click_sound
from cs3_ros.collision import NS_PER_S, AudioClip, Frame, Image, Localisation, Mask, Prompt
from cs3_ros.files.pcm import SoundChunk, SoundFormat
from cs3_ros.pipeline import Pipeline


class TroubledMasker(BoxMasker):
    """A pause or an exception can be put into it."""

    def __init__(self, pause_s: float = 0.0, fail: Callable[[], bool] = lambda: False) -> None:
        self.pause_s = pause_s
        self.fail = fail

    def encode(self, image: Image) -> Any:
        time.sleep(self.pause_s)
        if self.fail():
            raise RuntimeError('this stage was told to fail')
        return super().encode(image)


class SmoothHeatMap:
    """A localiser that hears everything on the left."""

    def encode(self, frames: Sequence[Frame], index: int) -> Any:
        return frames[index].image.shape[:2]

    def locate(self, encoded: Any, audio: AudioClip) -> Localisation:
        height, width = encoded
        heat = np.repeat(np.linspace(1, 0, width, dtype=np.float32)[None], height, axis=0)
        return Localisation(heat, (0, 0, width / 4, height), 0.5)


def fake_pipeline(
    pause_s: float = 0.0, fail: Callable[[], bool] = lambda: False, heat_map: bool = False
) -> Pipeline:
    """A pipeline that always finds two touching boxes."""
    localiser = SmoothHeatMap() if heat_map else None
    return Pipeline('fake', TroubledMasker(pause_s, fail), hands=BothHands(), localiser=localiser)


class BrightMasker(BoxMasker):
    """The mask of a box are the 8x8 blocks in it that are more white than black."""

    def encode(self, image: Image) -> Any:
        height, width = image.shape[0] // 8, image.shape[1] // 8
        blocks = image.min(axis=2).reshape(height, 8, width, 8).mean(axis=(1, 3))
        return np.kron(blocks > 127, np.ones((8, 8), bool))

    def segment(self, encoded: Any, prompts: Sequence[Prompt]) -> list[Mask]:
        return [mask & encoded for mask in super().segment(encoded.shape, prompts)]


def bright_pipeline() -> Pipeline:
    """A pipeline whose masks depend on the picture."""
    return Pipeline('bright', BrightMasker(), hands=BothHands())


def blocks(seed: int = 1) -> Image:
    """A grey picture, RGB [64, 96, 3], of dark and bright 8x8 blocks."""
    bright = np.random.default_rng(seed).random((8, 12)) > 0.4
    bright[3:5, 5:7] = True  # the two objects of BothHands touch here
    grey = np.where(np.kron(bright, np.ones((8, 8), bool)), 220, 30).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


class ClickRecording:
    """Frames that change colour and clicks in faint noise, as a recording in memory.

    Args:
        clicks_s: times of the clicks in media time.
        duration_s: length.
        size: width and height.
        frame_rate: frames per second.
        rate: sound samples per second.
    """

    path = Path('clicks')
    origin_ns = 0
    refused_frames = 0

    def __init__(
        self,
        clicks_s: Sequence[float],
        duration_s: float = 3.0,
        size: tuple[int, int] = (96, 64),
        frame_rate: float = 30.0,
        rate: int = 48_000,
    ) -> None:
        self.clicks_s = tuple(clicks_s)
        self.duration_s = duration_s
        self.problems: list[str] = []
        self.size = size
        self.frame_rate = frame_rate
        self.sound_format = SoundFormat(rate, 1, 'S16LE')

    def frames(self) -> Iterator[Frame]:
        width, height = self.size
        for k in range(round(self.duration_s * self.frame_rate)):
            image = np.full((height, width, 3), (k * 3 % 256, 90, 160), np.uint8)
            yield Frame.from_rgb(round(k * NS_PER_S / self.frame_rate), image)

    def sound(self) -> Iterator[SoundChunk]:
        rate = self.sound_format.rate
        samples = click_sound(self.clicks_s, self.duration_s, rate)
        for start in range(0, samples.size, rate // 50):
            chunk = samples[start : start + rate // 50][:, None]
            yield SoundChunk(round(start * NS_PER_S / rate), rate, chunk)

    def __iter__(self) -> Iterator[Frame | SoundChunk]:
        return heapq.merge(self.frames(), self.sound(), key=lambda item: item.stamp_ns)


# ---- ROS messages; imported late, so that the tests without ROS can use the rest ----------------


def picture_message(time_s: float, picture: Image | None = None, frame_id: str = 'camera') -> Any:
    """sensor_msgs/Image, rgb8, ``time_s`` after 1000 s."""
    from cs3_ros.ros.messages import header, image_message

    return image_message(
        header(stamp_ns(time_s), frame_id), blocks() if picture is None else picture
    )


def jpeg_message(time_s: float, picture: Image | None = None) -> Any:
    """sensor_msgs/CompressedImage."""
    import cv2
    from sensor_msgs.msg import CompressedImage

    from cs3_ros.ros.messages import header

    done, data = cv2.imencode('.jpg', blocks() if picture is None else picture)
    assert done
    message = CompressedImage(header=header(stamp_ns(time_s), 'camera'), format='jpeg')
    message.data = data.tobytes()
    return message


def info_message(rate: int = 48_000, channels: int = 1, fmt: str = 'S16LE', coding: str = 'wave'):
    """audio_common_msgs/AudioInfo."""
    from audio_common_msgs.msg import AudioInfo

    return AudioInfo(sample_rate=rate, channels=channels, sample_format=fmt, coding_format=coding)


def sound_message(time_s: float, data: bytes) -> Any:
    """audio_common_msgs/AudioDataStamped."""
    from audio_common_msgs.msg import AudioDataStamped

    from cs3_ros.ros.messages import header

    message = AudioDataStamped(header=header(stamp_ns(time_s), 'microphone'))
    message.audio.data = data
    return message


def audio_stamped(channels: int = 1, rate: int = 48_000, **arrays: Any) -> Any:
    """What github.com/mgonzs13/audio_common sends as AudioStamped; 1000 s, no frame id."""
    from builtin_interfaces.msg import Time

    names = ('float32_data', 'int32_data', 'int16_data', 'int8_data', 'uint8_data')
    data = SimpleNamespace(**{name: arrays.get(name, []) for name in names})
    info = SimpleNamespace(format=8, channels=channels, rate=rate, chunk=512)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=Time(sec=1000), frame_id=''),
        audio=SimpleNamespace(audio_data=data, info=info),
    )


def sound_messages(
    samples: NDArray[np.float32],
    start_s: float = 0.0,
    rate: int = 48_000,
    fmt: str = 'S16LE',
    chunk_s: float = 0.02,
) -> list[Any]:
    """Sound [N] or [N, channels] as AudioDataStamped."""
    size = round(rate * chunk_s)
    return [
        sound_message(start_s + first / rate, sound_bytes(samples[first : first + size], fmt))
        for first in range(0, len(samples), size)
    ]


def sound_bytes(samples: NDArray[np.float32], fmt: str) -> bytes:
    """Samples as they are stored in a message."""
    if fmt == 'F32LE':
        return samples.astype('<f4').tobytes()
    bits, kind = {'S16LE': (15, '<i2'), 'S32LE': (31, '<i4')}[fmt]
    return np.clip(samples * 2.0**bits, -(2.0**bits), 2.0**bits - 1).astype(kind).tobytes()


def clip_messages(
    clicks_s: Sequence[float] = (0.5,),
    duration_s: float = 0.8,
    start_s: float = 0.0,
    sound: Sequence[Any] | None = None,
    picture: Callable[[float], Any] = picture_message,
) -> list[Any]:
    """Pictures at 10 Hz and 48 kHz mono sound (or other ``sound``) in time order."""
    if sound is None:
        sound = sound_messages(click_sound(clicks_s, duration_s), start_s)
    pictures = [picture(start_s + k / 10) for k in range(round(duration_s * 10) + 1)]
    stamped = sorted(
        [*pictures, *sound], key=lambda m: (m.header.stamp.sec, m.header.stamp.nanosec)
    )
    return [info_message(), *stamped]


def stamp_ns(time_s: float) -> int:
    """Nanoseconds of a time after 1000 s."""
    return 1000 * NS_PER_S + round(time_s * NS_PER_S)
