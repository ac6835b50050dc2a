"""The bond of an active node, with a stand-in for bondpy that has its API and its manners."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from std_msgs.msg import Header


class Bond:
    """bondpy.bondpy.Bond of bond_core 4.1 as far as the node uses it."""

    made: list[Bond] = []

    def __init__(self, node, topic, id, on_broken=None, on_formed=None) -> None:
        self.node, self.topic, self.id = node, topic, id
        self.started = self.ended = False
        self.pub = node.create_publisher(Header, topic, 1)
        Bond.made.append(self)

    def start(self) -> None:
        self.sub = self.node.create_subscription(Header, self.topic, lambda message: None, 1)
        self.started = True

    def shutdown(self) -> None:
        self.sub.destroy()  # the original does not tell the node either
        self.pub.publish(Header(frame_id='dead'))
        self.pub.destroy()
        self.ended = True


@pytest.fixture
def bondpy(monkeypatch) -> None:
    Bond.made = []
    package, module = ModuleType('bondpy'), ModuleType('bondpy.bondpy')
    module.Bond = Bond
    monkeypatch.setitem(sys.modules, 'bondpy', package)
    monkeypatch.setitem(sys.modules, 'bondpy.bondpy', module)


def kinds(rig) -> list[int]:
    return [len(list(getattr(rig.node, kind))) for kind in ('publishers', 'subscriptions')]


def test_a_bond_lives_as_long_as_the_node_is_active(rig, bondpy) -> None:
    rig = rig()
    assert rig.node.trigger_configure().name == 'SUCCESS' and not Bond.made
    before = kinds(rig)
    for life in range(2):
        rig.node.trigger_activate()
        bond = Bond.made[-1]
        assert len(Bond.made) == life + 1 and bond.started and not bond.ended
        assert (bond.id, bond.pub.topic_name) == ('cs3', '/cs3/bond')
        last_words = rig.listen(Header, 'bond')
        last_words.clear()
        rig.node.trigger_deactivate()
        assert bond.ended and rig.until(last_words.__len__), 'the manager is not told'
        assert kinds(rig) == before
        rig.until(lambda: False, 0.1)  # the executor does not stumble over what is gone


@pytest.mark.parametrize('wanted', [True, False])
def test_a_node_without_a_bond(rig, request, wanted: bool) -> None:
    """bondpy is not installed, or not wanted."""
    if not wanted:
        request.getfixturevalue('bondpy')
    rig = rig(bond=wanted).start()
    assert rig.node._bond is None and not rig.peer.count_publishers('/cs3/bond')
