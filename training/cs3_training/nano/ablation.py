"""What each loss and the training of BEATs are worth: stage weak without one of them at a time.

Everything else is that of the finished run: seed, steps, data, batches, choice of the checkpoint.
Every variant has a folder in ``RUN/ablation``, in which a run that was stopped goes on; it is
scored as ``cs3-train evaluate`` scores the rows AV and AV with shuffled audio.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.config import from_mapping
from cs3_ros.files.atomic import write_text
from cs3_ros.files.jsonfile import read_json, write_json
from cs3_ros.networks.audio_visual import load_checkpoint, save_checkpoint
from cs3_ros.networks.checkpoints import read_safetensors
from cs3_training.evaluation.intervals import Difference, Summary, compare, summarise
from cs3_training.evaluation.rows import Result
from cs3_training.evaluation.runner import Job, identity, read_results, run
from cs3_training.evaluation.tables import groups_of, words_of
from cs3_training.localiser.train import CHECKPOINT
from cs3_training.nano.audio import load_audio
from cs3_training.nano.config import AudioStageConfig, ClipStageConfig, NanoConfig, WeakConfig
from cs3_training.nano.loop import Machine
from cs3_training.nano.recipe import Recipe
from cs3_training.nano.weak import train_weak, training_config
from cs3_training.synth.store import open_scenes

FULL = 'full'
"""Name of the recipe's own training."""
ROWS = ('av', 'av_shuffled')
"""What is scored."""


@dataclass(frozen=True)
class Variant:
    """One training."""

    title: str
    changed: Mapping[str, Any] = field(default_factory=dict)
    """Settings of ``TrainConfig`` that differ from the recipe's, ``loss`` those of the losses."""


VARIANTS: Mapping[str, Variant] = {
    FULL: Variant('All three losses, BEATs trained'),
    'no_image_loss': Variant('No image loss', {'loss': {'image_weight': 0.0}}),
    'no_feature_loss': Variant('No feature loss', {'loss': {'feature_weight': 0.0}}),
    'no_area_loss': Variant('No area loss', {'loss': {'area_weight': 0.0}}),
    'beats_frozen': Variant('BEATs frozen', {'train_beats': False}),
}
"""Name -> training, in the order of the table."""


@dataclass(frozen=True)
class AblationRow:
    """A row of the table, in percent."""

    title: str
    av: Summary
    shuffled: Summary
    over_shuffled: Difference
    """AV less AV with the sound of another scene."""
    over_full: Difference | None
    """Less the full training, scene by scene; None for itself."""


class Ablation:
    """The variants of one run.

    Args:
        run: folder of a finished run of the recipe.
        machine: what variants are trained on.

    Raises:
        ValueError: the run is not finished, or this machine would train otherwise than it did.
    """

    def __init__(self, run: Path, machine: Machine) -> None:
        self._run, self._machine = run, machine
        weak = _settings(run, 'weak')
        self._made_from: dict[str, str] = weak['made_from']
        self.config = NanoConfig(
            seed=weak['seed'],
            clip=from_mapping(ClipStageConfig, _settings(run, 'clip')['config'], 'stage clip'),
            audio=from_mapping(AudioStageConfig, _settings(run, 'audio')['config'], 'stage audio'),
            weak=from_mapping(WeakConfig, weak['config'], 'stage weak'),
        )
        if not (run / 'nano' / 'nano.yaml').is_file():
            raise ValueError(f'{run}: no nano/nano.yaml: {_finish_first(run)}')
        Recipe(self.config, run, machine).run(['weak'])  # refuses what was trained anew since
        self._check()

    def train(self, name: str) -> None:
        """Train a variant, from where it stands, and write its bundle; a finished one stays."""
        if name == FULL:
            return
        with _locked(self.folder(name)) as folder:
            scenes = [open_scenes(self._run / 'scenes' / part) for part in ('pairs', 'validation')]
            train_weak(
                self.config, scenes[0], scenes[1], self._run / 'stages', self._machine,
                self._made_from, folder, VARIANTS[name].changed,
            )  # fmt: skip
            if not (folder / 'bundle.yaml').is_file():
                self._write_bundle(name)

    def score(self, name: str, scenes: int, workers: int, device: str) -> list[Result]:
        """Scores on the first test scenes; those that are there already are not made again."""
        with _locked(self.folder(name)) as folder:
            return run(self._job(name, device), scenes, workers, folder / 'results.jsonl')

    def scored(self, scenes: int, device: str) -> dict[str, list[Result]]:
        """The results of all variants that have been scored on so many scenes."""
        found = {}
        for name in VARIANTS:
            path = self.folder(name) / 'results.jsonl'
            if path.is_file():
                try:
                    with _locked(self.folder(name), wait=False):
                        results = read_results(path, identity(self._job(name, device)))
                except BlockingIOError:  # another process is at it
                    continue
                scored = [results.get(index) for index in range(scenes)]
                whole = [each for each in scored if isinstance(each, Result)]
                if len(whole) == scenes:
                    found[name] = whole
        return found

    def folder(self, name: str) -> Path:
        """Of a variant."""
        return self._run / 'ablation' / name

    def _job(self, name: str, device: str) -> Job:
        own = self._run / 'nano' / 'nano.yaml'
        bundle = own if name == FULL else self.folder(name) / 'bundle.yaml'
        return Job(str(bundle), 'test', device, ROWS)

    def _check(self) -> None:
        path = self._run / 'stages' / 'weak' / CHECKPOINT
        notes = read_safetensors(path)[1]
        if read_safetensors(self._run / 'nano' / CHECKPOINT)[1] != notes:
            raise ValueError(
                f'{self._run / "nano"} was made of another training than {path}: run cs3-train '
                f'nano --out {self._run} --stages bundle, with its --settings'
            )
        before = json.loads(notes['training'])
        now = json.loads(json.dumps(asdict(training_config(self.config, self._machine))))
        other = [k for k in now if k != 'workers' and now[k] != before.get(k)]
        if other:
            raise ValueError(
                f'{path} was trained with other settings ({", ".join(other)}) than variants would '
                'be here: take the kind of device and the version that trained it'
            )

    def _write_bundle(self, name: str) -> None:
        """A localiser in half precision, as the bundle of the run has it; the rest is not used."""
        folder = self.folder(name)
        found = load_checkpoint(folder / CHECKPOINT)
        beats = found.beats or load_audio(self.config.audio, self._run / 'stages' / 'audio')
        half = folder / 'half.safetensors'
        save_checkpoint(half, found.audio_token.half(), found.mask.half(), beats.half())
        own = load_bundle(str(self._run / 'nano' / 'nano.yaml'))
        clipseg = Path('..') / '..' / 'nano' / own.stages['localiser']['clipseg']
        data = {
            'name': f'nano_{name}',
            'description': f'Ablation of nano: {VARIANTS[name].title}. Only its localiser counts.',
            'clip': asdict(own.clip),
            'localiser': {
                **own.stages['localiser'], 'clipseg': str(clipseg), 'checkpoint': half.name,
            },
            'masker': {'type': 'grabcut'},
        }  # fmt: skip
        write_text(folder / 'bundle.yaml', yaml.safe_dump(data, sort_keys=False))


