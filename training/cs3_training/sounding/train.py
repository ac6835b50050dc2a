"""The training of the sounding objects, stage after stage, on the loop that all share.

Each stage has a folder: ``state.pt`` to go on from, ``sounding.safetensors``, which the next stage
and the robot load. Adam goes on from stage to stage, as in the released code; only ``slots``, a
training of its own, leaves nothing to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cs3_ros.bundles.weights import digest_of
from cs3_ros.networks.beats import Beats
from cs3_ros.networks.checkpoints import read_torch
from cs3_ros.networks.sounding import SoundingObjects
from cs3_ros.networks.sounding_checkpoint import load_sounding, save_sounding
from cs3_ros.networks.towers import TextTower, VisionTower
from cs3_training.loop import TrainingLoop, batches
from cs3_training.processes import rank, wait_for_all
from cs3_training.sounding.config import STAGES, SoundingConfig
from cs3_training.sounding.data import Samples, SoundingSet
from cs3_training.sounding.frozen import Frozen
from cs3_training.sounding.model import Batch, SoundingTask, assemble

CHECKPOINT = 'sounding.safetensors'
"""What every stage leaves."""
Judge = Callable[[SoundingObjects], float]


@dataclass(frozen=True, eq=False)
class Towers:
    """What is pretrained, and what is told of it."""

    vision: VisionTower
    text: TextTower | None
    beats: Beats | None
    ids: Callable[[Sequence[str]], Tensor]
    """Texts to token ids [n, L]."""
    about: Mapping[str, str]
    """Digests of their files, by name."""
    ast: Mapping[str, Tensor] | None = None
    """Pretrained weights of AST; None for random ones."""


class SoundingTrainer(TrainingLoop[SoundingTask]):
    """One stage.

    Args:
        task: network and stage, on the device where it is.
        clips: the training set.
        config: all settings; the steps of the stage follow from it and the set.
        towers: for texts and facts.
        folder: of the stage; a run that lies there is continued.
        judge: score of the network (higher is better), for choosing the checkpoint; None keeps the
            last. Where it uses labels, say so: training itself uses none.
        start: what the stage begins with, as the checkpoint tells it.
        before: ``state.pt`` of the stage whose optimiser goes on.
        frozen: as ``data.Samples``.

    Raises:
        ValueError: the run in the folder has other settings, data or towers.
    """

    checkpoint = CHECKPOINT
    fix = 'lower lr'

    def __init__(
        self,
        task: SoundingTask,
        clips: SoundingSet,
        config: SoundingConfig,
        towers: Towers,
        folder: Path,
        judge: Judge | None = None,
        start: str = 'random',
        before: Path | None = None,
        frozen: Frozen | None = None,
    ) -> None:
        stage = config.stage(task.stage).for_samples(len(clips))
        about = {
            'stage': task.stage,
            'data': clips.digest,
            'start': start,
            'optimiser': 'new' if before is None else 'goes on',
            **({} if frozen is None else {'towers': 'frozen, patches in 16 bits'}),
            'settings': json.dumps({n: asdict(config)[n] for n in ('network', 'samples')}),
            **towers.about,
        }
        self._stage, self._with_beats = stage, config.network.train_sound
        self._samples = Samples(clips, task.network, towers.ids, config.samples, stage, frozen)
        validate = None if judge is None else lambda one: judge(one.network)
        groups = [(list(task.parameters()), stage.lr)]
        super().__init__(task, stage, folder, groups, validate, about)
        if before is not None and self.step == 0:
            self._go_on_from(before)

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """The fields of ``Batch``."""
        return batches(self._samples, self._stage, self.step, self.device.type == 'cuda')

    def losses(self, module: nn.Module, batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
        """Those of the stage."""
        moved = {name: part.to(self.device, non_blocking=True) for name, part in batch.items()}
        with self.autocast():
            losses: dict[str, Tensor] = module(Batch(**moved))
        return losses

    def write_checkpoint(self, path: Path, notes: Mapping[str, str]) -> None:
        """Slots, sound tower and aligners."""
        save_sounding(path, self.model.network, notes, self._with_beats)

    def _go_on_from(self, path: Path) -> None:
        """Adam's memory of the parameters that the stage before trained, too."""
        state = read_torch(path)
        memory = dict(zip(state['model'], range(len(state['model'])), strict=True))
        mine = self.optimiser.state_dict()
        trained = [n for n, p in self.model.named_parameters() if p.requires_grad]
        mine['state'] = {
            number: state['optimiser']['state'][memory[name]]
            for number, name in enumerate(trained)
            if memory.get(name) in state['optimiser']['state']
        }
        self.optimiser.load_state_dict(mine)


