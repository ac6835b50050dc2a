"""All tunable settings of the way from sound and frames to masks, and their YAML file.

The YAML file is a ROS parameter file (``/**: ros__parameters: ...``), so that the offline commands
and the node read the very same file. ``config/cs3.yaml`` lists every setting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cs3_ros.config import from_mapping, setting, validate
from cs3_ros.files.fields import shown
from cs3_ros.files.pcm import FORMATS
from cs3_ros.files.yamlfile import read_yaml
from cs3_ros.runtime import RuntimeConfig
from cs3_ros.tracking import TrackingConfig
from cs3_ros.trigger.assembler import WaitConfig
from cs3_ros.trigger.buffers import AudioConfig, FrameConfig
from cs3_ros.trigger.onset import INPUT_RATES, OnsetConfig
from cs3_ros.verification import VerificationConfig

SHORTEST_WINDOW_S = 0.1
"""Of topic statistics."""


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
        0,
        'Sound samples per second; 0 takes it from audio_info.',
        minimum=0,
        maximum=INPUT_RATES[1],
    )
    audio_channels: int = setting(
        0, 'Interleaved sound channels; 0 takes them from audio_info.', minimum=0, maximum=64
    )
    audio_sample_format: str = setting(
        'S16LE',
        'Sample format when audio_rate is set; otherwise audio_info says it.',
        choices=FORMATS,
    )
    onset_message: str = setting(
        'Classification',
        'Message of onset: Classification (vision_msgs), or Header as before; that one will go.',
        choices=('Classification', 'Header'),
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

    statistics_period_s: float = setting(
        0.0,
        'Window of the topic statistics on /statistics, in seconds; 1.0 is usual, 0 is off.',
        minimum=0.0,
        maximum=60.0,
    )
    bond: bool = setting(
        True, 'While active, keep a bond for a lifecycle manager, where bondpy is installed.'
    )

    def __post_init__(self) -> None:
        validate(self)
        if (self.audio_rate > 0) != (self.audio_channels > 0):
            raise ValueError(
                f'audio_rate = {self.audio_rate} and audio_channels = {self.audio_channels}: '
                'expected both, or neither to take them from audio_info'
            )
        if 0 < self.audio_rate < INPUT_RATES[0]:
            raise ValueError(
                f'audio_rate = {self.audio_rate}: expected 0 or a value in '
                f'[{INPUT_RATES[0]}, {INPUT_RATES[1]}]'
            )
        check_statistics_period(self.statistics_period_s)


def check_statistics_period(seconds: float) -> None:
    """Refuse windows of topic statistics that would flood the network.

    Raises:
        ValueError: neither 0 nor at least ``SHORTEST_WINDOW_S``.
    """
    if 0 < seconds < SHORTEST_WINDOW_S:
        raise ValueError(
            f'statistics_period_s = {seconds}: expected 0 or at least {SHORTEST_WINDOW_S}'
        )


@dataclass(frozen=True)
class Settings:
    """What decides the result on given frames and sound, beside the bundle."""

    onset: OnsetConfig = field(default_factory=OnsetConfig)
    """When something counts as an impact."""
    audio: AudioConfig = field(default_factory=AudioConfig)
    """How sound is buffered and put on the clock."""
    clip: WaitConfig = field(default_factory=WaitConfig)
    """How long sound is waited for."""
    frames: FrameConfig = field(default_factory=FrameConfig)
    """How many frames are kept."""
    verification: VerificationConfig = field(default_factory=VerificationConfig)
    """Which masks collide (CS3 section 4.3)."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """How long masks are carried on to later frames."""
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    """What the networks run on."""


SECTIONS: Mapping[str, type] = {
    'onset': OnsetConfig,
    'audio': AudioConfig,
    'clip': WaitConfig,
    'frames': FrameConfig,
    'verification': VerificationConfig,
    'tracking': TrackingConfig,
    'runtime': RuntimeConfig,
}

NODE = '/cs3/cs3'
"""The node whose parameters are read from a file: its default namespace and name."""


def load_parameters(path: Path | str) -> tuple[NodeConfig, Settings]:
    """Read a ROS parameter file as a node ``/cs3/cs3`` would; what it does not name is default.

    As in ROS, a key is a full node name whose parts may be nested, ``/*`` stands for one part and
    ``/**`` for any number, and of all keys that mean the node the later ones overrule. Stricter
    than ROS, a file that has nothing for the node is refused, and so are unknown parameters.

    Raises:
        ValueError: not such a file, an unknown name or a value out of range; says which.
    """
    where = f'settings file {str(path)!r}'
    data = read_yaml(Path(path), where)
    found: dict[str, dict[str, Any]] = {}
    for name, parameters in _nodes(data, ''):
        if not isinstance(parameters, dict):
            raise _no_parameter_file(where, f'{shown(parameters)} below {name}')
        if _means_node(name):
            found.setdefault(name, {}).update(_flat(parameters, ''))
    if not found:
        names = ', '.join(name for name, _ in _nodes(data, '')) or 'none'
        raise _no_parameter_file(where, f'parameters for {names}')
    values = {name: value for given in found.values() for name, value in given.items()}
    for name, value in values.items():
        field = field_of(name)
        if field is not None and type(field.default) is float and type(value) is int:
            # a node refuses it too: ROS parameters keep their type
            raise ValueError(
                f'{where}: {name} = {value}: expected float, got int; write {float(value)}'
            )
    return from_parameters(values, where)


def from_parameters(values: Mapping[str, Any], where: str) -> tuple[NodeConfig, Settings]:
    """Settings from ROS parameter names such as ``onset.floor_s``; the others keep their default.

    Raises:
        ValueError: an unknown name or a value out of range; begins with ``where``.
    """
    own: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in values.items():
        section, _, key = name.partition('.')
        if key and section in SECTIONS:
            sections[section][key] = value
        elif not is_ros_parameter(name):
            own[name] = value
    return from_mapping(NodeConfig, own, where), Settings(
        **{
            section: from_mapping(cls, sections[section], f'{where}, {section}')
            for section, cls in SECTIONS.items()
        }
    )


def is_ros_parameter(name: str) -> bool:
    """Whether every ROS node has this parameter."""
    own = ('use_sim_time', 'start_type_description_service')
    return name in own or name.startswith('qos_overrides.')


def _nodes(data: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Every node name of a parameter file with what is below its ``ros__parameters``."""
    for key, below in data.items() if isinstance(data, dict) else ():
        if key == 'ros__parameters':
            yield prefix, below
        else:
            yield from _nodes(below, f'{prefix}/{str(key).removeprefix("/")}')


def _means_node(name: str) -> bool:
    """Whether a node name, where ``*`` is any part and ``**`` any number of them, fits ``NODE``."""
    own = NODE.split('/')[1:]
    reached = {0}  # how many parts of NODE the name may stand for so far
    for part in name.split('/')[1:]:
        if part == '**':
            reached = {end for start in reached for end in range(start, len(own) + 1)}
        else:
            reached = {k + 1 for k in reached if k < len(own) and part in ('*', own[k])}
    return len(own) in reached


def _flat(parameters: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """``{'onset': {'x': 1}}`` and ``{'onset.x': 1}`` mean the same in ROS."""
    flat: dict[str, Any] = {}
    for key, value in parameters.items():
        name = f'{prefix}{key}'
        flat |= _flat(value, f'{name}.') if isinstance(value, dict) else {name: value}
    return flat


def _no_parameter_file(where: str, got: str) -> ValueError:
    return ValueError(
        f'{where}: expected a ROS parameter file, "/**:" (or {NODE}) with "ros__parameters:" and '
        f'names and values below it; got {got}'
    )


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
