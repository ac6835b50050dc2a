"""``--set NAME=VALUE``: typed as the parameter is, over the file; what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from cs3_ros.offline.parameters import parameters, parse
from cs3_ros.settings import NodeConfig, Settings, field_of, parameter_names


@pytest.mark.parametrize(
    'text, value',
    [
        ('audio_rate=48000', 48000),
        ('onset.threshold_db=1.5', 1.5),
        ('onset.threshold_db=12', 12.0),
        ('autostart=False', False),
        ('bundle=my=bundle.yaml', 'my=bundle.yaml'),
    ],
)
def test_a_value_has_the_type_of_its_parameter(text, value):
    assert parse(text) == (text.partition('=')[0], value)
    assert type(parse(text)[1]) is type(value)


def test_every_parameter_can_be_set_to_its_default():
    defaults = {name: field_of(name).default for name in parameter_names()}
    texts = [f'{name}={default}' for name, default in defaults.items()]
    assert dict(map(parse, texts)) == defaults
    assert parameters(None, texts) == (NodeConfig(), Settings())


def test_it_overrules_the_file_and_the_last_one_counts(tmp_path):
    file = Path(tmp_path / 'my.yaml')
    file.write_text('/**:\n  ros__parameters:\n    onset.threshold_db: 9.0\n    queue_size: 2\n')
    node, settings = parameters(file, ['onset.threshold_db=8', 'onset.threshold_db=7'])
    assert (node.queue_size, settings.onset.threshold_db) == (2, 7.0)
    assert parameters(file, [])[1].onset.threshold_db == 9.0


def test_parameters_that_need_each_other_are_set_together():
    node, _ = parameters(None, ['audio_rate=48000', 'audio_channels=2'])
    assert (node.audio_rate, node.audio_channels) == (48000, 2)
    with pytest.raises(ValueError, match='--set: audio_rate = 48000 and audio_channels = 0'):
        parameters(None, ['audio_rate=48000'])


@pytest.mark.parametrize(
    'text, words',
    [
        ('audio_rate', 'expected NAME=VALUE, such as'),
        (
            'onset.treshold_db=1',
            "unknown parameter 'onset.treshold_db'; did you mean onset.thre",
        ),
        ('threshold_db=1', 'did you mean onset.threshold_db?'),
        ('=1', 'unknown parameter'),
        ('onset=1', "unknown parameter 'onset'"),
        ('audio_rate=1.5', "expected a whole number, got '1.5'"),
        ('onset.threshold_db=loud', "expected a number, got 'loud'"),
        ('autostart=maybe', "expected true or false, got 'maybe'"),
        ('onset.threshold_db=1e9', r'OnsetConfig.threshold_db = 1000000000.0: expected a value in'),
        ('onset.threshold_db=nan', 'is NaN'),
        ('runtime.device=tpu', "RuntimeConfig.device = 'tpu': expected one of auto, cpu, cuda"),
    ],
)
def test_what_is_wrong_is_named(text, words):
    with pytest.raises(ValueError, match=f'--set.*{words}'):
        parameters(None, [text])
