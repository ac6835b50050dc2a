"""The managed node: states, parameters, diagnostics; every algorithm lives in the library.

What exists only while it is active, the way of the data, is in ``active.py``.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.logging import LoggingSeverity, get_logger
from rclpy.parameter import Parameter
from rclpy.signals import uninstall_signal_handlers
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from cs3_ros.bundles.bundle import Bundle, load_bundle
from cs3_ros.files.interrupts import leave
from cs3_ros.pipeline import Pipeline
from cs3_ros.ros import parameters, qos
from cs3_ros.ros.active import Active, give_memory_back, make_stream, reason_of
from cs3_ros.ros.bond import NavBond
from cs3_ros.ros.diagnostics import (
    Diagnostics,
    Snapshot,
    answer_readings,
    count_readings,
    memory_readings,
)
from cs3_ros.ros.environment import ros
from cs3_ros.ros.inputs import check_audio
from cs3_ros.ros.managed import FAILURE, SUCCESS, ManagedNode
from cs3_ros.ros.messages import message_class
from cs3_ros.ros.narrator import RosLogHandler
from cs3_ros.ros.outputs import Outputs
from cs3_ros.ros.spin import Interrupts, Spinner
from cs3_ros.ros.statistics import METRICS
from cs3_ros.runtime import free_gpu_memory
from cs3_ros.settings import NodeConfig, Settings

HOUSEKEEPING_S = 0.2
DIAGNOSTICS_S = 1.0

PipelineFactory = Callable[[Bundle, Settings], Pipeline]


def build_pipeline(bundle: Bundle, settings: Settings) -> Pipeline:
    """The stages of the bundle, loaded."""
    return bundle.build(settings.verification, settings.runtime)


@dataclass(frozen=True, eq=False)
class Loaded:
    """What configure has loaded."""

    bundle: Bundle
    """The description."""
    pipeline: Pipeline
    """Its stages, warm."""
    settings: Settings
    """What they were made with."""
    took_s: float
    """Seconds that it took."""


def _load(factory: PipelineFactory, config: NodeConfig, settings: Settings) -> Loaded:
    """Runs beside the executor."""
    began = time.monotonic()
    bundle = load_bundle(config.bundle)
    check_audio(config)
    if config.statistics_period_s:
        message_class(METRICS)  # refused here where it is not installed
    make_stream(bundle, settings)  # refuses buffers too short for the bundle
    pipeline = factory(bundle, settings)
    pipeline.warm_up(settings.clip.of(bundle.clip).audio_s)
    return Loaded(bundle, pipeline, settings, time.monotonic() - began)


class Cs3Node(ManagedNode):
    """Hears impacts on ``audio``, publishes masks of what collided on ``collision_masks``.

    Args:
        factory: makes the pipeline at configure; tests and benchmarks give their own.
        options: further arguments of rclpy's node.

    Attributes:
        settings: what decides the result, as the parameters say now.
        pipeline: the loaded stages; None while the node is not configured.
        active: what listens and answers; None while the node is not active.
        problem: why the last transition failed, or what a stage last raised; '' when all is well.
    """

    def __init__(self, factory: PipelineFactory = build_pipeline, **options: Any) -> None:
        super().__init__('cs3', **{'namespace': 'cs3', **options})
        self._factory = factory
        self._refused = parameters.declare(self) | qos.refusals(self)
        self._config, self.settings = NodeConfig(), Settings()
        self._bundle: Bundle | None = None
        self.pipeline: Pipeline | None = None
        self._outputs: Outputs | None = None
        self._segment_service: Any = None
        self.active: Active | None = None
        self._bond: NavBond | None = None
        self._counts: Counter[str] = Counter()  # of the time before it was deactivated
        self._last: dict[str, str] = {}  # readings: the answer itself would keep its pictures
        self._stopped = False  # lately, with its memory not yet given back
        self.problem = ''
        self._diagnostics = Diagnostics(self.get_fully_qualified_name())
        self._diagnostics_out = qos.publisher(self, DiagnosticArray, '/diagnostics')
        # Wall time: with use_sim_time and no /clock the node must still say what is wrong.
        wall = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_S, self._publish_diagnostics, clock=wall)
        self.create_timer(HOUSEKEEPING_S, self._keep_house, clock=wall)
        self.add_on_set_parameters_callback(partial(parameters.check_change, self))
        self.add_post_set_parameters_callback(self._apply_parameters)
        for name in parameters.unknown_overrides(self):
            self.get_logger().warning(f'parameter {name!r} is not known and has no effect')

    # ---- lifecycle ------------------------------------------------------------------------

    def prepare(self) -> Callable[[], Loaded]:
        """Parameters; the loading takes the bundle, its stages and their warm-up."""
        self.problem = ''
        if self._refused:
            raise ValueError('; '.join(self._refused.values()))
        self._config, self.settings = parameters.read(self)
        return partial(_load, self._factory, self._config, self.settings)

    def loaded(self, result: Loaded) -> None:
        """Stages and publishers."""
        self._bundle, self.pipeline = bundle, pipeline = result.bundle, result.pipeline
        if self.settings.verification != result.settings.verification:  # set while it loaded
            pipeline.verification = self.settings.verification
        self._outputs = Outputs(self, self._config.onset_message)
        self._segment_service = self.create_service(Trigger, '~/segment_now', self._segment_now)
        name, log = bundle.name, self.get_logger()
        log.info(f'bundle {name} is loaded and warm after {result.took_s:.1f} s')
        log.debug(f'bundle {name}: {bundle.description}')
        if bundle.warning:
            log.warning(f'bundle {name}: {bundle.warning}')

    def failed(self, transition: str, error: Exception) -> TransitionCallbackReturn:
        """Log it and keep it for the diagnostics."""
        if transition == 'configure':
            self._bundle = self.pipeline = None
        self._on_problem(f'{transition} failed: {reason_of(error)}')
        return FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Worker and subscriptions."""
        assert self._bundle and self.pipeline and self._outputs
        self._counts.clear()
        try:
            self.active = Active(
                self,
                self._config,
                self.settings,
                self._bundle,
                self.pipeline,
                self._outputs,
                self._on_problem,
            )
        except (ValueError, ImportError) as error:
            return self.failed('activate', error)
        if self._config.bond:
            with suppress(ImportError):  # docs/topics.md: a manager does without, too
                self._bond = NavBond(self)
        qos.warn_without_effect(self)
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
        self.pipeline = self._bundle = None
        self._stopped = True  # publishers and weights go back as the buffers do
        self._last = {}
        free_gpu_memory()

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Everything away, from any state."""
        return self.on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured."""
        return self.on_cleanup(state)

    def _on_problem(self, problem: str) -> None:
        self.problem = problem
        self.get_logger().error(problem)

    def _stop(self) -> None:
        if self._bond is not None:
            self._bond.close()
        self._bond = None
        if self.active is not None:
            self.active.stop()
            self._counts = self.active.counts
            self._last = answer_readings(self.active.last) or self._last
            self._stopped = True
        self.active = None
        self.problem = ''

    # ---- services, parameters, upkeep -----------------------------------------------------

    def _segment_now(self, request: Trigger.Request, response: Trigger.Response) -> Any:
        if self.active is None:
            response.message = 'the node is not active'
            return response
        try:
            response.message = self.active.segment_now()
        except ValueError as error:
            response.message = str(error)
        else:
            response.success = True
        return response

    def _keep_house(self) -> None:
        if self._stopped:  # only now has the executor let go of the subscriptions as well
            self._stopped = False
            give_memory_back()
        if self.active is not None:
            self.active.keep_house()

    def _apply_parameters(self, changes: Sequence[Parameter]) -> None:
        """Hot parameters take effect at once."""
        if not any(parameters.is_ours(change.name) for change in changes):
            return  # qos_overrides, which are declared with their endpoints
        for change in changes:
            self._refused.pop(change.name, None)
        self._config, self.settings = parameters.read(self)
        if self.active is not None:
            self.active.stream.reconfigure(self.settings.onset)
        if self.pipeline is not None:
            self.pipeline.verification = self.settings.verification

    def _publish_diagnostics(self) -> None:
        now = self.get_clock().now()
        snapshot = self._snapshot(now.nanoseconds)
        if self.active is not None:
            self.active.narrator.observe(snapshot)
        self._diagnostics_out.publish(
            self._diagnostics.message(Header(stamp=now.to_msg()), snapshot)
        )

    def _snapshot(self, now_ns: int) -> Snapshot:
        """The state of the node at this moment."""
        active = self.active
        counts = Counter(self._counts) if active is None else active.counts
        if self.pipeline is not None:
            counts.update(dict(self.pipeline.counts))
        node = {'bundle': self._config.bundle} | memory_readings()
        values = {'node': node, **(active.readings(now_ns) if active else {})}
        last = answer_readings(active.last if active else None) or self._last
        values['events'] = values.get('events', {}) | last | count_readings(counts)
        sensors = active.sensors if active else {}
        return Snapshot(
            state=self.state,
            hardware={name: frame_id for name, frame_id in sensors.items() if frame_id},
            problem=self.problem,
            counts=counts,
            publishers=active.publishers() if active else {},
            values=values,
        )


