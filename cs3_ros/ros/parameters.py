"""The node's ROS parameters, declared from the settings dataclasses."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from cs3_ros.ros.managed import ManagedNode
from cs3_ros.settings import (
    NodeConfig,
    Settings,
    field_of,
    from_parameters,
    is_ros_parameter,
    parameter_names,
)

FIX = 'cleanup (after deactivate, if it is active), set, configure'
"""How a parameter is changed that takes effect at configure."""


def declare(node: Node) -> dict[str, str]:
    """Declare every parameter; returns name -> why its given value was refused.

    A refused value keeps the default, so that the node lives to say so and ``configure`` fails.
    """
    refused: dict[str, str] = {}
    for name in parameter_names():
        field = field_of(name)
        assert field is not None
        descriptor = _descriptor(field)
        try:
            node.declare_parameter(name, field.default, descriptor)
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            advice = '; write 3.0 for 3' if isinstance(field.default, float) else ''
            refused[name] = f'{error}{advice}'
            node.declare_parameter(name, field.default, descriptor, ignore_override=True)
    return refused


def is_ours(name: str) -> bool:
    """Whether a parameter is a setting, not one of ROS."""
    return field_of(name) is not None


def unknown_overrides(node: Node) -> list[str]:
    """Parameters that the user gave and the node does not have (spelling mistakes)."""
    given = node._parameter_overrides  # rclpy offers no public view of the overrides
    return sorted(name for name in given if not is_ours(name) and not is_ros_parameter(name))


def read(node: Node) -> tuple[NodeConfig, Settings]:
    """The present parameters as settings.

    Raises:
        ValueError: a value is out of range or of the wrong choice; names it.
    """
    values = {name: _value(node.get_parameter(name)) for name in parameter_names()}
    return from_parameters(values, 'parameters')


def check_change(node: ManagedNode, changes: Sequence[Parameter]) -> SetParametersResult:
    """Whether the changes, taken together, fit the state and would leave valid settings."""
    if not any(is_ours(change.name) for change in changes):
        return SetParametersResult(successful=True)  # qos_overrides are declared
    values = {name: _value(node.get_parameter(name)) for name in parameter_names()}
    new = {p.name: _value(p) for p in changes if p.name in values and _value(p) != values[p.name]}
    cold = sorted(name for name in new if not _is_hot(name))
    if cold and node.state != 'unconfigured':
        reason = f'{", ".join(cold)}: the node is {node.state}; {FIX}'
        return SetParametersResult(successful=False, reason=reason)
    try:
        from_parameters(values | new, 'parameters')
    except ValueError as error:
        return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)


def _value(parameter: Parameter) -> Any:
    """A parameter as a setting; an empty list has no type in ROS, and in a file it is no value."""
    field = field_of(parameter.name)
    if field is None or type(field.default) is not tuple:
        return parameter.value
    is_list = isinstance(parameter.value, (list, tuple, array.array))
    return tuple(parameter.value) if is_list else () if parameter.value is None else parameter.value


def _is_hot(name: str) -> bool:
    field = field_of(name)
    assert field is not None
    return bool(field.metadata['hot'])


def _descriptor(field: Any) -> ParameterDescriptor:
    meta = field.metadata
    # Not read_only: rclpy would refuse a change in every state, and without saying what to do.
    descriptor = ParameterDescriptor(
        name=field.name, description=meta['doc'] + ('' if meta['hot'] else f' To change it: {FIX}.')
    )
    if meta['choices']:
        descriptor.additional_constraints = f'one of: {", ".join(meta["choices"])}'
    low, high = meta['minimum'], meta['maximum']
    if isinstance(field.default, tuple):
        descriptor.dynamic_typing = True
        descriptor.additional_constraints = f'whole numbers in [{low}, {high}]'
    elif low is not None and high is not None:
        if isinstance(field.default, int):
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
            ]
    return descriptor
