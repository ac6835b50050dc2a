"""Raw sound bytes to float and back: the one place that knows how samples are stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BYTES_PER_SAMPLE = {'S16LE': 2, 'S24LE': 3, 'S32LE': 4, 'F32LE': 4}
FORMATS = tuple(_BYTES_PER_SAMPLE)
"""Names of the sample formats that are understood, as audio_capture and GStreamer write them."""

_UNCOMPRESSED = ('wave', 'wav', 'pcm', 'raw')


@dataclass(frozen=True)
class SoundFormat:
    """How the bytes of a sound stream are to be read (the content of audio_common_msgs/AudioInfo).

    Raises:
        ValueError: a field is out of range, the sample format is unknown or the sound is coded.
    """

    rate: int
    """Samples per second, at least 1."""
    channels: int
    """Interleaved channels, at least 1."""
    sample_format: str = 'S16LE'
    """One of FORMATS, upper case."""
    coding_format: str = 'wave'
    """``wave`` (also wav, pcm, raw, in any case): uncompressed."""

    def __post_init__(self) -> None:
        if self.coding_format.lower() not in _UNCOMPRESSED:
            raise ValueError(
                f'sound coding format {self.coding_format!r}: expected uncompressed sound '
                f'({", ".join(_UNCOMPRESSED)}); start the capture with format:=wave'
            )
        if self.sample_format not in _BYTES_PER_SAMPLE:
            raise ValueError(
                f'sample format {self.sample_format!r}: expected one of {", ".join(FORMATS)}; '
                'set sample_format of the capture to one of them'
            )
        if self.channels < 1:
            raise ValueError(
                f'sound with {self.channels} channels: expected at least 1; '
                'set the number of channels of the capture'
            )
        if self.rate < 1:
            raise ValueError(
                f'sound with {self.rate} samples per second: expected at least 1; '
                'set the sample rate of the capture'
            )

    def __str__(self) -> str:
        return f'{self.rate} Hz, {self.channels} ch, {self.sample_format}'

    @property
    def bytes_per_step(self) -> int:
        """Bytes of one sample of all channels."""
        return _BYTES_PER_SAMPLE[self.sample_format] * self.channels

    @property
    def bitrate(self) -> int:
        """Bits per second of all channels."""
        return 8 * self.bytes_per_step * self.rate


@dataclass(frozen=True, eq=False)
class SoundChunk:
    """A piece of sound as a file, a bag or a topic delivers it."""

    stamp_ns: int
    """Time of the first sample."""
    rate: int
    """Samples per second."""
    samples: NDArray[np.float32]
    """float32 [N, C] in [-1, 1]."""


def decode(
    data: bytes | bytearray | memoryview | ArrayLike, fmt: SoundFormat
) -> NDArray[np.float32]:
    """Interleaved bytes to float.

    Args:
        data: whole samples of all channels; any object with the buffer interface.
        fmt: how to read them.

    Returns:
        float32 [N, C] in [-1, 1]; F32LE is handed on as it is, so NaN, Inf and values beyond 1
        are left for the caller to repair and count.

    Raises:
        ValueError: the number of bytes is not a whole number of samples.
    """
    raw = np.frombuffer(data, np.uint8)  # type: ignore[arg-type]
    if raw.size % fmt.bytes_per_step:
        raise ValueError(
            f'{raw.size} bytes of sound: expected a multiple of {fmt.bytes_per_step} '
            f'({fmt.channels} x {fmt.sample_format}); check the channels and the sample format'
        )
    if fmt.sample_format == 'F32LE':
        samples = raw.view('<f4').astype(np.float32)
    elif fmt.sample_format == 'S16LE':
        samples = raw.view('<i2').astype(np.float32) / np.float32(1 << 15)
    else:
        if fmt.sample_format == 'S24LE':
            # the three bytes become the upper three of 32 bits, which also extends the sign
            wide = np.zeros((raw.size // 3, 4), np.uint8)
            wide[:, 1:] = raw.reshape(-1, 3)
            raw = wide.reshape(-1)
        samples = (raw.view('<i4') / float(1 << 31)).astype(np.float32)
    return samples.reshape(-1, fmt.channels)


def encode(samples: ArrayLike) -> bytes:
    """Float to interleaved S16LE bytes, rounded to the nearest step and clipped.

    Args:
        samples: [N, C] or [N], nominally in [-1, 1].

    Raises:
        ValueError: NaN or Inf among the samples.
    """
    values = np.asarray(samples, np.float64)
    if not np.isfinite(values).all():
        raise ValueError('sound with NaN or Inf: expected finite samples; replace them before')
    steps = np.clip(np.rint(values * (1 << 15)), -(1 << 15), (1 << 15) - 1)
    return bytes(steps.astype('<i2').tobytes())
