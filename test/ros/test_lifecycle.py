"""Every transition of the managed node, what it frees, and why configure may fail."""

from __future__ import annotations

import needs

needs.ros()

import gc
import signal
import threading
import weakref
from contextlib import suppress
from pathlib import Path

import pytest
import rclpy
from fakes import clip_messages, fake_pipeline, picture_message
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from vision_msgs.msg import LabelInfo

from cs3_ros.bundles.bundle import BundleError
from cs3_ros.ros.spin import Spinner

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
INPUTS = ('image', 'image/compressed', 'audio', 'audio_info')


def change(rig, name: str) -> bool:
    """Ask for a transition as ``ros2 lifecycle set`` does."""
    number = getattr(Transition, f'TRANSITION_{name.upper()}')
    request = ChangeState.Request(transition=Transition(id=number))
    return rig.call(ChangeState, 'cs3/change_state', request).success


def workers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == 'cs3_worker']


def subscribed(rig) -> list[str]:
    return [topic for topic in INPUTS if rig.peer.count_subscribers(topic)]


def answers_a_click(rig, start_s: float) -> bool:
    """One click is heard and its masks arrive."""
    masks = rig.heard.get('collision_masks')
    if masks is None:
        masks = rig.listen(Image, 'collision_masks')
    before = len(masks)
    rig.send(*clip_messages(start_s=start_s))
    return bool(rig.until(lambda: len(masks) > before))


def test_every_transition_over_its_services(rig) -> None:
    rig = rig()
    assert rig.state == 'unconfigured' and not subscribed(rig)
    assert change(rig, 'configure') and rig.state == 'inactive'
    assert not subscribed(rig) and not workers()
    assert change(rig, 'activate') and rig.state == 'active'
    assert rig.until(lambda: sorted(subscribed(rig)) == sorted(INPUTS)) and len(workers()) == 1
    assert answers_a_click(rig, 0.0)

    assert change(rig, 'deactivate') and rig.state == 'inactive'
    assert not workers(), 'the worker thread outlived deactivate'
    assert rig.until(lambda: not subscribed(rig)), 'subscriptions outlived deactivate'
    assert change(rig, 'activate') and answers_a_click(rig, 10.0)

    assert change(rig, 'deactivate') and change(rig, 'cleanup')
    assert rig.state == 'unconfigured'
    assert rig.until(lambda: not rig.peer.count_publishers('collision_masks'))
    assert change(rig, 'configure') and change(rig, 'activate') and answers_a_click(rig, 20.0)
    assert change(rig, 'active_shutdown') and rig.state == 'finalized'
    assert not workers() and rig.until(lambda: not subscribed(rig))
    assert rig.call(GetState, 'cs3/get_state').current_state.label == 'finalized'


def test_an_impossible_transition_is_refused_and_the_node_lives(rig) -> None:
    rig = rig()
    assert not change(rig, 'activate') and rig.state == 'unconfigured'
    assert change(rig, 'configure') and change(rig, 'activate')
    assert not change(rig, 'configure') and not change(rig, 'cleanup')
    assert rig.state == 'active' and answers_a_click(rig, 0.0)


@pytest.mark.parametrize('state', ['unconfigured', 'inactive'])
def test_shutdown_from_other_states(rig, state: str) -> None:
    rig = rig()
    if state == 'inactive':
        assert change(rig, 'configure')
    assert change(rig, f'{state}_shutdown') and rig.state == 'finalized'


def test_weights_stay_on_deactivate_and_go_on_cleanup(rig) -> None:
    made: list[weakref.ref] = []

    def factory(bundle, settings):
        pipeline = fake_pipeline()
        made.append(weakref.ref(pipeline.masker))
        return pipeline

    rig = rig(factory).start()
    assert answers_a_click(rig, 0.0)
    assert change(rig, 'deactivate') and made[0]() is not None
    assert change(rig, 'activate') and len(made) == 1, 'activate loaded the weights again'
    assert change(rig, 'deactivate') and change(rig, 'cleanup')
    gc.collect()
    assert made[0]() is None, gc.get_referrers(made[0]())
    assert change(rig, 'configure') and len(made) == 2


