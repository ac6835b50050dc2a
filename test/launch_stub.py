"""A small, strict stand-in for ROS 2's launch API, for machines without it.

The constructors have the keyword arguments of launch 3.4 and launch_ros 0.26 (Jazzy) and no
others, so that a misspelt or invented argument is an error here as it is there. ``start`` runs a
description the way ``ros2 launch`` does, but records processes instead of starting them.
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
    def __init__(self) -> None:
        self.launch_configurations: dict[str, str] = {}
        self.environment: dict[str, str] = {}
        self.arguments: list[DeclareLaunchArgument] = []
        self.processes: list[ExecuteProcess] = []


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


class SetEnvironmentVariable(Action):
    def __init__(self, name, value, **kwargs):
        super().__init__(**kwargs)
        self.name, self.value = name, value

    def execute(self, context):
        context.environment[resolve(self.name, context)] = resolve(self.value, context)
        return []


class OpaqueFunction(Action):
    def __init__(self, *, function, args=None, kwargs=None, **left_over_kwargs):
        super().__init__(**left_over_kwargs)
        self.function, self.args, self.kwargs = function, args or [], kwargs or {}

    def execute(self, context):
        return self.function(context, *self.args, **self.kwargs) or []


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
        self.cmd, self.name, self.output = cmd, name, output

    def execute(self, context):
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
        self.node_name, self.namespace = name, namespace
        self.parameters, self.remappings = parameters or [], dict(remappings or [])
        self.ros_arguments = ros_arguments or []


class LifecycleNode(Node):
    def __init__(self, *, name, namespace, **kwargs):
        super().__init__(name=name, namespace=namespace, **kwargs)


MODULES = {
    'launch': [LaunchContext, LaunchDescription],
    'launch.actions': [
        DeclareLaunchArgument,
        ExecuteProcess,
        IncludeLaunchDescription,
        OpaqueFunction,
        SetEnvironmentVariable,
    ],
    'launch.launch_description_sources': [PythonLaunchDescriptionSource],
    'launch.substitutions': [LaunchConfiguration, PathJoinSubstitution],
    'launch_ros': [],
    'launch_ros.actions': [LifecycleNode, Node],
    'launch_ros.substitutions': [FindPackageShare],
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


def start(launch_file: str, **arguments: str) -> LaunchContext:
    """Run a file of launch/ with the given launch arguments, as ``ros2 launch`` would."""
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    waiting = list(load(ROOT / 'launch' / launch_file).entities)
    while waiting:
        waiting[:0] = waiting.pop(0).execute(context)
    return context
