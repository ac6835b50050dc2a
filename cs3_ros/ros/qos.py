"""``qos_overrides.<topic>.<publisher|subscription>.<policy>`` on every endpoint of our nodes.

rclpy declares and applies these parameters (``QoSOverridingOptions``); here it is said which
policies there are and which values make sense. A node has one publisher and one subscription of a
topic at most, so no ``entity_id`` is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSPolicyKind, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

PREFIX = 'qos_overrides.'
MOST_DEPTH = 10_000
"""Largest depth that is taken."""
CHOICES: Mapping[QoSPolicyKind, tuple[str, ...]] = {
    QoSPolicyKind.HISTORY: ('keep_last', 'keep_all'),
    QoSPolicyKind.DEPTH: (),
    QoSPolicyKind.RELIABILITY: ('reliable', 'best_effort'),
    QoSPolicyKind.DURABILITY: ('volatile', 'transient_local'),
}
"""The policies that can be overridden and their values; depth is a number."""
ENDPOINTS = ('publisher', 'subscription')


def publisher(
    node: Node, message_type: Any, topic: str, profile: QoSProfile | int = 10
) -> Publisher:
    """A publisher of rclpy whose policies can be overridden."""
    overrides = publisher_overrides(node, topic)
    return node.create_publisher(message_type, topic, profile, qos_overriding_options=overrides)


def publisher_overrides(node: Node, topic: str) -> QoSOverridingOptions:
    """Options of a publisher: every policy is a read-only parameter with the present value.

    Args:
        node: the owner.
        topic: its name, relative or full; parameters have the full one, remappings applied.
    """
    refused = refusals(node)
    name = f'{PREFIX}{node.resolve_topic_name(topic)}.publisher.'
    return QoSOverridingOptions([p for p in CHOICES if name + p.name.lower() not in refused])


def subscription_overrides(node: Node, topic: str) -> QoSOverridingOptions:
    """Options of a subscription: only policies that were given, the others follow the publishers.

    Args:
        node: the owner.
        topic: its name, relative or full.
    """
    fit = given(node).keys() - refusals(node).keys()
    name = f'{PREFIX}{node.resolve_topic_name(topic)}.subscription.'
    return QoSOverridingOptions([p for p in CHOICES if name + p.name.lower() in fit])


def given(node: Node) -> dict[str, Any]:
    """The overrides that the user gave: full name of the parameter -> value."""
    overrides = node._parameter_overrides  # rclpy offers no public view of them
    return {name: each.value for name, each in overrides.items() if name.startswith(PREFIX)}


def refusals(node: Node) -> dict[str, str]:
    """Overrides that make no sense: name -> what was given and what is expected."""
    checked = {name: problem_of(name, value) for name, value in given(node).items()}
    return {name: problem for name, problem in checked.items() if problem}


def check(node: Node) -> None:
    """Refuse overrides that make no sense, for nodes that end then.

    Raises:
        ValueError: names them.
    """
    if refused := refusals(node):
        raise ValueError('; '.join(refused.values()))


def warn_without_effect(node: Node) -> None:
    """Name the overrides for which the node has no endpoint; to be called when it has them all."""
    fit = given(node).keys() - refusals(node).keys()
    for name in sorted(name for name in fit if not node.has_parameter(name)):
        node.get_logger().warning(
            f'{name} has no effect: the node has no such endpoint; `ros2 node info '
            f'{node.get_fully_qualified_name()}` names them'
        )


def problem_of(name: str, value: Any) -> str:
    """Why an override is refused; empty where it is not."""
    target, _, policy = name.rpartition('.')
    if target.rpartition('.')[2] not in ENDPOINTS:
        return (
            f'{name}: expected {PREFIX}<full topic name>.publisher or .subscription, and the policy'
        )
    kinds = {kind.name.lower(): choices for kind, choices in CHOICES.items()}
    if policy not in kinds:
        return f'{name}: expected one of the policies {", ".join(kinds)}'
    if policy == 'depth':
        good = type(value) is int and 1 <= value <= MOST_DEPTH
        return '' if good else f'{name} = {value!r}: expected a whole number in [1, {MOST_DEPTH}]'
    choices = kinds[policy]
    return '' if value in choices else f'{name} = {value!r}: expected {" or ".join(choices)}'
