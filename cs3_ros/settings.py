"""All tunable settings of the way from sound and frames to masks, and their YAML file.

The YAML file is a ROS parameter file (``/**: ros__parameters: ...``), so that the offline doors
and the node read the very same file. ``config/cs3.yaml`` lists every setting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cs3_ros.buffers import AudioConfig, FrameConfig
from cs3_ros.config import from_mapping, setting, validate
from cs3_ros.onset import OnsetConfig
from cs3_ros.pcm import FORMATS
from cs3_ros.verification import VerificationConfig


@dataclass(frozen=True)
class NodeConfig:
    """Settings that only the ROS node has."""

    bundle: str = setting('lite', 'Bundle that finds the objects: a name or a .yaml path.')
    autostart: bool = setting(True, 'Configure and activate at start-up, without a manager.')
    image_transport: str = setting(
        'auto',
        'Image topic to use: auto takes image/compressed where it is published, else image.',
        choices=('auto', 'compressed', 'raw'),
    )
    image_depth: int = setting(
        10, 'History depth of the image subscription.', minimum=1, maximum=1000
    )
    audio_depth: int = setting(
        100, 'History depth of the audio subscription.', minimum=50, maximum=10_000
    )
    audio_message: str = setting(
        'AudioDataStamped',
        'Audio message: AudioDataStamped (ros-drivers, apt) or AudioStamped (mgonzs13).',
        choices=('AudioDataStamped', 'AudioStamped'),
    )
    audio_rate: int = setting(
        0, 'Sound samples per second; 0 takes it from audio_info.', minimum=0, maximum=384_000
    )
    audio_channels: int = setting(
        0, 'Interleaved sound channels; 0 takes them from audio_info.', minimum=0, maximum=64
    )
    audio_sample_format: str = setting(
        'S16LE',
        'Sample format when audio_rate is set; otherwise audio_info says it.',
        choices=FORMATS,
    )
    audio_timeout_s: float = setting(
        1.0,
        'After this long without sound (wall time) open events close with what is there.',
        minimum=0.1,
        maximum=60.0,
    )
    queue_size: int = setting(
        4,
        'Events that may wait; one more drops the oldest.',
        minimum=1,
        maximum=64,
    )

    def __post_init__(self) -> None:
        validate(self)
        if (self.audio_rate > 0) != (self.audio_channels > 0):
            raise ValueError(
                f'audio_rate = {self.audio_rate} and audio_channels = {self.audio_channels}: '
                'expected both, or neither to take them from audio_info'
            )


@dataclass(frozen=True)
class Settings:
    """What decides the result on given frames and sound, beside the bundle."""

    onset: OnsetConfig = field(default_factory=OnsetConfig)
    """When something counts as an impact."""
    audio: AudioConfig = field(default_factory=AudioConfig)
    """How sound is buffered and put on the clock."""
    frames: FrameConfig = field(default_factory=FrameConfig)
    """How many frames are kept."""
    verification: VerificationConfig = field(default_factory=VerificationConfig)
    """Which masks collide (CS3 section 4.3)."""


SECTIONS: Mapping[str, type] = {
    'onset': OnsetConfig,
    'audio': AudioConfig,
    'frames': FrameConfig,
    'verification': VerificationConfig,
}

NODE_KEYS = ('/**', '/**/cs3', '/cs3/cs3', 'cs3')
"""Keys of a parameter file that mean this node; the first one that is there is read."""


def load_settings(path: Path | str) -> Settings:
    """Read the settings of a ROS parameter file; what it does not name keeps its default.

    Raises:
        ValueError: not such a file, an unknown key or a value out of range; says which.
    """
    where = f'settings file {str(path)!r}'
    try:
        data = yaml.safe_load(Path(path).read_text('utf-8'))
        node = next(key for key in NODE_KEYS if key in data)
        parameters = _nested(data[node]['ros__parameters'])
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f'{where} cannot be read: {error}') from error
    except (yaml.YAMLError, AttributeError, TypeError, KeyError, StopIteration) as error:
        raise ValueError(
            f'{where}: expected a ROS parameter file, "/**:" (or /cs3/cs3) with '
            f'"ros__parameters:" below it; '
            f'got {error!r}'
        ) from error
    return settings_from(parameters, where)


def settings_from(parameters: Mapping[str, Any], where: str) -> Settings:
    """Settings from ``{section: {name: value}}``; node settings beside them are checked too.

    Raises:
        ValueError: an unknown key or a value out of range; begins with ``where``.
    """
    node_values = {k: v for k, v in parameters.items() if k not in SECTIONS and k != 'use_sim_time'}
    from_mapping(NodeConfig, node_values, where)
    return Settings(
        **{
            section: from_mapping(cls, parameters.get(section) or {}, f'{where}, {section}')
            for section, cls in SECTIONS.items()
        }
    )


def _nested(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """``{'onset.x': 1}`` and ``{'onset': {'x': 1}}`` mean the same in ROS."""
    nested: dict[str, Any] = {}
    for key, value in parameters.items():
        section, _, name = key.partition('.')
        if name:
            nested.setdefault(section, {})[name] = value
        elif isinstance(value, dict):
            nested.setdefault(section, {}).update(value)
        else:
            nested[key] = value
    return nested


def field_of(parameter: str) -> dataclasses.Field[Any] | None:
    """The dataclass field behind a parameter name such as ``onset.refractory_s``, or None."""
    section, _, name = parameter.rpartition('.')
    cls = SECTIONS.get(section) if section else NodeConfig
    fields = dataclasses.fields(cls) if cls is not None else ()
    return next((f for f in fields if f.name == name), None)


def parameter_names() -> list[str]:
    """Every parameter of the node, in the order of the YAML file."""
    names = [f.name for f in dataclasses.fields(NodeConfig)]
    for section, cls in SECTIONS.items():
        names += [f'{section}.{f.name}' for f in dataclasses.fields(cls)]
    return names
