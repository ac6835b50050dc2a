"""The other side of ``cs3 bench soak``: a peer that sends the node good and absurd messages.

What it sends is counted, so that the node's diagnostics can be held against it.
"""

from __future__ import annotations

import array
import time
from collections.abc import Callable
from typing import Any

import rclpy
from audio_common_msgs.msg import AudioData, AudioDataStamped, AudioInfo
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from cs3_ros.bench.fake_stages import click_sound
from cs3_ros.collision import NS_PER_S
from cs3_ros.files.images import as_jpeg
from cs3_ros.files.pcm import SoundFormat, encode
from cs3_ros.ros.messages import header, info_message
from cs3_ros.ros.spin import spin_until

TYPES = {
    'image/compressed': CompressedImage,
    'image': ImageMessage,
    'audio': AudioDataStamped,
    'audio_info': AudioInfo,
    'depth': ImageMessage,
    'camera_info': CameraInfo,
}
DEPTH = 1000
"""Of the publishers: what the node cannot take at once waits here."""
ANSWER_S = 30.0
"""A node that does not answer or listen for this long is given up."""
ARRIVAL_S = 0.2
"""After this long a message has arrived that nobody acknowledges."""
SPIN_S, CALLBACKS = 0.05, 5
"""While it plays, the peer hears up to so many answers and diagnostics, so often."""
CYCLE_S = 2.0
"""Sound is played in loops this long, with a click in each half."""

TRANSITIONS = {
    'configure': Transition.TRANSITION_CONFIGURE,
    'activate': Transition.TRANSITION_ACTIVATE,
    'deactivate': Transition.TRANSITION_DEACTIVATE,
    'cleanup': Transition.TRANSITION_CLEANUP,
}

USED = ('frames', 'audio_chunks')
REFUSED = (
    'refused_frames',
    'refused_audio',
    'duplicate_frames',
    'duplicates',
    'out_of_order',
    'bad_chunks',
    'bad_stamps',
)
LOST = ('lost_frames', 'lost_audio')
"""Every message that reaches the node ends in one of these counters, every other one in LOST."""

DEPTH_USED = ('depth', 'camera_info')
DEPTH_REFUSED = ('refused_depth', 'refused_camera_info')
DEPTH_LOST = ('lost_depth', 'lost_camera_info')
"""The same of the contact node."""

Source = tuple[float, Callable[[int, int], None]]
"""Seconds between two messages, and what sends the k-th of them with a stamp."""


