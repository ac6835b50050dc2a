"""The other processes of the node benchmark: ``python -m cs3_ros.bench.node_peers ROLE``.

``camera`` publishes 720p30 JPEG and 48 kHz sound once so many subscribe to the pictures;
``decoder`` is the plain node that one would write first, it decodes every frame; ``fake_node`` is
the node of this package with fake stages, ``tracking_node`` the same with the tracker ``flow``.
``camera`` and ``decoder`` print what they counted, as JSON, when they are interrupted.
"""

from __future__ import annotations

import array
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import rclpy
from audio_common_msgs.msg import AudioData, AudioDataStamped, AudioInfo
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import uninstall_signal_handlers
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header
from vision_msgs.msg import Classification

from cs3_ros.bench.fake_stages import BothHands, BoxMasker, click_sound
from cs3_ros.bundles.bundle import Bundle
from cs3_ros.collision import NS_PER_S, Image
from cs3_ros.files.images import as_jpeg
from cs3_ros.files.pcm import SoundFormat, encode
from cs3_ros.pipeline import Pipeline
from cs3_ros.ros.environment import ros
from cs3_ros.ros.messages import header, info_message, stamp_to_ns
from cs3_ros.settings import Settings

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RATE = 48_000
CHUNK_S, FRAME_RATE = 0.02, 30
NOISE_DBFS = -60.0
PICTURES, JPEG_QUALITY = 8, 80
PAN_PX = 8
"""By how much one picture differs from the next."""


class CameraNode(Node):
    """Publishes pictures and sound as a camera with a microphone does; nothing ever hits anything.

    Args:
        topics: subscriptions to wait for: relative topic -> how many.
    """

    def __init__(self, topics: dict[str, int]) -> None:
        super().__init__('camera', namespace='cs3')
        self.published = {'frames': 0, 'chunks': 0}
        self._wanted = topics
        self._image = self.create_publisher(CompressedImage, 'image/compressed', 10)
        self._audio = self.create_publisher(AudioDataStamped, 'audio', 100)
        info = self.create_publisher(AudioInfo, 'audio_info', LATCHED)
        info.publish(info_message(SoundFormat(RATE, 1, 'S16LE')))
        wall = textured(0, 1280 + PICTURES * PAN_PX)
        views = (wall[:, k * PAN_PX : k * PAN_PX + 1280] for k in range(PICTURES))
        jpegs = [array.array('B', as_jpeg(np.ascontiguousarray(v), JPEG_QUALITY)) for v in views]
        self._jpegs = jpegs + jpegs[-2:0:-1]  # the camera pans to and fro
        rng, count = np.random.default_rng(1), round(RATE * CHUNK_S)
        level = 10 ** (NOISE_DBFS / 20)
        self._chunks = [
            array.array('B', encode(rng.normal(0, level, count))) for _ in range(round(5 / CHUNK_S))
        ]

    def run(self) -> None:
        """Wait for the subscribers, then publish in real time until interrupted."""
        while self._image.get_subscription_count() < self._wanted['image/compressed'] or (
            self._audio.get_subscription_count() < self._wanted['audio']
        ):
            time.sleep(0.05)
        begin, start_ns = time.monotonic(), self.get_clock().now().nanoseconds
        while self.context.ok():
            frames, chunks = self.published['frames'], self.published['chunks']
            offset_s = min(frames / FRAME_RATE, chunks * CHUNK_S)
            time.sleep(max(0.0, begin + offset_s - time.monotonic()))
            stamp = header(start_ns + round(offset_s * NS_PER_S), 'camera')
            if frames / FRAME_RATE <= chunks * CHUNK_S:
                data = self._jpegs[frames % len(self._jpegs)]
                self._image.publish(CompressedImage(header=stamp, format='jpeg', data=data))
                self.published['frames'] += 1
            else:
                data = self._chunks[chunks % len(self._chunks)]
                self._audio.publish(AudioDataStamped(header=stamp, audio=AudioData(data=data)))
                self.published['chunks'] += 1


class Decoder(Node):
    """What one would write first: every frame is decoded as it arrives."""

    def __init__(self) -> None:
        import cv2

        super().__init__('decoder', namespace='cs3')
        self.decoded = 0
        self._imdecode, self._colour = cv2.imdecode, cv2.IMREAD_COLOR
        self.create_subscription(CompressedImage, 'image/compressed', self._decode, 10)

    def _decode(self, message: CompressedImage) -> None:
        image = self._imdecode(np.frombuffer(message.data, np.uint8), self._colour)
        self.decoded += image is not None


