"""A lifecycle node that configures beside its executor and answers everything else meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import Transition
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
POLL_S = 0.02
"""How often the executor looks whether the loading has ended."""
SHUTDOWNS = (
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    Transition.TRANSITION_INACTIVE_SHUTDOWN,
    Transition.TRANSITION_ACTIVE_SHUTDOWN,
)


class Loading:
    """A job on a thread of its own.

    The thread is a daemon: nothing can interrupt what it imports or reads, and the process must be
    able to end without it.

    Args:
        job: what takes long; its result and its error are kept.
    """

    def __init__(self, job: Callable[[], Any]) -> None:
        self._job = job
        self._result: Any = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name='cs3_loading', daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the thread still works."""
        return self._thread.is_alive()

    def result(self) -> Any:
        """What the job returned.

        Raises:
            Exception: what the job raised.
        """
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._job()
        except Exception as error:  # a stage may raise anything while it loads
            self._error = error


class ManagedNode(LifecycleNode):
    """A lifecycle node whose ``configure`` has a long part, the loading.

    Only the loading has a thread of its own. Every change of state, and all that is made or
    destroyed in it, stays on the thread of the executor, so that nothing of ROS is shared between
    threads: a second executor or a thread for whole transitions would destroy subscriptions while
    their callbacks run. A service callback cannot wait there, and the events executor knows no
    coroutines as callbacks; hence the answer to ``configure`` is kept back until it is known.

    While it loads the state is ``configuring``, as ROS has it. Further transitions wait for their
    turn, as they do behind rclpy's own callbacks; only a shutdown is carried out at once, and the
    loading is given up for it.

    Args:
        name: node name.
        options: further arguments of rclpy's node.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        service: Any = self._service_change_state  # its methods are replaced
        self._rclpy_change_state, self._send = service.callback, service.send_response
        service.callback, service.send_response = self._change_state, self._answer
        self._loading: Loading | None = None
        self._abandoned: Loading | None = None
        self._when_configured: Callable[[bool], None] = lambda configured: None
        self._kept_back: dict[int, Any] = {}  # id of a response -> header of its request
        self._waiting: list[tuple[Any, Any]] = []  # requests and responses, in order
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._poll_timer = self.create_timer(POLL_S, self._poll, clock=steady)
        self._poll_timer.cancel()

    # ---- for the heirs ----------------------------------------------------------------------

    def prepare(self) -> Callable[[], Any]:
        """Read what configure needs; returns the loading, which must not touch the node.

        Raises:
            Exception: fails configure.
        """
        raise NotImplementedError

    def loaded(self, result: Any) -> None:
        """Take over what was loaded.

        Raises:
            Exception: fails configure.
        """
        raise NotImplementedError

    def failed(self, transition: str, error: Exception) -> TransitionCallbackReturn:
        """Say why a transition has failed; returns FAILURE."""
        raise NotImplementedError

    # ---- states -----------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """Lifecycle state: unconfigured, inactive, active, finalized, or a transition."""
        return str(self._state_machine.current_state[1])

    @property
    def still_loading(self) -> bool:
        """Whether a thread loads, be it for a result that nobody waits for any more."""
        return any(each is not None and each.running for each in (self._loading, self._abandoned))

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The whole of configure on this thread, for ``trigger_configure``."""
        return self._completed(lambda: self.prepare()())

    def autostart(self) -> None:
        """Configure beside the executor, then activate; a failure leaves the node where it is."""
        self._begin(lambda configured: configured and self.trigger_activate())

    def _begin(self, when_configured: Callable[[bool], Any]) -> None:
        """Start to configure from the state unconfigured.

        Args:
            when_configured: called with whether it is, in the new state.
        """
        self._state_machine.trigger_transition_by_id(Transition.TRANSITION_CONFIGURE, True)
        self._when_configured = when_configured
        try:
            self._loading = Loading(self.prepare())
        except Exception as error:  # as in the loading
            self._end(self.failed('configure', error))
        else:
            self._poll_timer.reset()

    def _poll(self) -> None:
        loading = self._loading
        if loading is not None and not loading.running:
            self._end(self._completed(loading.result))

    def _completed(self, result: Callable[[], Any]) -> TransitionCallbackReturn:
        try:
            self.loaded(result())
        except Exception as error:  # as in the loading
            return self.failed('configure', error)
        return SUCCESS

    def _end(self, outcome: TransitionCallbackReturn) -> None:
        self._settle(outcome)
        self._take_turns()

    def _settle(self, outcome: TransitionCallbackReturn) -> None:
        """Leave the state configuring and answer who asked for it."""
        self._poll_timer.cancel()
        self._loading = None
        self._state_machine.trigger_transition_by_label(outcome.to_label(), True)
        self._when_configured(outcome == SUCCESS)

    def _take_turns(self) -> None:
        """Carry out what was asked for meanwhile, up to the next configure."""
        while self._waiting and self._loading is None:
            self._perform(*self._waiting.pop(0))

    # ---- the service ------------------------------------------------------------------------

    def _change_state(self, request: Any, response: Any) -> Any:
        """Callback of ``change_state``."""
        shutdown = request.transition.label == 'shutdown' or request.transition.id in SHUTDOWNS
        if self._loading is None:
            self._perform(request, response)
        elif shutdown:
            self.get_logger().warning('configure is given up: shutdown was asked for')
            self._abandoned = self._loading  # its result is dropped whenever it comes
            self._settle(FAILURE)
            request.transition = Transition(label='shutdown')  # from the state that it has now
            self._perform(request, response)
            self._take_turns()
        else:
            self._waiting.append((request, response))
            self._kept_back[id(response)] = None
        return response

    def _perform(self, request: Any, response: Any) -> None:
        """Carry a transition out; of a configure that has to load, only its beginning."""
        asked, configure = request.transition, Transition.TRANSITION_CONFIGURE
        named = asked.label == 'configure' or (not asked.label and asked.id == configure)
        if named and self.state == 'unconfigured':

            def configured(success: bool) -> None:
                response.success = success
                self._release(response)

            self._kept_back.setdefault(id(response), None)
            self._begin(configured)
            return
        try:
            self._rclpy_change_state(request, response)
        except RuntimeError as error:
            # In rclpy an impossible transition raises through the executor and ends the node.
            self.get_logger().warning(f'lifecycle transition refused: {error}')
            response.success = False
        self._release(response)

    def _answer(self, response: Any, header: Any) -> None:
        """In place of the service's ``send_response``, which the executor calls."""
        if id(response) in self._kept_back:
            self._kept_back[id(response)] = header
        else:
            self._send(response, header)

    def _release(self, response: Any) -> None:
        """The answer is known: send it, unless the executor is about to do so."""
        header = self._kept_back.pop(id(response), None)
        if header is not None:
            self._send(response, header)
