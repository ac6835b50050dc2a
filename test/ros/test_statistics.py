"""Age and period of messages over DDS, in the layout of rclcpp's topic statistics."""

from __future__ import annotations

import needs

needs.ros()
needs.opencv()
needs.statistics()

import math
import sys
import tracemalloc

import numpy as np
import pytest
from audio_common_msgs.msg import AudioInfo
from fakes import picture_message
from sensor_msgs.msg import Image
from statistics_msgs.msg import MetricsMessage, StatisticDataType

from cs3_ros.ros.messages import ns_to_stamp, stamp_to_ns
from cs3_ros.ros.statistics import Window

NAMES = {
    value: name.removeprefix('STATISTICS_DATA_TYPE_')
    for name in dir(StatisticDataType)
    if name.startswith('STATISTICS') and (value := getattr(StatisticDataType, name)) is not None
}
IMAGE, INFO = '/cs3/image', '/cs3/audio_info'


def values(message: MetricsMessage) -> dict[str, float]:
    return {NAMES[point.data_type]: point.data for point in message.statistics}


def test_a_window_is_what_numpy_says_in_constant_memory():
    samples = np.random.default_rng(3).normal(1e6, 2.0, 10_000)
    window = Window()
    window.add(float(samples[0]))
    tracemalloc.start()
    for sample in samples[1:]:
        window.add(float(sample))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    found = window.results()
    assert found['AVERAGE'] == pytest.approx(samples.mean(), rel=1e-12)
    assert found['STDDEV'] == pytest.approx(samples.std(), rel=1e-9)
    extremes = found['MINIMUM'], found['MAXIMUM'], found['SAMPLE_COUNT']
    assert extremes == (samples.min(), samples.max(), 10_000) and grown < 2_000


def test_a_window_without_values_has_none():
    found = Window().results()
    assert found.pop('SAMPLE_COUNT') == 0 and all(map(math.isnan, found.values()))


def shown(rig, topic: str, metric: str, heard: list[MetricsMessage], count: int) -> MetricsMessage:
    """The first window of a topic with so many samples."""

    def found():
        return [
            m
            for m in heard
            if (m.measurement_source_name, m.metrics_source) == (topic, metric)
            and values(m)['SAMPLE_COUNT'] == count
        ]

    assert rig.until(found), [(m.measurement_source_name, values(m)) for m in heard]
    return found()[0]


def test_the_node_publishes_age_and_period_of_every_input(rig):
    rig = rig(statistics_period_s=1.0).start()
    heard = rig.listen(MetricsMessage, '/statistics')
    pictures, infos = rig.publisher(Image, 'image'), rig.publisher(AudioInfo, 'audio_info')
    heard.clear()
    assert rig.until(lambda: len(heard) == 8), 'a window: two metrics of four topics'
    heard.clear()  # what is sent now is in the next one
    now_ns = rig.peer.get_clock().now().nanoseconds
    for late_ms in (900, 600, 300):
        message = picture_message(0.0)
        message.header.stamp = ns_to_stamp(now_ns - late_ms * 1_000_000)
        pictures.publish(message)
    infos.publish(AudioInfo(channels=1, sample_rate=16_000, sample_format='S16LE'))
    age = shown(rig, IMAGE, 'message_age', heard, 3)
    assert age.unit == 'ms' and list(values(age)) == [
        'AVERAGE',
        'MAXIMUM',
        'MINIMUM',
        'SAMPLE_COUNT',
        'STDDEV',
    ]
    found = values(age)
    assert 0 <= found['MINIMUM'] - 300 < 500
    assert found['MAXIMUM'] - found['MINIMUM'] == pytest.approx(600, abs=100)
    assert found['STDDEV'] == pytest.approx(np.std([900, 600, 300]), abs=50)
    window_s = (stamp_to_ns(age.window_stop) - stamp_to_ns(age.window_start)) / 1e9
    assert window_s == pytest.approx(1.0, abs=0.5)
    period = shown(rig, IMAGE, 'message_period', heard, 2)
    assert 0 <= values(period)['MAXIMUM'] < 400
    none = shown(rig, INFO, 'message_age', heard, 0)
    assert math.isnan(values(none)['AVERAGE']), 'audio_info has no stamp'


def test_a_period_reaches_over_windows_and_it_ends_with_the_node(rig):
    rig = rig(statistics_period_s=0.1).start()
    heard = rig.listen(MetricsMessage, '/statistics')
    rig.send(picture_message(0.0))
    shown(rig, IMAGE, 'message_age', heard, 1)
    rig.until(lambda: False, 0.3)
    rig.send(picture_message(0.1))
    period = shown(rig, IMAGE, 'message_period', heard, 1)
    assert values(period)['AVERAGE'] > 250
    rig.node.trigger_deactivate()
    assert rig.until(lambda: not rig.peer.count_publishers('/statistics'))
    rig.node.trigger_activate()
    assert rig.until(lambda: rig.peer.count_publishers('/statistics') == 1)


def test_nothing_is_published_unless_asked_for(rig):
    rig = rig().start()
    rig.next_diagnostics()
    assert rig.peer.count_publishers('/statistics') == 0


def test_without_the_package_configure_names_it(rig, monkeypatch):
    monkeypatch.setitem(sys.modules, 'statistics_msgs.msg', None)
    rig = rig(statistics_period_s=1.0)
    rig.node.autostart()
    assert rig.until(lambda: rig.node.problem)
    assert 'apt install ros-jazzy-statistics-msgs' in rig.node.problem
