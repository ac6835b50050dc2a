"""The managed node: states, parameters, diagnostics; every algorithm lives in the library.

What exists only while it is active, the way of the data, is in ``active.py``.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import LoggingSeverity, get_logger
from rclpy.parameter import Parameter
from rclpy.signals import uninstall_signal_handlers
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from cs3_ros.bundles.bundle import Bundle, load_bundle
from cs3_ros.pipeline import Pipeline
from cs3_ros.ros import parameters
from cs3_ros.ros.active import Active, give_memory_back, make_stream, reason_of
from cs3_ros.ros.diagnostics import (
    Diagnostics,
    Snapshot,
    answer_readings,
    count_readings,
    memory_readings,
)
from cs3_ros.ros.environment import ros
from cs3_ros.ros.inputs import check_audio
from cs3_ros.ros.narrator import RosLogHandler
from cs3_ros.ros.outputs import Outputs
from cs3_ros.ros.spin import Interrupts, Spinner
from cs3_ros.runtime import free_gpu_memory
from cs3_ros.settings import NodeConfig, Settings

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

    Attributes:
        settings: what decides the result, as the parameters say now.
        pipeline: the loaded stages; None while the node is not configured.
        active: what listens and answers; None while the node is not active.
        problem: why the last transition failed, or what a stage last raised; '' when all is well.
    """

    def __init__(self, factory: PipelineFactory = build_pipeline, **options: Any) -> None:
        super().__init__('cs3', **{'namespace': 'cs3', **options})
        self._factory = factory
        self._refused = parameters.declare(self)
        self._config, self.settings = NodeConfig(), Settings()
        self._bundle: Bundle | None = None
        self.pipeline: Pipeline | None = None
        self._outputs: Outputs | None = None
        self._segment_service: Any = None
        self.active: Active | None = None
        self._counts: Counter[str] = Counter()  # of the time before it was deactivated
        self._last: dict[str, str] = {}  # readings: the answer itself would keep its pictures
        self._stopped = False  # lately, with its memory not yet given back
        self.problem = ''
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

    @property
    def state(self) -> str:
        """Lifecycle state: unconfigured, inactive, active, finalized, or a transition."""
        return str(self._state_machine.current_state[1])

    # ---- lifecycle ------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Parameters, bundle, warm-up, publishers."""
        began, log = time.monotonic(), self.get_logger()
        try:
            if self._refused:
                raise ValueError('; '.join(self._refused.values()))
            self._config, self.settings = parameters.read(self)
            self._bundle = load_bundle(self._config.bundle)
            check_audio(self._config)
            make_stream(self._bundle, self.settings)  # refuses buffers too short for the bundle
            self.pipeline = self._factory(self._bundle, self.settings)
            self.pipeline.warm_up(self._bundle.audio_s)
        except Exception as error:  # a stage may raise anything while it loads
            self._bundle = self.pipeline = None
            return self._failed('configure', error)
        self.problem = ''
        self._outputs = Outputs(self)
        self._segment_service = self.create_service(Trigger, '~/segment_now', self._segment_now)
        name = self._bundle.name
        log.info(f'bundle {name} is loaded and warm after {time.monotonic() - began:.1f} s')
        log.debug(f'bundle {name}: {self._bundle.description}')
        if self._bundle.warning:
            log.warning(f'bundle {name}: {self._bundle.warning}')
        return SUCCESS

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
        self.pipeline = self._bundle = None
        self._last = {}
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

    def _failed(self, transition: str, error: Exception) -> TransitionCallbackReturn:
        self._on_problem(f'{transition} failed: {reason_of(error)}')
        return FAILURE

    def _on_problem(self, problem: str) -> None:
        self.problem = problem
        self.get_logger().error(problem)

    def _stop(self) -> None:
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
        values = {'node': memory_readings(), **(active.readings(now_ns) if active else {})}
        last = answer_readings(active.last if active else None) or self._last
        values['events'] = values.get('events', {}) | last | count_readings(counts)
        return Snapshot(
            state=self.state,
            bundle=self._config.bundle,
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
