"""Settings and their YAML file: the file and the dataclasses say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cs3_ros.settings import (
    SECTIONS,
    NodeConfig,
    Settings,
    field_of,
    from_parameters,
    load_parameters,
    parameter_names,
)
from cs3_ros.trigger.onset import INPUT_RATES

CONFIG = Path(__file__).resolve().parents[1] / 'config' / 'cs3.yaml'


def shipped() -> dict:
    """Parameter name -> value of config/cs3.yaml."""
    flat = {}
    for key, value in yaml.safe_load(CONFIG.read_text())['/**']['ros__parameters'].items():
        if isinstance(value, dict):
            flat |= {f'{key}.{name}': inner for name, inner in value.items()}
        else:
            flat[key] = value
    return {name: tuple(v) if isinstance(v, list) else v for name, v in flat.items()}


def test_the_shipped_file_lists_every_setting_with_its_default_and_no_other():
    defaults = {name: field_of(name).default for name in parameter_names()}
    assert shipped() == defaults
    assert {k: type(v) for k, v in shipped().items()} == {k: type(v) for k, v in defaults.items()}


def test_the_shipped_file_is_keyed_for_any_node_name():
    assert list(yaml.safe_load(CONFIG.read_text())) == ['/**']


def test_the_shipped_file_documents_every_setting():
    lines = [line.strip() for line in CONFIG.read_text().splitlines()]
    for name in parameter_names():
        key = name.rpartition('.')[2]
        meta = field_of(name).metadata
        hot = ' (hot)' if meta['hot'] else ''
        at = [k for k, line in enumerate(lines) if line.startswith(f'{key}:')]
        assert f'# {meta["doc"]}{hot}' in [lines[k - 1] for k in at], name


def test_the_shipped_file_loads_as_the_defaults():
    assert load_parameters(CONFIG) == (NodeConfig(), Settings())


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / 'my.yaml'
    path.write_text(text)
    return path


def parameters(tmp_path: Path, text: str) -> Path:
    return write(tmp_path, f'/**:\n  ros__parameters:\n{text}')


def test_what_a_file_does_not_name_keeps_its_default(tmp_path):
    path = parameters(
        tmp_path, '    bundle: lite\n    verification: {beta: 20.0}\n    queue_size: 7\n'
    )
    config, settings = load_parameters(path)
    assert config == NodeConfig(queue_size=7)
    assert settings.verification.beta == 20.0 and settings.verification.alpha == 0.6
    assert settings.onset == Settings().onset


def test_dotted_and_nested_keys_are_the_same(tmp_path):
    text = '    onset.floor_s: 2.0\n    onset: {refractory_s: 0.5}\n    use_sim_time: true\n'
    onset = load_parameters(parameters(tmp_path, text))[1].onset
    assert (onset.floor_s, onset.refractory_s) == (2.0, 0.5)


@pytest.mark.parametrize(
    'text, words',
    [
        ('    onset: {treshold_db: 3.0}\n', r'my.yaml.*, onset: unknown key\(s\) treshold_db'),
        ('    queue: 3\n', r'unknown key\(s\) queue; known: .*queue_size'),
        ('    queue_size: 0\n', r'NodeConfig.queue_size = 0: expected a value in \[1, 64\]'),
        ('    onset.floor_s: high\n', "floor_s = 'high': expected float, got str"),
        ('    onset: 3\n', r'unknown key\(s\) onset'),
        ('    onset:\n    bundle: lite\n', r'unknown key\(s\) onset'),
        ('    onset: {floor_s: 15}\n', 'onset.floor_s = 15: expected float, got int; write 15.0'),
        ('    audio_timeout_s: 2\n', 'audio_timeout_s = 2: expected float, got int; write 2.0'),
        ('    queue_size: 4.0\n', 'queue_size = 4.0: expected int, got float'),
        ('    autostart:\n', 'autostart = None: expected bool'),
        ('    audio_rate: 16000\n', 'audio_rate = 16000 and audio_channels = 0: expected both'),
        ('    statistics_period_s: 0.05\n', 'statistics_period_s = 0.05: expected 0 or at least'),
        ('    audio_channels: 1\n', 'audio_rate = 0 and audio_channels = 1: expected both'),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        load_parameters(parameters(tmp_path, text))


@pytest.mark.parametrize(
    'text',
    [
        '',
        'onset: {floor_s: 2}',
        '[1, 2]',
        '/**: {}',
        '/**:\n  ros__parameters: 3',
        'cs3:\n  ros__parameters: {queue_size: 7}',
        '/robot/cs3:\n  ros__parameters: {queue_size: 7}',
        '/*:\n  ros__parameters: {queue_size: 7}',
    ],
)
def test_what_is_no_parameter_file_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match='my.yaml.: expected a ROS parameter file'):
        load_parameters(write(tmp_path, text))


@pytest.mark.parametrize('text', ['/**: [', '\x00', '/**: &a {ros__parameters: *a}'])
def test_what_is_no_yaml_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match='settings file .*my.yaml. is not valid YAML'):
        load_parameters(write(tmp_path, text))


@pytest.mark.parametrize(
    'name, means',
    [
        ('/**', True),
        ('/cs3/cs3', True),
        ('cs3/cs3', True),
        ('/*/cs3', True),
        ('/cs3/*', True),
        ('/**/cs3', True),
        ('/cs3/**', True),
        ('/**/cs3/**/cs3/**', True),
        ('/**' + '/**' * 500 + '/cs3', True),
        ('/**' + '/**' * 500 + '/other', False),
        ('/*', False),
        ('/*/*/*', False),
        ('/cs3', False),
        ('/cs3/cs3/cs3', False),
        ('/cs3/c*', False),
        ('/robot/**', False),
    ],
)
def test_which_names_mean_the_node(tmp_path, name, means):
    """A file that has nothing for the node is refused."""
    path = write(tmp_path, f'? "{name}"\n: ros__parameters: {{queue_size: 7}}\n')
    if means:
        assert load_parameters(path)[0].queue_size == 7
    else:
        with pytest.raises(ValueError, match='expected a ROS parameter file'):
            load_parameters(path)


def test_a_file_of_other_bytes_is_refused(tmp_path):
    path = tmp_path / 'my.yaml'
    path.write_bytes(b'\xff\xfe\x80')
    with pytest.raises(ValueError, match='my.yaml'):
        load_parameters(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match='nothing.yaml.*cannot be read'):
        load_parameters(tmp_path / 'nothing.yaml')


def test_parameters_that_every_node_has_are_passed_over(tmp_path):
    text = '    use_sim_time: true\n    qos_overrides./parameter_events.publisher.depth: 10\n'
    text += '    start_type_description_service: false\n'
    assert load_parameters(parameters(tmp_path, text)) == (NodeConfig(), Settings())


def test_the_sound_format_is_given_whole_or_not_at_all():
    assert NodeConfig(audio_rate=48_000, audio_channels=2).audio_sample_format == 'S16LE'
    for values in ({'audio_rate': 16_000}, {'audio_channels': 1}):
        with pytest.raises(ValueError, match='expected both'):
            NodeConfig(**values)


@pytest.mark.parametrize('rate', [1, INPUT_RATES[0] - 1, INPUT_RATES[1] + 1, 4_000_000])
def test_a_rate_that_cannot_be_listened_to_is_refused(rate):
    with pytest.raises(ValueError, match=f'audio_rate = {rate}: expected .*, 768000]'):
        NodeConfig(audio_rate=rate, audio_channels=1)
    for allowed in INPUT_RATES:
        assert NodeConfig(audio_rate=allowed, audio_channels=1).audio_rate == allowed


def test_names_and_fields_belong_together():
    names = parameter_names()
    assert len(names) == len(set(names)) and {n.partition('.')[0] for n in names} >= set(SECTIONS)
    assert field_of('onset.nothing') is field_of('nothing.floor_s') is field_of('floor_s') is None
    assert from_parameters({}, 'here') == (NodeConfig(), Settings())
