"""Writing frames and sound as a video file that players and browsers open."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S, Image
from cs3_ros.files.pcm import SoundChunk, SoundFormat, encode

_TICKS_PER_S = 60_000  # whole ticks a frame at 24, 25, 29.97, 30, 50, 59.94 and 60 Hz
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)


class VideoWriter:
    """Writes H.264 and AAC.

    MPEG-4 part 2 stands in for H.264 where the FFmpeg at hand has no x264. An odd width or
    height is made even by repeating the last column or row. More than two channels of sound are
    mixed to one. Use it as a context manager.

    Args:
        path: the file to write; its ending chooses the container (mp4, mkv, mov).
        size: width and height of the frames in pixels.
        frame_rate: nominal frames per second; 0.0 means 30.
        sound: rate and channels of the sound to be written, or None.

    Raises:
        ValueError: the ending names no container.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        frame_rate: float = 30.0,
        sound: SoundFormat | None = None,
    ) -> None:
        self.size = size
        self.path = Path(path)
        self._container = av.open(f'file:{self.path}', 'w')
        codec = 'libx264' if 'libx264' in av.codecs_available else 'mpeg4'
        rate = Fraction(frame_rate or 30).limit_denominator(1001)
        video: Any = self._container.add_stream(codec, rate=rate)
        video.width, video.height = (length + length % 2 for length in size)
        video.pix_fmt = 'yuv420p'
        video.codec_context.time_base = Fraction(1, _TICKS_PER_S)
        if codec == 'libx264':
            video.options = {'preset': 'veryfast', 'crf': '20'}
        else:
            video.bit_rate = max(1_000_000, 3 * size[0] * size[1])
        self._video = video
        self._sound_format = sound
        self._rate = 0 if sound is None else sound.rate
        self._samples = 0  # written so far, silence included
        if sound is not None:
            self._layout = 'stereo' if sound.channels == 2 else 'mono'
            aac_rate = min(_AAC_RATES, key=lambda rate: abs(rate - sound.rate))
            self._sound: Any = self._container.add_stream('aac', rate=aac_rate, layout=self._layout)

    def write(self, stamp_ns: int, image: Image) -> None:
        """Add a frame.

        Args:
            stamp_ns: media time, later than that of the frame before.
            image: RGB uint8 [H, W, 3].

        Raises:
            OSError: the file cannot be written.
            ValueError: the picture does not have the size announced.
        """
        height, width = image.shape[:2]
        if (width, height) != self.size:
            raise ValueError(
                f'{self.path}: frame of {width}x{height}: expected {self.size[0]}x{self.size[1]}'
            )
        even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')
        frame = av.VideoFrame.from_ndarray(even, format='rgb24')
        frame.time_base = Fraction(1, _TICKS_PER_S)
        frame.pts = round(stamp_ns * _TICKS_PER_S / NS_PER_S)
        self._container.mux(self._video.encode(frame))

    def write_sound(self, chunk: SoundChunk) -> None:
        """Add sound; a gap becomes silence, an overlap is dropped.

        Args:
            chunk: float32 [N, C] of the rate and channels announced.

        Raises:
            OSError: the file cannot be written.
            ValueError: the rate is not the one announced.
        """
        fmt = self._sound_format
        if fmt is None or chunk.rate != fmt.rate:
            raise ValueError(
                f'{self.path}: sound of {chunk.rate} Hz: expected '
                f'{"none" if fmt is None else f"{fmt.rate} Hz"}, as announced to VideoWriter'
            )
        samples = chunk.samples
        if self._layout == 'mono' and samples.shape[1] > 1:
            samples = samples.mean(1, keepdims=True)
        gap = round(chunk.stamp_ns * fmt.rate / NS_PER_S) - self._samples
        while gap > 0:  # in pieces, for a clock may jump by hours
            length = min(gap, fmt.rate)
            self._mux_sound(np.zeros((length, samples.shape[1]), np.float32))
            gap -= length
        self._mux_sound(samples[-gap:])

    def _mux_sound(self, samples: NDArray[np.float32]) -> None:
        if not len(samples):
            return
        data = np.frombuffer(encode(samples), '<i2').reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(data, format='s16', layout=self._layout)
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._samples
        self._samples += frame.samples
        self._container.mux(self._sound.encode(frame))

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: it cannot be written.
        """
        self._container.mux(self._video.encode(None))
        if self._sound_format is not None:
            self._container.mux(self._sound.encode(None))
        self._container.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._container.close()
