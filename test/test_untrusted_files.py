"""Whatever file of a stranger's is read: one that would fill the memory or hang is refused."""

from __future__ import annotations

import shutil
import signal
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import needs
import numpy as np
import pytest
from shipped_nano import shipped_nano

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.collision import Frame
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import Bag
from cs3_ros.files.output_folder import MARKER, OutputFolder
from cs3_ros.files.truth import read_truth
from cs3_ros.hands.hands23_json import Hands23Json, Hands23JsonConfig
from cs3_ros.localisers.vocabulary import read_vocabulary
from cs3_ros.offline.results import NAMES
from cs3_ros.settings import load_parameters

BOMB = 'a: &a [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'{name}: &{name} [{", ".join([f"*{before}"] * 9)}]\n'
    for before, name in zip('abcdefghijk', 'bcdefghijkl', strict=True)
)
"""Some hundred bytes that stand for 9 to the power of 12 texts."""
DEEP = 10_000


@pytest.fixture(autouse=True)
def ended_when_it_hangs() -> Iterator[None]:
    def end(*_: object) -> None:
        raise TimeoutError('still reading after 20 s')

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def parameters(folder: Path, text: str) -> None:
    path = folder / 'mine.yaml'
    path.write_text(f'{text}\n/**:\n  ros__parameters: {{}}\n')
    load_parameters(path)


def parameter_value(folder: Path, text: str) -> None:
    """Where the error would show the value."""
    path = folder / 'mine.yaml'
    path.write_text(f'/**:\n  ros__parameters:\n{textwrap.indent(text, "    ")}\n')
    load_parameters(path)


def bundle(folder: Path, text: str) -> None:
    path = folder / 'mine.yaml'
    path.write_text(f'name: mine\nclip: {{}}\nmasker: {{type: grabcut}}\n{text}')
    load_bundle(str(path))


def vocabulary(folder: Path, text: str) -> None:
    path = folder / 'mine.yaml'
    path.write_text(f'collisions: {{a: {{b: [c]}}}}\n{text}')
    read_vocabulary(str(path))


class OneFrame:
    path = Path('one')
    origin_ns = 0
    duration_s = frame_rate = 1.0
    size = (4, 4)
    sound_format = None

    def __iter__(self) -> Iterator[Frame]:
        yield Frame.from_rgb(0, np.zeros((4, 4, 3), np.uint8))


def bag_metadata(folder: Path, text: str) -> None:
    needs.opencv()
    metadata = make_bag(OneFrame(), folder / 'bag') / 'metadata.yaml'
    metadata.write_text(f'{text}\n{metadata.read_text()}')
    Bag(folder / 'bag')


@pytest.mark.parametrize('read', [parameters, parameter_value, bundle, vocabulary, bag_metadata])
@pytest.mark.parametrize(
    'text, reason',
    [
        (BOMB, r'(?s)alias \*a: expected it written out'),
        (f'a: {"[" * DEEP}', 'nested too deeply'),
        (f'a: {"[" * DEEP}{"]" * DEEP}', 'nested too deeply'),
        (f'a: "{"x" * (1 << 20)}"', 'longer than the 1048576 bytes'),
    ],
    ids=['aliases', 'open', 'deep', 'long'],
)
def test_yaml(tmp_path: Path, read: Callable[[Path, str], None], text: str, reason: str) -> None:
    assert len(BOMB) < 1000
    with pytest.raises(ValueError, match=reason):
        read(tmp_path, text)


def truth(folder: Path, text: str) -> None:
    (folder / 'truth.json').write_text(text)
    read_truth(folder / 'truth.json')


def hands23(folder: Path, text: str) -> None:
    (folder / 'result.json').write_text(text)
    Hands23Json(Hands23JsonConfig(results=str(folder / 'result.json')))


def detr(folder: Path, text: str) -> None:
    preprocessing = pytest.importorskip('cs3_ros.hands.detr').Preprocessing
    (folder / 'preprocessor_config.json').write_text(text)
    preprocessing.from_folder(folder)


def clipseg(folder: Path, text: str) -> None:
    network = pytest.importorskip('cs3_ros.networks.clipseg').ClipSeg
    shutil.copytree(shipped_nano() / 'clipseg', folder / 'clipseg')
    (folder / 'clipseg' / 'preprocessor_config.json').write_text(text)
    network.from_folder(folder / 'clipseg')


def described(name: str, key: str, folder: Path, text: str) -> Path:
    """A shipped file of weights that says ``text`` of itself."""
    checkpoints = pytest.importorskip('cs3_ros.networks.checkpoints')
    from safetensors.torch import save_file

    tensors, metadata = checkpoints.read_safetensors(shipped_nano() / name)
    assert key in metadata
    save_file(tensors, folder / name, metadata | {key: text})
    return folder / name


def audio_visual(folder: Path, text: str) -> None:
    path = described('audio_visual.safetensors', 'audio_token', folder, text)
    pytest.importorskip('cs3_ros.networks.audio_visual').load_checkpoint(path)


def sam2(folder: Path, text: str) -> None:
    path = described('sam2.safetensors', 'architecture', folder, text)
    pytest.importorskip('cs3_ros.networks.sam2_checkpoint').load_sam2(path)


@pytest.mark.parametrize('read', [truth, hands23, detr, clipseg, audio_visual, sam2])
@pytest.mark.parametrize(
    'text',
    ['[' * DEEP, '[' * DEEP + ']' * DEEP, '{"a":' * DEEP],
    ids=['open', 'closed', 'objects'],
)
def test_json(tmp_path: Path, read: Callable[[Path, str], None], text: str) -> None:
    with pytest.raises(ValueError, match='nested too deeply'):
        read(tmp_path, text)


def test_what_an_earlier_run_left_is_no_trap(tmp_path: Path) -> None:
    for name in ('events.json', MARKER):
        (tmp_path / name).write_text('[' * DEEP)
    with pytest.raises(FileExistsError, match='damaged or foreign'):
        OutputFolder(tmp_path, 'run', NAMES)
    assert (tmp_path / 'events.json').read_text() == '[' * DEEP
