"""Messages that no driver should send, for ``cs3 bench soak``."""

from __future__ import annotations

import array
import random
from collections.abc import Iterator

from audio_common_msgs.msg import AudioData, AudioDataStamped, AudioInfo
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.encodings import ENCODINGS
from cs3_ros.ros.messages import header


class Absurd:
    """Messages that no driver should send.

    Args:
        rng: decides what is wrong with each.
        jpeg: a good picture, to be spoilt.
    """

    def __init__(self, rng: random.Random, jpeg: bytes) -> None:
        self._rng = rng
        self._jpeg = jpeg

    def stamp(self, stamp_ns: int) -> Header:
        """Mostly the right time; else zero, negative, far away or impossible."""
        seconds = stamp_ns // NS_PER_S
        odd = ((0, 0), (-5, 0), (2**31 - 1, 0), (-(2**31), 7), (seconds, 2**32 - 1), (1, 1))
        if self._rng.random() < 0.7:
            return header(stamp_ns, 'camera')
        sec, nanosec = self._rng.choice((*odd, (seconds - 3600, 0), (seconds + 3600, 0)))
        return Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id='camera' * 1000)

    def compressed(self, stamp_ns: int) -> CompressedImage:
        """A file that is cut, empty, of another kind or claims to be huge, now and then a good
        one."""
        data = self._rng.choice(list(self._files()))
        name = self._rng.choice(('jpeg', '', 'h264', 'x' * 5000, 'rgb8; jpeg compressed bgr8'))
        return CompressedImage(
            header=self.stamp(stamp_ns), format=name, data=array.array('B', data)
        )

    def _files(self) -> Iterator[bytes]:
        jpeg, rng = self._jpeg, self._rng
        yield jpeg
        yield b''
        yield jpeg[: rng.randrange(len(jpeg))]
        yield jpeg[:2]
        yield rng.randbytes(rng.randrange(5000))
        yield b'\xff\xd8' + rng.randbytes(500) + b'\xff\xd9'
        flipped = bytearray(jpeg)
        flipped[rng.randrange(2, len(jpeg) - 2)] ^= 1 << rng.randrange(8)
        yield bytes(flipped)
        for side in (0, 9000, 65_535):
            yield claiming(jpeg, side, side)
        png = b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + 2 * rng.randbytes(4) + b'\x08\2\0\0\0'
        yield png + rng.randbytes(100) + b'IEND\xae\x42\x60\x82'

    def raw(self, stamp_ns: int) -> ImageMessage:
        """A picture whose fields contradict each other or the data."""
        rng = self._rng
        sizes = (0, 1, 3, 64, 96, 288, 65_535, 2**31, 2**32 - 1)
        data = rng.randbytes(rng.choice((0, 1, 64 * 96 * 3, rng.randrange(50_000))))
        message = ImageMessage(header=self.stamp(stamp_ns), data=array.array('B', data))
        message.height, message.width, message.step = (rng.choice(sizes) for _ in range(3))
        if rng.random() < 0.2:
            message.height, message.width, message.step = 64, 96, 288
        message.encoding = rng.choice((*ENCODINGS, '', 'rgb9', 'x' * 5000, '32FC1', '16SC7'))
        message.is_bigendian = rng.choice((0, 1, 255))
        return message

    def audio(self, stamp_ns: int) -> AudioDataStamped:
        """Sound that is empty, odd in length, noise, or much too long."""
        rng = self._rng
        length = rng.choice((0, 1, 3, 1920, 1920, 1920, 4001, 200_000))
        data = array.array('B', rng.randbytes(length))
        return AudioDataStamped(header=self.stamp(stamp_ns), audio=AudioData(data=data))

    def info(self) -> tuple[AudioInfo, bool]:
        """An audio_info, and whether the node can use it."""
        rng = self._rng
        rate = rng.choice((0, 1, 7999, 8000, 48_000, 768_000, 768_001, 2**31, 2**32 - 1))
        channels, name = rng.choice((0, 1, 2, 255)), rng.choice(('S16LE', 'F32LE', 'S24LE', 'U8'))
        coding = rng.choice(('wave', 'wave', 'wave', 'mp3', ''))
        usable = 8000 <= rate <= 768_000 and channels > 0 and name != 'U8' and coding == 'wave'
        info = AudioInfo(channels=channels, sample_rate=rate, sample_format=name)
        info.coding_format = coding
        return info, usable

    def depth(self, stamp_ns: int) -> ImageMessage:
        """A depth image whose fields contradict each other, or whose values are no depth."""
        message = self.raw(stamp_ns)
        if self._rng.random() < 0.5:
            message.encoding = self._rng.choice(('16UC1', '32FC1', 'mono16'))
        if self._rng.random() < 0.3:  # of a right size, of random values: NaN, infinite, negative
            message.height, message.width, message.encoding = 64, 96, '32FC1'
            message.step = 96 * 4
            message.data = array.array('B', self._rng.randbytes(64 * 96 * 4))
        return message

    def camera_info(self, stamp_ns: int) -> CameraInfo:
        """One that is not calibrated, not finite or of another size, seldom a good one."""
        rng = self._rng
        message = CameraInfo(header=self.stamp(stamp_ns))
        message.width, message.height = rng.choice((96, 96, 0, 7, 2**32 - 1)), rng.choice((64, 0))
        odd = (0.0, -1.0, 90.0, 90.0, float('nan'), float('inf'), 1e300)
        message.k = [rng.choice(odd), 0.0, 47.5, 0.0, rng.choice(odd), 31.5, 0.0, 0.0, 1.0]
        message.d = [rng.choice((0.0, 0.1, float('nan'))) for _ in range(rng.choice((0, 4, 5, 33)))]
        message.distortion_model = rng.choice(('plumb_bob', 'equidistant', '', 'x' * 1000))
        message.binning_x = rng.choice((0, 1, 2, 2**32 - 1))
        message.roi.width = message.roi.height = rng.choice((0, 0, 5, 2**32 - 1))
        return message


def claiming(jpeg: bytes, height: int, width: int) -> bytes:
    """A JPEG whose header claims another size."""
    at = jpeg.index(b'\xff\xc0') + 5
    return jpeg[:at] + height.to_bytes(2, 'big') + width.to_bytes(2, 'big') + jpeg[at + 4 :]
