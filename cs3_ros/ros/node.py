"""The managed node: topics in, topics out, states; every algorithm lives in the library.

Callbacks only store; one worker thread runs the pipeline and publishes its answers.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.parameter import Parameter
from rclpy.signals import uninstall_signal_handlers
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from cs3_ros.bundles.bundle import Bundle, load_bundle
from cs3_ros.collision import Collision, Frame, event_id
from cs3_ros.files.pcm import SoundChunk
from cs3_ros.pipeline import Pipeline
from cs3_ros.ros import parameters
from cs3_ros.ros.diagnostics import Diagnostics, Snapshot
from cs3_ros.ros.environment import ros
from cs3_ros.ros.inputs import Inputs, check_audio
from cs3_ros.ros.outputs import Outputs
from cs3_ros.ros.spin import Interrupts, Spinner
from cs3_ros.runtime import free_gpu_memory, gpu_memory_gib
from cs3_ros.settings import NodeConfig, Settings
from cs3_ros.trigger.stream import CollisionStream, Update
from cs3_ros.worker import Worker

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
HOUSEKEEPING_S = 0.2
DIAGNOSTICS_S = 1.0

PipelineFactory = Callable[[Bundle, Settings], Pipeline]


def build_pipeline(bundle: Bundle, settings: Settings) -> Pipeline:
    """The stages of the bundle, loaded."""
    return bundle.build(settings.verification, settings.runtime)


class Cs3Node(LifecycleNode):
    """Hears impacts on ``audio``, publishes masks of what collided on ``collision_masks``.

    Args:
        factory: makes the pipeline at configure; tests and benchmarks give their own.
        options: further arguments of rclpy's node.
    """

    def __init__(self, factory: PipelineFactory = build_pipeline, **options: Any) -> None:
        super().__init__('cs3', **{'namespace': 'cs3', **options})
        self._factory = factory
        self._refused = parameters.declare(self)
        self._config, self._settings = NodeConfig(), Settings()
        self._bundle: Bundle | None = None
        self._pipeline: Pipeline | None = None
        self._outputs: Outputs | None = None
        self._segment_service: Any = None
        self._stream: CollisionStream | None = None
        self._worker: Worker | None = None
        self._inputs: Inputs | None = None
        self._counts: Counter[str] = Counter()
        self._last: Collision | None = None
        self._problem = ''
        self._diagnostics = Diagnostics(self.get_fully_qualified_name())
        self._diagnostics_out = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Wall time: with use_sim_time and no /clock the node must still say what is wrong.
        wall = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_S, self._publish_diagnostics, clock=wall)
        self.create_timer(HOUSEKEEPING_S, self._keep_house, clock=wall)
        self.add_on_set_parameters_callback(lambda new: parameters.check_change(self, new))
        self.add_post_set_parameters_callback(self._apply_parameters)
        # In rclpy an impossible transition raises through the executor and ends the node.
        self._rclpy_change_state = self._service_change_state.callback
        self._service_change_state.callback = self._change_state
        for name in parameters.unknown_overrides(self):
            self.get_logger().warning(f'parameter {name!r} is not known and has no effect')

    # ---- lifecycle ------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Parameters, bundle, warm-up, publishers."""
        try:
            if self._refused:
                raise ValueError('; '.join(self._refused.values()))
            self._config, self._settings = parameters.read(self)
            self._bundle = load_bundle(self._config.bundle)
            check_audio(self._config)
            self._new_stream()  # refuses buffers that are too short for the bundle
            self._pipeline = self._factory(self._bundle, self._settings)
            self._pipeline.warm_up(self._bundle.audio_s)
        except Exception as error:  # a stage may raise anything while it loads
            self._bundle = self._pipeline = None
            return self._failed('configure', error)
        self._problem = ''
        self._outputs = Outputs(self)
        self._segment_service = self.create_service(Trigger, '~/segment_now', self._segment_now)
        self.get_logger().info(f'bundle {self._bundle.name}: {self._bundle.description}')
        if self._bundle.warning:
            self.get_logger().warning(f'bundle {self._bundle.name}: {self._bundle.warning}')
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Worker and subscriptions."""
        assert self._bundle and self._pipeline and self._outputs
        config = self._config
        self._counts.clear()
        try:
            self._stream = self._new_stream()
            self._worker = Worker(
                self._pipeline, config.queue_size, self._on_collision, self._on_error
            )
            self._inputs = Inputs(self, config, self._counts, self._on_frame, self._on_sound)
        except (ValueError, ImportError) as error:
            self._stop()
            return self._failed('activate', error)
        result = super().on_activate(state)
        self._outputs.label_info(Header(stamp=self.get_clock().now().to_msg()))
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; the weights stay loaded."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the weights."""
        self.close()
        return SUCCESS

    def close(self) -> None:
        """Release everything that configure and activate made."""
        self._stop()
        if self._outputs is not None:
            self._outputs.destroy()
            self.destroy_service(self._segment_service)
        self._outputs = self._segment_service = None
        self._pipeline = self._bundle = self._last = None
        free_gpu_memory()

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Everything away, from any state."""
        return self.on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured."""
        return self.on_cleanup(state)

    def autostart(self) -> None:
        """Configure and activate; a failure is logged and leaves the node where it is."""
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _change_state(self, request: Any, response: Any) -> Any:
        try:
            return self._rclpy_change_state(request, response)
        except RuntimeError as error:
            self.get_logger().warning(f'lifecycle transition refused: {error}')
            response.success = False
            return response

    def _new_stream(self) -> CollisionStream:
        assert self._bundle is not None
        settings = self._settings
        return CollisionStream(self._bundle.clip, settings.onset, settings.audio, settings.frames)

    def _failed(self, transition: str, error: Exception) -> TransitionCallbackReturn:
        self._problem = f'{transition} failed: {_reason(error)}'
        self.get_logger().error(self._problem)
        return FAILURE

    def _stop(self) -> None:
        if self._inputs is not None:
            self._inputs.destroy()
        if self._worker is not None:
            self._worker.stop()
            self._counts.update(self._worker.counts)
        if self._stream is not None:
            self._counts.update(self._stream.counts)
        self._inputs = self._worker = self._stream = None
        self._problem = ''

    # ---- the way of the data --------------------------------------------------------------

    def _on_frame(self, frame: Frame) -> None:
        if self._stream is not None:
            self._advance(self._stream.push_frame(frame))

    def _on_sound(self, chunk: SoundChunk) -> None:
        if self._stream is not None:
            self._advance(self._stream.push_audio(chunk.stamp_ns, chunk.samples, chunk.rate))

    def _advance(self, update: Update) -> None:
        """Publish what was heard, hand to the worker what is ready."""
        assert self._worker and self._outputs and self._inputs
        for onset in update.onsets:
            self._outputs.onset(onset, self._inputs.audio_frame_id)
        for event in update.ready:
            self._worker.prepare(event.onset.stamp_ns, event.frames, event.event_index)
        for event in update.complete:
            self._worker.finish(event.clip)

    def _segment_now(self, request: Trigger.Request, response: Trigger.Response) -> Any:
        if self._stream is None or self._worker is None:
            response.message = 'the node is not active'
            return response
        clip = self._stream.clip_now()
        if clip is None:
            response.message = 'no frame has arrived yet'
            return response
        self._worker.prepare(clip.onset.stamp_ns, clip.frames, clip.event_index)
        self._worker.finish(clip)
        response.success, response.message = True, event_id(clip.onset.stamp_ns)
        return response

    def _on_collision(self, collision: Collision) -> None:
        """On the worker thread: publish an answer."""
        assert self._outputs is not None
        self._outputs.collision(collision)
        self._last = collision
        self._counts['with_objects' if collision.objects else 'without_objects'] += 1

    def _on_error(self, onset_ns: int, error: BaseException) -> None:
        """On the worker thread: an event is lost, the node goes on."""
        self._problem = f'event {event_id(onset_ns)} failed: {_reason(error)}'
        self.get_logger().error(self._problem)

    # ---- upkeep ---------------------------------------------------------------------------

    def _keep_house(self) -> None:
        """Follow the publishers; close open events when no sound comes any more."""
        if self._inputs is None or self._stream is None:
            return
        self._inputs.update()
        if time.monotonic() - self._inputs.silent_since > self._config.audio_timeout_s:
            self._inputs.silent_since = time.monotonic()
            self._advance(self._stream.flush())

    def _apply_parameters(self, changes: Sequence[Parameter]) -> None:
        """Hot parameters take effect at once."""
        for change in changes:
            self._refused.pop(change.name, None)
        self._config, self._settings = parameters.read(self)
        if self._stream is not None:
            self._stream.reconfigure(self._settings.onset)
        if self._pipeline is not None:
            self._pipeline.verification = self._settings.verification

    def _publish_diagnostics(self) -> None:
        now = self.get_clock().now()
        counts = Counter(self._counts)
        readings: dict[str, dict[str, str]] = {'node': {}, 'image': {}, 'audio': {}, 'events': {}}
        if self._pipeline is not None:
            counts.update(dict(self._pipeline.counts))
        if (memory := gpu_memory_gib()) is not None:
            now_gib, most_gib = memory
            readings['node']['gpu_memory_gib'] = f'{now_gib:.2f}'
            readings['node']['gpu_memory_peak_gib'] = f'{most_gib:.2f}'
        if self._worker and self._stream and self._inputs:
            counts.update(dict(self._worker.counts))  # a copy: the worker goes on counting
            counts.update(self._stream.counts)
            for name, reason in self._inputs.refusals.items():
                readings[name]['last_refused'] = reason
            readings['events']['queue'] = str(self._worker.waiting)
            readings['audio']['format'] = str(self._inputs.format or 'unknown')
            image, audio = self._stream.frames.latest, self._stream.audio
            sound_ns = None if audio is None else audio.end_ns
            if image is not None:
                readings['image']['age_s'] = f'{(now.nanoseconds - image.stamp_ns) / 1e9:.3f}'
            if sound_ns is not None:
                readings['audio']['age_s'] = f'{(now.nanoseconds - sound_ns) / 1e9:.3f}'
            if image is not None and sound_ns is not None:
                ahead_ns = sound_ns - image.stamp_ns
                readings['audio']['ahead_of_image_s'] = f'{ahead_ns / 1e9:.3f}'
        if (last := self._last) is not None:
            readings['events'] |= {'last_answered': last.id, 'last_rule': last.verdict.rule}
            readings['events'] |= {f'{k}_ms': f'{v:.1f}' for k, v in last.timings_ms.items()}
        for name in ('done', 'with_objects', 'without_objects'):
            readings['events'][name] = str(counts[name])
        snapshot = Snapshot(
            state=self._state_machine.current_state[1],
            bundle=self._config.bundle,
            problem=self._problem,
            counts=counts,
            publishers=self._inputs.publishers() if self._inputs else {},
            values=readings,
        )
        self._diagnostics_out.publish(
            self._diagnostics.message(Header(stamp=now.to_msg()), snapshot)
        )


def _reason(error: BaseException) -> str:
    """What an error says; its class where it says nothing or cannot say it."""
    try:
        text = str(error)
    except Exception:  # its __str__ may raise anything
        text = ''
    return text or traceback.format_exception_only(error)[-1].strip()


def main(arguments: Sequence[str] | None = None, factory: PipelineFactory = build_pipeline) -> int:
    """Run the node until it is interrupted.

    Args:
        arguments: ROS arguments (``--ros-args ...``); None takes those of the process.
        factory: makes the pipeline at configure.
    """
    with Interrupts() as interrupts:
        try:
            with ros(arguments):
                uninstall_signal_handlers()
                _run(factory, interrupts)
        except KeyboardInterrupt:  # rclpy, before its handlers were removed
            get_logger('cs3').info('interrupted')
    return 0


def _run(factory: PipelineFactory, interrupts: Interrupts) -> None:
    node = Cs3Node(factory)
    try:
        if node.get_parameter('autostart').value:
            node.autostart()
        spinner = Spinner(node)
        try:
            spinner.spin(lambda: interrupts.noted)
        finally:
            spinner.close()
    finally:
        node.close()
        node.destroy_node()