def tabulate(results: Mapping[str, list[Result]]) -> dict[str, AblationRow]:
    """Variant -> row, of results on the same scenes; partners are drawn together.

    Raises:
        ValueError: the full training is not among them.
    """
    if FULL not in results:
        raise ValueError('the full training has not been scored: nothing to compare with')
    groups = groups_of(results[FULL])
    scores = {
        name: {row: [r.scores[row] for r in rs] for row in ROWS} for name, rs in results.items()
    }
    return {
        name: AblationRow(
            title=VARIANTS[name].title,
            av=summarise(own['av'], groups),
            shuffled=summarise(own['av_shuffled'], groups),
            over_shuffled=compare(own['av'], own['av_shuffled'], groups),
            over_full=None if name == FULL else compare(own['av'], scores[FULL]['av'], groups),
        )
        for name, own in scores.items()
    }


def as_markdown(rows: Mapping[str, AblationRow]) -> str:
    """The table; brackets hold 95 % bootstrap intervals, paired ones for differences."""
    lines = [
        '| training | AV mIoU | less full | less shuffled sound |',
        '|---|---|---|---|',
    ]
    for row in rows.values():
        low, high = row.av.ci
        full = words_of(row.over_full) if row.over_full else ''
        shuffled = words_of(row.over_shuffled)
        score = f'{row.av.miou:.2f} [{low:.2f}, {high:.2f}]'
        lines.append(f'| {row.title} | {score} | {full} | {shuffled} |')
    return '\n'.join(lines)


def write_table(folder: Path, rows: Mapping[str, AblationRow]) -> None:
    """``table.md`` and ``table.json`` in the folder."""
    write_text(folder / 'table.md', as_markdown(rows) + '\n')
    write_json(folder / 'table.json', {name: asdict(row) for name, row in rows.items()})


def check_names(names: Collection[str]) -> list[str]:
    """Variants besides the full training, in the order of the table; all where none are named.

    Raises:
        ValueError: an unknown one.
    """
    known = [name for name in VARIANTS if name != FULL]
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f'variants {", ".join(unknown)}: expected some of {", ".join(known)}')
    return [name for name in known if not names or name in names]


@contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[Path]:
    """The folder, made if need be, for this process alone.

    Raises:
        BlockingIOError: another process has it, and ``wait`` is false.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'lock').open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder


def _settings(run: Path, stage: str) -> dict[str, Any]:
    """Settings of a finished stage."""
    path = run / 'stages' / stage / 'done.json'
    if not path.is_file():
        raise ValueError(f'{run}: no stages/{stage}/done.json: {_finish_first(run)}')
    return dict(read_json(path, str(path))['settings'])


def _finish_first(run: Path) -> str:
    return f'expected a finished run, run cs3-train nano --out {run} first'
