"""A small, strict stand-in for ROS 2's launch API, for machines without it.

The constructors have the keyword arguments of launch 3.4 and launch_ros 0.26 (Jazzy) and no
others, so that a misspelt or invented argument is an error here as it is there. ``start`` runs a
description the way ``ros2 launch`` does, but records processes and timers instead of starting them;
``LaunchContext.emit`` tells it what happened to them.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


class LaunchContext:
    """Of one launch, with what a LaunchService does around it."""

    def __init__(self) -> None:
        self.launch_configurations: dict[str, Any] = {}
        self.is_shutdown = False
        self.arguments: list[DeclareLaunchArgument] = []
        self.processes: list[ExecuteProcess] = []
        self.timers: list[TimerAction] = []
        self.handlers: list[EventHandler] = []
        self.return_code = 0
        self.problem = ''

    def run(self, entities: Any) -> None:
        """Execute entities and what they bring; an exception ends the launch with status 1."""
        waiting = list(entities)
        try:
            while waiting:
                waiting[:0] = waiting.pop(0).execute(self)
        except Exception as error:
            self.return_code, self.is_shutdown, self.problem = 1, True, str(error)

    def emit(self, event: Any) -> None:
        """Let the handlers of an event do what they do."""
        for handler in [handler for handler in self.handlers if handler.matcher(event)]:
            if handler.handle_once:
                self.handlers.remove(handler)
            self.run([OpaqueFunction(function=lambda _, handler=handler: handler.handle(event))])
        if isinstance(event, ProcessExited) and event.action.on_exit is not None:
            self.run([OpaqueFunction(function=lambda _: event.action.on_exit(event, self))])


class Event:
    pass


class StateTransition(Event):
    """A lifecycle node has told of one; the real one takes its message."""

    def __init__(self, action, start_state, goal_state):
        self.action, self.start_state, self.goal_state = action, start_state, goal_state


class ProcessIO(Event):
    """A chunk of what a process wrote; the real ones are named ProcessStdout and ProcessStderr."""

    def __init__(self, action, stream, text):
        self.action, self.stream, self.text = action, stream, text


class ProcessExited(Event):
    def __init__(self, action, returncode):
        self.action, self.returncode = action, returncode


class LaunchDescription:
    def __init__(self, initial_entities=None, *, deprecated_reason=None):
        self.entities = list(initial_entities or [])


class Substitution:
    def perform(self, context: LaunchContext) -> str:
        raise NotImplementedError


class LaunchConfiguration(Substitution):
    def __init__(self, variable_name, *, default=None):
        self.variable_name, self.default = variable_name, default

    def perform(self, context):
        value = context.launch_configurations.get(self.variable_name, self.default)
        if value is None:
            raise RuntimeError(f'launch configuration {self.variable_name!r} does not exist')
        return resolve(value, context)


class PathJoinSubstitution(Substitution):
    def __init__(self, substitutions):
        self.substitutions = list(substitutions)

    def perform(self, context):
        return str(Path(*(resolve(part, context) for part in self.substitutions)))


class FindPackageShare(Substitution):
    def __init__(self, package):
        self.package = package

    def perform(self, context):
        if self.package != 'cs3_ros':
            raise RuntimeError(f'package {self.package!r} not found')
        return str(ROOT)


class Action:
    def __init__(self, *, condition=None):
        self.condition = condition

    def execute(self, context: LaunchContext) -> list[Any]:
        raise NotImplementedError


class DeclareLaunchArgument(Action):
    def __init__(self, name, *, default_value=None, description=None, choices=None, **kwargs):
        super().__init__(**kwargs)
        self.name, self.default_value = name, default_value
        self.description, self.choices = description, choices
        if choices is not None and default_value is not None and default_value not in choices:
            raise RuntimeError(f'default {default_value!r} of {name!r} is not in {choices}')

    def execute(self, context):
        context.arguments.append(self)
        configurations = context.launch_configurations
        if self.name not in configurations:
            if self.default_value is None:
                raise RuntimeError(f'required launch argument {self.name!r} was not provided')
            configurations[self.name] = resolve(self.default_value, context)
        if self.choices is not None and configurations[self.name] not in self.choices:
            raise RuntimeError(
                f'argument {self.name!r}: {configurations[self.name]!r} is not in {self.choices}'
            )
        return []


class OpaqueFunction(Action):
    def __init__(self, *, function, args=None, kwargs=None, **left_over_kwargs):
        super().__init__(**left_over_kwargs)
        self.function, self.args, self.kwargs = function, args or [], kwargs or {}

    def execute(self, context):
        return self.function(context, *self.args, **self.kwargs) or []


class EventHandler:
    def __init__(self, *, matcher, entities=None, handle_once=False):
        self.matcher, self.entities, self.handle_once = matcher, entities, handle_once

    def handle(self, event):
        return self.entities


class OnProcessIO(EventHandler):
    def __init__(
        self, *, target_action=None, on_stdin=None, on_stdout=None, on_stderr=None, **kwargs
    ):
        super().__init__(
            matcher=lambda event: (
                isinstance(event, ProcessIO) and target_action in (None, event.action)
            ),
            **kwargs,
        )
        self.on_stream = {'stdout': on_stdout, 'stderr': on_stderr}

    def handle(self, event):
        on_stream = self.on_stream[event.stream]
        return on_stream and on_stream(event)


class OnStateTransition(EventHandler):
    def __init__(
        self,
        *,
        entities,
        target_lifecycle_node=None,
        transition=None,
        start_state=None,
        goal_state=None,
        matcher=None,
        **kwargs,
    ):
        wanted = {
            'action': target_lifecycle_node,
            'transition': transition,
            'start_state': start_state,
            'goal_state': goal_state,
        }

        def wanted_transition(event):
            return isinstance(event, StateTransition) and all(
                value is None or getattr(event, name) == value for name, value in wanted.items()
            )

        super().__init__(matcher=matcher or wanted_transition, entities=entities, **kwargs)


class RegisterEventHandler(Action):
    def __init__(self, event_handler, **kwargs):
        super().__init__(**kwargs)
        self.event_handler = event_handler

    def execute(self, context):
        context.handlers.insert(0, self.event_handler)
        return []


class Shutdown(Action):
    def __init__(self, *, reason='reason not given', **kwargs):
        super().__init__(**kwargs)
        self.reason = reason

    def execute(self, context):
        context.is_shutdown, context.problem = True, self.reason
        return []


class TimerAction(Action):
    def __init__(self, *, period, actions, cancel_on_shutdown=True, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(period, (float, str)):
            raise TypeError(f'period: expected float or text, got {type(period).__name__}')
        self.period, self.actions = period, actions

    def execute(self, context):
        context.timers.append(self)
        return []


class PythonLaunchDescriptionSource:
    def __init__(self, launch_file_path):
        self.launch_file_path = launch_file_path


class IncludeLaunchDescription(Action):
    def __init__(self, launch_description_source, *, launch_arguments=None, **kwargs):
        super().__init__(**kwargs)
        self.source, self.launch_arguments = launch_description_source, launch_arguments or ()

    def execute(self, context):
        for name, value in self.launch_arguments:
            context.launch_configurations[name] = resolve(value, context)
        return load(Path(resolve(self.source.launch_file_path, context))).entities


class ExecuteProcess(Action):
    def __init__(
        self,
        *,
        cmd,
        prefix=None,
        name=None,
        cwd=None,
        env=None,
        additional_env=None,
        shell=False,
        sigterm_timeout='5',
        sigkill_timeout='5',
        emulate_tty=False,
        output='log',
        output_format='[{this.process_description.final_name}] {line}',
        cached_output=False,
        log_cmd=False,
        on_exit=None,
        respawn=False,
        respawn_delay=None,
        respawn_max_retries=-1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(respawn, bool):  # text that says false would be true
            raise TypeError(f'respawn: expected bool, got {type(respawn).__name__}')
        self.cmd, self.name, self.output = cmd, name, output
        self.additional_env, self.on_exit = additional_env or {}, on_exit
        self.respawn, self.respawn_delay = respawn, respawn_delay
        self.executed = False

    def execute(self, context):
        if self.executed:
            raise RuntimeError(f'ExecuteLocal action {self.name!r}: executed more than once')
        self.executed = True
        self.cmd = [resolve(part, context) for part in self.cmd]
        context.processes.append(self)
        return []


class Node(ExecuteProcess):
    def __init__(
        self,
        *,
        executable,
        package=None,
        name=None,
        namespace=None,
        exec_name=None,
        parameters=None,
        remappings=None,
        ros_arguments=None,
        arguments=None,
        **kwargs,
    ):
        super().__init__(cmd=[executable, *(arguments or [])], name=exec_name, **kwargs)
        if parameters is not None and not isinstance(parameters, list):
            raise TypeError(f'parameters: expected a list, got {type(parameters).__name__}')
        for rule in remappings or []:
            if not (isinstance(rule, tuple) and len(rule) == 2):
                raise TypeError(f'remapping {rule!r}: expected a pair')
        self.package, self.executable = package, executable
        self.given_name, self.given_namespace = name, namespace
        self.parameters, self.remappings = parameters or [], dict(remappings or [])
        self.ros_arguments = ros_arguments or []

    def execute(self, context):
        around = context.launch_configurations.get('ros_namespace')
        namespace = make_namespace_absolute(prefix_namespace(around, self.given_namespace) or '')
        self.node_name = prefix_namespace(namespace, self.given_name)
        # in the order of the command line, where the last one wins
        self.parameters = [
            *context.launch_configurations.get('global_params', []),
            *self.parameters,
        ]
        return super().execute(context)


class LifecycleNode(Node):
    def __init__(self, *, name, namespace, autostart=False, **kwargs):
        super().__init__(name=name, namespace=namespace, **kwargs)


class SetParameter(Action):
    def __init__(self, name, value, **kwargs):
        super().__init__(**kwargs)
        self.name, self.value = name, value

    def execute(self, context):
        context.launch_configurations.setdefault('global_params', []).append(
            (self.name, self.value)
        )
        return []


class PushRosNamespace(Action):
    def __init__(self, namespace, **kwargs):
        super().__init__(**kwargs)
        self.namespace = namespace

    def execute(self, context):
        around = context.launch_configurations.get('ros_namespace')
        context.launch_configurations['ros_namespace'] = make_namespace_absolute(
            prefix_namespace(around, self.namespace)
        )
        return []


def prefix_namespace(base_ns, ns):
    """A relative namespace below another; without trailing slashes, unless it is the root."""
    if ns is None:
        return base_ns
    whole = ns if not base_ns or ns.startswith('/') else f'{base_ns.rstrip("/")}/{ns}'
    return whole if whole == '/' else whole.rstrip('/')


def make_namespace_absolute(ns):
    return ns if ns.startswith('/') else f'/{ns}'


MODULES = {
    'launch': [LaunchContext, LaunchDescription],
    'launch.actions': [
        DeclareLaunchArgument,
        ExecuteProcess,
        IncludeLaunchDescription,
        OpaqueFunction,
        RegisterEventHandler,
        Shutdown,
        TimerAction,
    ],
    'launch.event': [Event],
    'launch.events': [],
    'launch.event_handlers': [OnProcessIO],
    'launch.events.process': [ProcessExited, ProcessIO],
    'launch.launch_description_sources': [PythonLaunchDescriptionSource],
    'launch.substitutions': [LaunchConfiguration, PathJoinSubstitution],
    'launch_ros': [],
    'launch_ros.actions': [LifecycleNode, Node, PushRosNamespace, SetParameter],
    'launch_ros.event_handlers': [OnStateTransition],
    'launch_ros.events': [],
    'launch_ros.events.lifecycle': [StateTransition],
    'launch_ros.substitutions': [FindPackageShare],
    'launch_ros.utilities': [make_namespace_absolute, prefix_namespace],
}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``import launch`` find this module's classes for the time of one test."""
    for name, members in MODULES.items():
        module = types.ModuleType(name)
        for member in members:
            setattr(module, member.__name__, member)
        monkeypatch.setitem(sys.modules, name, module)


def resolve(value: Any, context: LaunchContext) -> str:
    """The text of a string, a substitution or a list of both."""
    if isinstance(value, Substitution):
        return value.perform(context)
    if isinstance(value, (list, tuple)):
        return ''.join(resolve(part, context) for part in value)
    if not isinstance(value, str):
        raise TypeError(f'{value!r}: expected text or a substitution, got {type(value).__name__}')
    return value


def load(path: Path) -> Any:
    """What the launch file describes; works with the real launch API too."""
    spec = importlib.util.spec_from_file_location(path.name.replace('.', '_'), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def start(launch_file: str, *before: Action, **arguments: str) -> LaunchContext:
    """Run a file of launch/ with the given launch arguments, as ``ros2 launch`` would.

    Args:
        before: actions of a launch file around it.

    Raises:
        RuntimeError: what ended the launch while it started.
    """
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    context.run([*before, *load(ROOT / 'launch' / launch_file).entities])
    if context.return_code:
        raise RuntimeError(context.problem)
    return context