def test_configuring_again_and_again_leaves_nothing_behind(rig) -> None:
    rig = rig()
    counts = []
    for _ in range(3):
        assert change(rig, 'configure') and change(rig, 'activate')
        assert change(rig, 'deactivate') and change(rig, 'cleanup')
        rig.executor.spin_once(timeout_sec=0)
        kinds = ('publishers', 'subscriptions', 'services', 'timers')
        counts.append([len(list(getattr(rig.node, kind))) for kind in kinds])
        counts[-1].append(len(rig.node._managed_entities))
    assert counts[1] == counts[2] == counts[0]


def test_label_info_reaches_a_late_subscriber(rig) -> None:
    rig = rig().start()
    heard = rig.listen(LabelInfo, 'label_info', LATCHED)
    assert rig.until(lambda: heard)
    names = {c.class_id: c.class_name for c in heard[0].class_map}
    assert names == {0: 'background', 1: 'first_object', 2: 'second_object'}


# ---- configure fails ------------------------------------------------------------------------

BUNDLE = """\
name: test
clip: {}
hands: {type: mediapipe}
masker: {type: grabcut}
"""


def fails_because(rig, *words: str) -> None:
    """configure fails; diagnostics say why, as an error."""
    assert not change(rig, 'configure') and rig.state == 'unconfigured'
    status = rig.next_diagnostics()['node']
    assert status.level == status.ERROR, status
    for word in words:
        assert word in status.message


def test_a_bundle_that_is_not_there(rig) -> None:
    rig = rig(bundle='nowhere')
    fails_because(rig, "'nowhere'", 'expected one of', 'lite')


def test_a_bundle_file_set_right_while_the_node_waits(rig, tmp_path: Path) -> None:
    path = tmp_path / 'mine.yaml'
    rig = rig(bundle=str(path))
    fails_because(rig, 'mine.yaml', 'cannot be read')
    path.write_bytes(b'\xff\xfe\x00')
    fails_because(rig, 'mine.yaml', 'cannot be read')
    path.write_text('masker: [')
    fails_because(rig, 'mine.yaml', 'not valid YAML')
    path.write_text(BUNDLE.replace('grabcut', 'scissors'))
    fails_because(rig, 'masker', 'scissors', 'grabcut')
    path.write_text(BUNDLE)
    assert change(rig, 'configure')
    status = rig.next_diagnostics()['node']
    assert (status.level, status.message) == (status.OK, 'inactive')


def test_what_the_bundle_warns_of_is_logged(rig, tmp_path: Path, capfd) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text(f'{BUNDLE}warning: it sees nothing\n')
    assert change(rig(bundle=str(path)), 'configure')
    printed = capfd.readouterr().err
    assert '[WARN]' in printed and 'bundle test: it sees nothing' in printed


def test_a_missing_weight_set_right_while_the_node_waits(rig) -> None:
    missing = [True]

    def factory(bundle, settings):
        if missing:
            raise BundleError('weights sam2.safetensors are missing: cs3 fetch')
        return fake_pipeline()

    rig = rig(factory)
    fails_because(rig, 'configure failed', 'sam2.safetensors', 'cs3 fetch')
    missing.clear()
    assert change(rig, 'configure') and change(rig, 'activate') and answers_a_click(rig, 0.0)


def test_a_stage_that_cannot_even_warm_up(rig) -> None:
    fails_because(rig(lambda bundle, settings: fake_pipeline(fail=lambda: True)), 'told to fail')


