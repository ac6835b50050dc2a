"""The recipe from an empty folder to a bundle; goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cs3_training.nano.bundle import write_bundle
from cs3_training.nano.config import STAGES, NanoConfig
from cs3_training.nano.loop import Machine, train
from cs3_training.nano.taken import TAKEN, Taken
from cs3_training.runs import RunFolder
from cs3_training.synth.config import WorldConfig, split_seeds
from cs3_training.synth.store import Scenes, make_scenes, open_scenes

NEEDS: Mapping[str, tuple[str, ...]] = {
    'scenes': (),
    'clip': ('scenes',),
    'clipseg': ('clip',),
    'audio': ('scenes',),
    'hands': ('scenes',),
    'masks': ('scenes',),
    'weak': ('clipseg', 'audio'),
    'bundle': ('weak', 'hands', 'masks'),
}
"""Stage -> those that must be finished before."""


class Recipe:
    """One run.

    Args:
        config: settings.
        out: folder of the run; ``out/nano`` will be the bundle.
        machine: what it runs on.
        workers: processes that make scenes.
        taken: the bundle that ``TAKEN`` stages come from; None trains them.
    """

    def __init__(
        self,
        config: NanoConfig,
        out: Path,
        machine: Machine,
        workers: int = 1,
        taken: Taken | None = None,
    ) -> None:
        self.config, self.out, self.machine, self._workers = config, out, machine, workers
        self._taken = taken
        self.stages = out / 'stages'

    def run(self, stages: Collection[str] = STAGES) -> Path:
        """Run stages in their order; those that are finished are passed over.

        Returns:
            The folder of the bundle.

        Raises:
            ValueError: an unknown stage, one that needs another first, or a folder that belongs to
                a run with other settings.
        """
        if unknown := sorted(set(stages) - set(STAGES)):
            raise ValueError(f'stages {", ".join(unknown)}: expected some of {", ".join(STAGES)}')
        for name in STAGES:
            if name not in stages:
                continue
            for need in NEEDS[name]:
                if not (self._folder(need) / 'done.json').is_file():
                    raise ValueError(f'stage {name} needs {need}: run that stage first')
            began = time.monotonic()
            done = self._run(name)
            print(f'{name}: done in {time.monotonic() - began:.0f} s {_brief(done)}', flush=True)
        return self.out / 'nano'

    def _run(self, name: str) -> Mapping[str, Any]:
        if name == 'scenes':
            return self._make_scenes()
        if name == 'bundle':
            self._check_chain()
            records = {stage: _read(self._folder(stage)) for stage in STAGES[:-1]}
            figures = write_bundle(self.config, self.stages, self.out / 'nano', records)
            return {'figures': figures}
        settings, folder = self._settings(name), self._folder(name)
        if self._taken and name in TAKEN:
            run = RunFolder(folder, settings)
            return run.finished() or run.finish(self._taken.leave(name, folder))
        if name == 'weak':
            from cs3_training.nano.weak import train_weak

            sets = self._set('pairs'), self._set('validation')
            made_from = settings['made_from']
            return train_weak(self.config, *sets, self.stages, self.machine, made_from)
        done = RunFolder(folder, settings).finished()
        if done is not None:
            return done
        stage = self._stage(name)
        return train(stage, folder, self.machine, self.config.seed, settings['made_from'])

    def _settings(self, name: str) -> dict[str, Any]:
        """What ``done.json`` of a training has to say."""
        if self._taken and name in TAKEN:
            return {'taken': self._taken.facts, 'made_from': self._made_from(name)}
        config = asdict(getattr(self.config, name))
        settings = {'config': config, 'seed': self.config.seed, 'made_from': self._made_from(name)}
        if self._taken and name == 'weak':
            settings['further'] = asdict(self.config.further)
        return settings

    def _check_chain(self) -> None:
        """Refuse stages of other settings, and what was made of something older."""
        self._run_folder('scenes', self._scene_settings()).finished()
        for name in STAGES[1:-1]:
            self._run_folder(name, self._settings(name)).finished()

    def _stage(self, name: str) -> Any:
        """A stage with its network; only its own module is imported."""
        config, seed, folder = self.config, self.config.seed, self._folder(name)
        sets = self._set('pretrain'), self._set('validation')
        if name == 'clip':
            from cs3_training.nano.image_text import ClipStage

            return ClipStage(config.clip, *sets, folder, seed)
        if name == 'clipseg':
            from cs3_training.nano.clipseg import ClipSegStage

            folder.mkdir(parents=True, exist_ok=True)
            for file in ('vocab.json', 'merges.txt'):
                shutil.copyfile(self._folder('clip') / file, folder / file)
            return ClipSegStage(config.clipseg, *sets, self._folder('clip'), seed)
        if name == 'audio':
            from cs3_training.nano.audio import AudioStage

            return AudioStage(config.audio, *sets, seed)
        if name == 'hands':
            from cs3_training.nano.hands import HandsStage

            return HandsStage(config.hands, *sets, seed)
        from cs3_training.nano.masks import MasksStage

        return MasksStage(config.masks, *sets, seed)

    def _make_scenes(self) -> Mapping[str, Any]:
        scenes, folder = self.config.scenes, self._folder('scenes')
        run = self._run_folder('scenes', self._scene_settings())
        done = run.finished()
        if done is not None:
            return done
        folder.mkdir(parents=True, exist_ok=True)
        world = WorldConfig(size=scenes.size)
        asked = {
            'validation': split_seeds('validation', 0, scenes.validation),
            'pretrain': split_seeds('train', 0, scenes.pretrain),
            'pairs': split_seeds('train', scenes.pretrain, scenes.pairs),
        }
        digests = self._taken.card['scenes']['digests'] if self._taken else {}
        for name, seeds in asked.items():
            if name != 'pretrain' or not self._taken:  # nobody will learn from them
                made = make_scenes(folder / name, world, seeds, self._workers)
                digests = {**digests, name: made.digest}
        return run.finish({'digests': digests})

    def _scene_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {'config': asdict(self.config.scenes)}
        return {**settings, 'taken': self._taken.facts} if self._taken else settings

    def _set(self, name: str) -> Scenes:
        return open_scenes(self._folder('scenes') / name)

    def _run_folder(self, name: str, settings: Mapping[str, Any]) -> RunFolder:
        return RunFolder(self._folder(name), settings)

    def _folder(self, name: str) -> Path:
        return self.out / 'scenes' if name == 'scenes' else self.stages / name

    def _made_from(self, name: str) -> dict[str, str]:
        """Settings and data of all that a stage builds on, as one digest each."""
        found = {}
        for need in NEEDS[name]:
            done = _read(self._folder(need))
            text = json.dumps([done['settings'], done.get('digests')])
            found[need] = hashlib.sha256(text.encode()).hexdigest()
        return found


def _read(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / 'done.json').read_text('utf-8')))


def _brief(done: Mapping[str, Any]) -> str:
    return ', '.join(f'{name} {value:.3f}' for name, value in done.get('figures', {}).items())