def train_stages(
    config: SoundingConfig,
    clips: SoundingSet,
    towers: Towers,
    out: Path,
    stages: Collection[str] = STAGES,
    start: Path | None = None,
    judge: Judge | None = None,
    device: torch.device = torch.device('cpu'),
    frozen: Frozen | None = None,
) -> Path:
    """Run stages in their order, each from what the one before left.

    Args:
        config: all settings.
        clips: the training set.
        towers: pretrained.
        out: folder of the run; ``out/STAGE`` is that of a stage.
        stages: which; the others are left out. Where the first of them has one before it in
            ``out``, it begins with that.
        start: checkpoint that the first of them begins with instead.
        judge: as ``SoundingTrainer``; not for ``slots``, whose network hears nothing yet.
        device: where it is trained.
        frozen: as ``data.Samples``.

    Returns:
        The checkpoint of the last stage.

    Raises:
        ValueError: an unknown stage, none at all, or as ``SoundingTrainer``.
    """
    if unknown := sorted(set(stages) - set(STAGES)):
        raise ValueError(f'stages {", ".join(unknown)}: expected some of {", ".join(STAGES)}')
    if not stages:
        raise ValueError(f'no stages: expected some of {", ".join(STAGES)}')
    last = start
    for number, name in enumerate(STAGES):
        if name not in stages:
            continue
        earlier = [out / one / CHECKPOINT for one in STAGES[:number]]
        if last is None:
            last = next((path for path in reversed(earlier) if path.is_file()), None)
        network = _begin(config, towers, last)
        stage, about = config.stage(name), 'random' if last is None else digest_of(last)
        pooled = frozen is not None and frozen.heard is not None
        task = SoundingTask(network, name, stage, config.network.train_sound, pooled).to(device)
        before = None
        if last is not None and last.parent.name != 'slots':
            beside = last.with_name('state.pt')
            before = beside if beside.is_file() else None
        if rank() == 0:
            print(f'{name}: begins with {"random weights" if last is None else last}', flush=True)
        chosen = None if name == 'slots' else judge
        folder = out / name
        trainer = SoundingTrainer(
            task, clips, config, towers, folder, chosen, about, before, frozen
        )
        trainer.run()
        wait_for_all()  # the first process writes what all go on from
        last = folder / CHECKPOINT
    assert last is not None
    return last


def _begin(config: SoundingConfig, towers: Towers, path: Path | None) -> SoundingObjects:
    """The network of a checkpoint, or a random one.

    Raises:
        ValueError: the checkpoint has other sizes than the settings.
    """
    window = config.samples.window
    if path is None:
        network, beats = config.network, towers.beats
        return assemble(network, towers.vision, beats, towers.text, window, towers.ast)
    found = load_sounding(path, towers.vision, towers.beats, towers.text)
    asked = None
    if config.network.use_slots:
        asked = config.network.slots_config(towers.vision.width, towers.vision.grid)
    has = None if found.slots is None else found.slots.config
    wide = found.aligner.embedding
    if (has, wide, found.window) != (asked, config.network.embedding, window):
        raise ValueError(
            f'{path}: slots {has}, joint space {wide}, window {found.window}; the settings ask for '
            f'{asked}, {config.network.embedding}, {window}; correct the groups network and samples'
        )
    return found