class Peer(Node):
    """Plays camera, microphone and operator.

    Attributes:
        sent: messages of which the node has to give account, since the last ``begin``.
        sent_depth: the same of the contact node.
    """

    def __init__(self) -> None:
        super().__init__('soak', namespace='cs3')
        self.sent = self.sent_depth = 0
        self.diagnosed = self.diagnosed_contact = 0
        self.on_wait: Callable[[], None] = lambda: None
        self._values: dict[str, str] = {}
        self._contact: dict[str, str] = {}
        self._contact_before: dict[str, str] = {}
        self._outlets: dict[str, Any] = {}
        self._change: Any = self.create_client(ChangeState, 'cs3/change_state')
        self.create_subscription(DiagnosticArray, '/diagnostics', self._diagnosed, 10)

    # ---- what the node says -----------------------------------------------------------------

    def begin(self) -> None:
        """Count from here on what is sent; the contact node, which never begins anew, did before
        what its diagnostics tell now."""
        self.sent = self.sent_depth = 0
        self._contact_before = self._contact

    def counted(self, *names: str) -> int:
        """Sum of counters in the newest diagnostics."""
        return sum(int(self._values.get(name, 0)) for name in names)

    def counted_contact(self, *names: str) -> int:
        """Sum of counters of the contact node since the last ``begin``."""
        now, before = self._contact, self._contact_before
        return sum(int(now.get(name, 0)) - int(before.get(name, 0)) for name in names)

    @property
    def state(self) -> str:
        """The node's state in the newest diagnostics; '' before the first."""
        return self._values.get('state', '')

    def next_diagnostics(self) -> None:
        """Wait for diagnostics that were made after this call."""
        last = self.diagnosed
        self.until(lambda: self.diagnosed > last + 1, 'diagnostics')

    def settle(self) -> None:
        """Wait until all that was sent is accounted for, at most to the fifth diagnostics."""
        last, depth = self.diagnosed + 5, (*DEPTH_USED, *DEPTH_REFUSED, *DEPTH_LOST)
        self.until(
            lambda: (
                (
                    self.counted(*USED, *REFUSED, *LOST) >= self.sent
                    and self.counted_contact(*depth) >= self.sent_depth
                )
                or self.diagnosed >= last
            ),
            'diagnostics',
        )

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Spin until something is true.

        Raises:
            RuntimeError: it is not after ``ANSWER_S``, or the node has ended.
        """
        deadline = time.monotonic() + ANSWER_S
        while not spin_until(self, condition, 0.1):
            self.on_wait()
            if time.monotonic() > deadline:
                raise RuntimeError(f'{what}: not after {ANSWER_S:g} s')

    def _diagnosed(self, message: DiagnosticArray) -> None:
        values = {v.key: v.value for status in message.status for v in status.values}
        if message.status[0].name.startswith('cs3/cs3_contact'):
            self.diagnosed_contact += 1
            self._contact = values
        else:
            self.diagnosed += 1
            self._values = values

    # ---- what the node is told --------------------------------------------------------------

    def change(self, name: str) -> None:
        """A transition of the node's lifecycle.

        Raises:
            RuntimeError: the node does not answer or refuses.
        """
        if not self.answer(self._change, change_request(name)).success:
            raise RuntimeError(f'{name}: refused by the node')

    def answer(self, client: Any, request: Any) -> Any:
        """The answer to a request.

        Raises:
            RuntimeError: there is none.
        """
        self.until(client.service_is_ready, client.srv_name)
        future = client.call_async(request)
        self.until(future.done, f'an answer from {client.srv_name}')
        return future.result()

    def request(self, request: Any) -> None:
        """Ask for a transition without waiting for the answer."""
        self._change.call_async(request)

    def forget(self) -> None:
        """What the diagnostics said is of nodes that were."""
        rclpy.spin_once(self, timeout_sec=0)
        self._values, self._contact, self.diagnosed_contact = {}, {}, 0

    # ---- what it gets -----------------------------------------------------------------------

    def advertise(self, topic: str, best_effort: bool = False) -> None:
        """Publish a topic from now on; a publisher that was there before ends."""
        self.withdraw(topic)
        latched = topic == 'audio_info'
        qos = QoSProfile(
            depth=1 if latched else DEPTH,
            reliability=(
                ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
            ),
            durability=(DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE),
        )
        # While the node follows with its QoS, the two do not match; rclpy's defaults warn of it.
        quiet = PublisherEventCallbacks(use_default_callbacks=False)
        self._outlets[topic] = self.create_publisher(
            TYPES[topic], topic, qos, event_callbacks=quiet
        )

    def withdraw(self, topic: str) -> None:
        """End a publisher, once all it has sent is where the node can take it."""
        outlet = self._outlets.pop(topic, None)
        if outlet is not None:
            outlet.wait_for_all_acked(rclpy.duration.Duration(seconds=ANSWER_S))
            if outlet.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT:
                # Nobody acknowledges, and no later number tells that its last ones are missing.
                time.sleep(ARRIVAL_S)
            self.destroy_publisher(outlet)

    def heard(self) -> None:
        """Wait until the node listens to every publisher, as each publishes."""
        self.until(lambda: all(map(self._is_heard, self._outlets)), 'the node listens')

    def _is_heard(self, topic: str) -> bool:
        outlet = self._outlets[topic]
        readers = self.get_subscriptions_info_by_topic(outlet.topic_name)
        wanted = outlet.qos_profile.reliability
        return bool(outlet.get_subscription_count()) and all(
            info.qos_profile.reliability == wanted for info in readers
        )

    def send(self, topic: str, message: Any) -> None:
        """Publish a message that the node has to count."""
        self._outlets[topic].publish(message)
        if topic in ('depth', 'camera_info'):
            self.sent_depth += 1
        else:
            self.sent += 1

    def tell(self, info: Any, usable: bool = True) -> None:
        """Publish an audio_info; the node counts only those that it cannot use."""
        self._outlets['audio_info'].publish(info)
        self.sent += not usable

    def play(self, seconds: float, *sources: Source) -> None:
        """Send all sources side by side in real time."""
        begin, start_ns = time.monotonic(), self.get_clock().now().nanoseconds
        counts = [0] * len(sources)
        spun = begin
        while True:
            due = [count * period for count, (period, _) in zip(counts, sources, strict=True)]
            first = min(range(len(sources)), key=due.__getitem__)
            if due[first] >= seconds:
                return
            if time.monotonic() - spun > SPIN_S:
                for _ in range(CALLBACKS):
                    rclpy.spin_once(self, timeout_sec=0)
                self.on_wait()
                spun = time.monotonic()
            time.sleep(max(0.0, begin + due[first] - time.monotonic()))
            sources[first][1](counts[first], start_ns + round(due[first] * NS_PER_S))
            counts[first] += 1

    def pictures(self, jpeg: bytes, rate_hz: float) -> Source:
        """A camera that always sees the same."""
        data = array.array('B', jpeg)

        def send(count: int, stamp_ns: int) -> None:
            stamp = header(stamp_ns, 'camera')
            message = CompressedImage(header=stamp, format='jpeg', data=data)
            self.send('image/compressed', message)

        return 1 / rate_hz, send

    def sound(self, rate: int = 48_000, channels: int = 1, chunk_s: float = 0.02) -> Source:
        """A microphone that hears clicks, and the audio_info of it."""
        self.tell(info_message(SoundFormat(rate, channels, 'S16LE')))
        mono = click_sound((0.3 * CYCLE_S, 0.8 * CYCLE_S), CYCLE_S, rate)
        data = encode(mono.repeat(channels).reshape(-1, channels))
        step = 2 * channels * round(rate * chunk_s)
        chunks = [
            array.array('B', data[k : k + step]) for k in range(0, len(data) - step + 1, step)
        ]

        def send(count: int, stamp_ns: int) -> None:
            audio = AudioData(data=chunks[count % len(chunks)])
            stamp = header(stamp_ns, 'microphone')
            self.send('audio', AudioDataStamped(header=stamp, audio=audio))

        return chunk_s, send


def change_request(name: str) -> Any:
    """The request for a transition."""
    return ChangeState.Request(transition=Transition(id=TRANSITIONS[name]))


def small_jpeg(side: int = 64) -> bytes:
    """A picture with some texture, 1.5 times as wide as high."""
    from cs3_ros.bench.node_peers import textured

    return as_jpeg(textured(side, side * 3 // 2, side), 80)