def main(arguments: Sequence[str] | None = None, factory: PipelineFactory = build_pipeline) -> int:
    """Run the node until it is interrupted.

    Args:
        arguments: ROS arguments (``--ros-args ...``); None takes those of the process.
        factory: makes the pipeline at configure.

    Returns:
        0; while a bundle loads it does not return but ends the process.
    """
    with Interrupts() as interrupts:
        loading = False
        try:
            with ros(arguments):
                uninstall_signal_handlers()
                loading = _run(factory, interrupts)
        except KeyboardInterrupt:  # rclpy, before its handlers were removed
            get_logger('cs3').info('interrupted')
        if loading:
            leave(0)
    return 0


def _run(factory: PipelineFactory, interrupts: Interrupts) -> bool:
    """Run the node until it is interrupted; returns whether a thread still loads."""
    node = Cs3Node(factory)
    library = logging.getLogger('cs3_ros')
    handler = RosLogHandler(node.get_logger())
    library.addHandler(handler)
    library.propagate = False
    if node.get_logger().get_effective_level() == LoggingSeverity.DEBUG:
        library.setLevel(logging.DEBUG)
    try:
        if node.get_parameter('autostart').value:
            node.autostart()
        spinner = Spinner(node)
        try:
            spinner.spin(lambda: interrupts.noted)
        finally:
            spinner.close()
    finally:
        library.removeHandler(handler)
        node.close()
        node.destroy_node()
    return node.still_loading