@pytest.mark.parametrize(
    'parameters, words',
    [
        ({'image_transport': 'theora'}, ('image_transport', 'theora', 'compressed')),
        ({'queue_size': 0}, ('queue_size', '1', '64')),
        ({'queue_size': 'four'}, ('queue_size', 'STRING', 'INTEGER')),
        ({'onset__refractory_s': -1.0}, ('onset.refractory_s',)),
        ({'audio_rate': 48_000}, ('audio_rate', 'audio_channels')),
        ({'audio_message': 'AudioStamped'}, ('audio_common_msgs', 'apt install')),
        ({'frames__buffer_s': 1.0}, ('frames.buffer_s', 'at least')),
    ],
)
def test_a_wrong_parameter(rig, parameters, words) -> None:
    rig = rig(**parameters)
    fails_because(rig, *words)
    assert not subscribed(rig)


def test_a_hot_parameter_can_be_set_right(rig) -> None:
    rig = rig(verification__beta='near')
    fails_because(rig, 'verification.beta')
    (result,) = rig.node.set_parameters([rclpy.Parameter('verification.beta', value=20.0)])
    assert result.successful, result.reason
    assert change(rig, 'configure')
    assert rig.node.pipeline.verification.beta == 15.0  # the factory's own: it ignored settings
    assert rig.node.settings.verification.beta == 20.0


def test_an_event_that_failed_is_no_failure_of_the_next_life(rig) -> None:
    failing = [False]
    rig = rig(lambda bundle, settings: fake_pipeline(fail=lambda: failing[0])).start()
    failing[0] = True
    rig.send(picture_message(0.0))
    assert rig.until(lambda: rig.call(Trigger, 'cs3/segment_now').success)
    assert rig.counted(failed=1)
    assert change(rig, 'deactivate')
    status = rig.next_diagnostics()['node']
    assert (status.level, status.message) == (status.OK, 'inactive')
    failing[0] = False
    assert change(rig, 'activate') and answers_a_click(rig, 0.0)
    assert rig.next_diagnostics()['node'].message == 'active'


def test_an_error_that_cannot_say_what_it_is(rig) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError('no text')

    failures = iter([Unspeakable(), KeyError()])
    ready = []

    def fail() -> bool:
        if ready:
            raise next(failures)
        return False

    rig = rig(lambda bundle, settings: fake_pipeline(fail=fail)).start()
    ready.append(True)
    rig.send(picture_message(0.0))
    assert rig.counted(frames=1)
    for failed, name in enumerate(('Unspeakable', 'KeyError'), 1):
        assert rig.call(Trigger, 'cs3/segment_now').success
        assert rig.counted(failed=failed)
        assert name in rig.node.problem


def test_an_event_of_what_is_gone_does_not_end_the_node(domain) -> None:
    """The events executor raises it when a subscription is destroyed with an event under way."""
    rclpy.init(args=[])
    node = rclpy.create_node('ticking')
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 1:
            raise InvalidHandle('destruction was requested')
        rclpy.shutdown()

    node.create_timer(0.01, tick)
    spinner = Spinner(node)
    with suppress(ExternalShutdownException):
        spinner.spin()
    spinner.close()
    node.destroy_node()
    assert len(ticks) == 2


# ---- processes ------------------------------------------------------------------------------


def test_no_autostart_waits_for_a_manager(start, listener) -> None:
    node = start('fake_node', '--ros-args', '-p', 'autostart:=false', '-r', '__ns:=/cs3')
    state = listener.call(GetState, '/cs3/cs3/get_state', GetState.Request()).current_state
    assert state.label == 'unconfigured', node.text
    for number in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        request = ChangeState.Request(transition=Transition(id=number))
        assert listener.call(ChangeState, '/cs3/cs3/change_state', request).success
    assert node.stop() == 0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('running', [False, True], ids=['starting', 'running'])
def test_a_signal_ends_the_node_without_a_traceback(start, listener, number, running) -> None:
    node = start('fake_node')
    if running:

        def active() -> bool:
            answer = listener.call(GetState, '/cs3/cs3/get_state', GetState.Request())
            return answer.current_state.label == 'active'

        assert listener.until(active)
    assert node.signal_after(lambda: True, number) in (0, 130), node.text
    assert 'Traceback' not in node.text and 'RCLError' not in node.text