class Clicks(Node):
    """Feeds the node one click after the other, in stamps of its own, and hears the answers.

    A period is ``PERIOD_S`` of frames and sound with one click in it.
    """

    PERIOD_S, CLICK_S = 0.4, 0.1
    START_NS = 1000 * NS_PER_S

    def __init__(self) -> None:
        super().__init__('clicks', namespace='cs3')
        self.onset_ns: dict[int, int] = {}
        """Period -> when its onset was published, wall time."""
        self.mask_ns: dict[int, int] = {}
        """Period -> when its masks were published, wall time."""
        self.needless = 0
        """Onsets beyond the first of a period."""
        self._image = self.create_publisher(CompressedImage, 'image/compressed', 100)
        self._audio = self.create_publisher(AudioDataStamped, 'audio', 1000)
        info = self.create_publisher(AudioInfo, 'audio_info', LATCHED)
        info.publish(info_message(SoundFormat(RATE, 1, 'S16LE')))
        on_onset: Any = self._onset  # rclpy's annotations know callbacks without info only
        on_masks: Any = self._masks
        self.create_subscription(Classification, 'onset', on_onset, 100)
        self.create_subscription(ImageMessage, 'collision_masks', on_masks, 100)
        self._jpeg = array.array('B', as_jpeg(textured(0, 96, 64), JPEG_QUALITY))
        self._periods = [
            encode(click_sound((self.CLICK_S,), self.PERIOD_S, RATE, seed)) for seed in range(16)
        ]

    @property
    def connected(self) -> bool:
        """Whether the node listens."""
        publishers = (self._image, self._audio)
        return all(publisher.get_subscription_count() for publisher in publishers)

    def publish(self, period: int) -> None:
        """Send a period at once, frames and sound in the order of their stamps."""
        start_ns = self.START_NS + self._offset_ns(period)
        sound = self._periods[period % len(self._periods)]
        step = 2 * round(RATE * CHUNK_S)
        chunks = [
            (k * CHUNK_S, sound[k * step : (k + 1) * step]) for k in range(len(sound) // step)
        ]
        frames = [(k / FRAME_RATE, b'') for k in range(round(self.PERIOD_S * FRAME_RATE))]
        for offset_s, chunk in sorted(chunks + frames):
            stamp = header(start_ns + round(offset_s * NS_PER_S), 'camera')
            if chunk:
                data = AudioData(data=array.array('B', chunk))
                self._audio.publish(AudioDataStamped(header=stamp, audio=data))
            else:
                self._image.publish(CompressedImage(header=stamp, format='jpeg', data=self._jpeg))

    def _onset(self, message: Classification, info: Mapping[str, int]) -> None:
        period = self._period(message.header)
        self.needless += period in self.onset_ns
        self.onset_ns.setdefault(period, info['source_timestamp'])

    def _masks(self, message: ImageMessage, info: Mapping[str, int]) -> None:
        self.mask_ns.setdefault(self._period(message.header), info['source_timestamp'])

    def _period(self, stamped: Header) -> int:
        return (stamp_to_ns(stamped.stamp) - self.START_NS) // self._offset_ns(1)

    def _offset_ns(self, periods: int) -> int:
        return round(self.PERIOD_S * NS_PER_S) * periods


def textured(seed: int, width: int = 1280, height: int = 720) -> Image:
    """A picture with structure at all scales, as a real one has; uint8 [H, W, 3]."""
    import cv2

    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 127, np.float32)
    for size, amplitude in ((160, 60), (40, 35), (10, 18), (3, 6)):
        coarse = rng.normal(0, amplitude, (height // size + 2, width // size + 2, 3))
        smooth = cv2.resize(
            coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )
        image += smooth
    return np.clip(image, 0, 255).astype(np.uint8)


def fake_pipeline(bundle: Bundle, settings: Settings) -> Pipeline:
    """A pipeline without models; the bundle still says which frames and sound are cut out."""
    return Pipeline('fake', BoxMasker(), hands=BothHands(), verification=settings.verification)


def tracking_pipeline(bundle: Bundle, settings: Settings) -> Pipeline:
    """The same with a tracker that does all its work."""
    from cs3_ros.trackers.flow import FlowTracker

    pipeline = fake_pipeline(bundle, settings)
    pipeline.tracker = FlowTracker()
    return pipeline


def main(role: str, *arguments: str) -> int:
    """Play one role until interrupted; the nodes take ROS arguments (``--ros-args ...``)."""
    if role in ('fake_node', 'tracking_node'):
        from cs3_ros.ros import node

        # A burst is as long as it likes: the queues hold two periods of ``Clicks``.
        depths = ['-p', 'image_depth:=100', '-p', 'audio_depth:=1000']
        factory = fake_pipeline if role == 'fake_node' else tracking_pipeline
        return node.main(['--ros-args', *depths, *arguments], factory)
    counted: dict[str, int] = {}
    with ros():
        try:
            if role == 'camera':
                uninstall_signal_handlers()  # else SIGINT closes ROS in the middle of a publish
                pictures = int(arguments[0]) if arguments else 2
                camera = CameraNode({'image/compressed': pictures, 'audio': 1})
                counted = camera.published
                camera.run()
            else:
                decoder = Decoder()
                rclpy.spin(decoder)
        except (KeyboardInterrupt, ExternalShutdownException):
            pass
        if role == 'decoder':
            counted = {'frames': decoder.decoded}
    print(json.dumps(counted))
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
