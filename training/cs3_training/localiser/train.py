"""The weakly supervised training of CS3 (method.md A7): one readable loop.

A run lives in a folder: ``state.pt`` to go on from, exactly; ``audio_visual.safetensors``, the best
checkpoint by validation, which the node loads; ``events.*`` for TensorBoard. Every step draws its
samples, augmentation and noise from the seed and its own number, so a run that was killed goes on
bit by bit as if it had not been; on a GPU up to the order in which its kernels add. ``torchrun``
trains on several devices.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from cs3_ros.collision import Image
from cs3_ros.config import from_mapping, setting, validate
from cs3_ros.files.atomic import replacing
from cs3_ros.files.progress import Bar
from cs3_ros.files.yamlfile import read_yaml
from cs3_ros.networks.audio_visual import save_checkpoint
from cs3_ros.networks.beats import beats_fbank
from cs3_training.localiser.losses import LossConfig
from cs3_training.localiser.model import CollisionSegmenter, rank
from cs3_training.runs import RunFolder, check_gradient, cut_gradients, half_cosine, warm_up

CHECKPOINT = 'audio_visual.safetensors'
"""What a run leaves for the node."""
LOSSES = ('image', 'feature', 'area', 'total')
"""What is logged of every step, fields of ``Losses``."""
CROP = 352 / 387
"""Side of the random window that augmentation cuts, fraction of the picture (method.md A7)."""


@dataclass(frozen=True)
class TrainConfig:
    """How long, how fast and on what the sound side is trained; the defaults are CS3's.

    Raises:
        ValueError: a setting is outside its range, or the batch cannot be shared evenly.
    """

    steps: int = setting(50_000, 'Steps of the optimiser.', minimum=1)
    batch: int = setting(32, 'Pairs in a step, over all processes.', minimum=2)
    lr: float = setting(1e-6, 'Learning rate of BEATs.', minimum=0.0)
    lr_token: float = setting(
        1e-6, 'Learning rate of the audio token (ACL-SSL: 1e-4).', minimum=0.0
    )
    lr_mask: float = setting(
        1e-6, 'Learning rate of scale and bias of the mask (ACL-SSL: 1e-4).', minimum=0.0
    )
    weight_decay: float = setting(1e-4, 'Weight decay of Adam, added to gradients.', minimum=0.0)
    warm_up: int = setting(0, 'Steps in which the learning rates rise from zero.', minimum=0)
    schedule: str = setting(
        'constant', 'What the learning rates do afterwards.', choices=('constant', 'cosine')
    )
    clip_norm: float = setting(1.0, 'Largest norm of the gradient.', minimum=1e-6)
    precision: str = setting(
        'bfloat16',
        'Number format of the networks in autocast; losses are float32.',
        choices=('float32', 'bfloat16'),
    )
    columns: int = setting(
        8, 'Sounds that a batch of pictures is decoded under at once; bounds the memory.', minimum=1
    )
    recompute: bool = setting(
        True, 'Decode again for the gradients; without it B x B maps are kept, which is faster.'
    )
    train_beats: bool = setting(True, 'Train BEATs too, as CS3 does; ACL-SSL keeps it.')
    augment: bool = setting(True, 'Cut a random window of 0.91 of the picture and mirror half.')
    workers: int = setting(2, 'Processes that load samples; 0 loads in the loop.', minimum=0)
    save_every: int = setting(500, 'Steps between states to go on from.', minimum=1)
    validate_every: int = setting(1000, 'Steps between validations.', minimum=1)
    seed: int = setting(0, 'Of samples, augmentation and noise.', minimum=0)
    loss: LossConfig = field(default_factory=LossConfig)
    """The three losses."""

    def __post_init__(self) -> None:
        validate(self)
        if self.batch % world_size():
            raise ValueError(
                f'batch = {self.batch}: expected a multiple of the {world_size()} processes'
            )


class Pairs(Protocol):
    """Pictures and the sounds that belong to them."""

    def __len__(self) -> int:
        """Number of pairs."""

    def __getitem__(self, index: int) -> tuple[Image, NDArray[np.float32]]:
        """Picture RGB uint8 [H, W, 3] and sound float32 [N] at 16 kHz; one size for all."""


def load_config(path: Path | str) -> TrainConfig:
    """Read a YAML file of settings; what it does not name is default, ``loss`` is a mapping.

    Raises:
        ValueError: not such a file, an unknown name or a value out of range; says which.
    """
    where = f'training settings {str(path)!r}'
    values = read_yaml(Path(path), where) or {}
    if isinstance(values, dict) and 'loss' in values:
        values = {**values, 'loss': from_mapping(LossConfig, values['loss'], f'{where}, loss')}
    return from_mapping(TrainConfig, values, where)


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


class PairSamples(Dataset[tuple[Tensor, Tensor]]):
    """Sample number n of a run, counted over all steps: which pair, and how it is augmented.

    Every epoch is a permutation of its own; nothing depends on what was asked for before.
    """

    def __init__(self, pairs: Pairs, config: TrainConfig) -> None:
        self._pairs, self._config = pairs, config
        self._epoch: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Picture uint8 [H', W', 3] and sound float32 [N]."""
        seed, count = self._config.seed, len(self._pairs)
        epoch, index = divmod(number, count)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, np.random.default_rng([seed, 0, epoch]).permutation(count))
        image, sound = self._pairs[int(self._epoch[1][index])]
        if self._config.augment:
            image = augment(image, np.random.default_rng([seed, 1, number]))
        return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(sound)


def augment(image: Image, rng: np.random.Generator) -> Image:
    """A random window of ``CROP`` of each side, half of the time mirrored: still [H', W', 3].

    Sounds carry no side, so mirroring is allowed here (method.md G38).
    """
    height, width = (round(side * CROP) for side in image.shape[:2])
    top = int(rng.integers(image.shape[0] - height + 1))
    left = int(rng.integers(image.shape[1] - width + 1))
    window = image[top : top + height, left : left + width]
    return window[:, ::-1] if rng.random() < 0.5 else window


def batches(
    pairs: Pairs, config: TrainConfig, first_step: int, pinned: bool = False
) -> Iterator[list[Tensor]]:
    """This process's share of every batch from ``first_step`` on: pictures and sounds.

    Args:
        pairs: the training set.
        config: settings.
        first_step: number of the first batch.
        pinned: whether they go to a GPU.
    """
    share = config.batch // world_size()
    starts = (step * config.batch + rank() * share for step in range(first_step, config.steps))
    numbers = [list(range(start, start + share)) for start in starts]
    loader = DataLoader(
        PairSamples(pairs, config),
        batch_sampler=numbers,
        num_workers=config.workers,
        pin_memory=pinned,
    )
    return iter(loader)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Factor of the learning rates in a step, in (0, 1]."""
    rise = warm_up(step, config.warm_up)
    return rise if config.schedule == 'constant' else rise * half_cosine(step, config.steps, 0.05)


def noise_seed(seed: int, step: int) -> int:
    """Seed of dropout and Gumbel noise in a step of this process; no state has to be kept."""
    return int(np.random.default_rng([seed, 2, step, rank()]).integers(2**62))


class Trainer:
    """One run.

    Args:
        model: its sound side is trained, on the device where it is.
        pairs: the training set.
        config: settings.
        folder: of the run; a run that lies there is continued.
        validate: score of the model (higher is better), for choosing the checkpoint; None keeps
            the last. Where it uses labels, say so: training itself uses none.
        about: what else the checkpoint should tell (the digest of the data).

    Attributes:
        step: steps taken.
        best: highest score of ``validate`` so far.
        seconds: spent on these steps, before an interruption, too.

    Raises:
        ValueError: the run in the folder has other settings, another data digest or another number
            of processes, or the model does not train what the settings say.
    """

    def __init__(
        self,
        model: CollisionSegmenter,
        pairs: Pairs,
        config: TrainConfig,
        folder: Path,
        validate: Callable[[CollisionSegmenter], float] | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        if model.train_beats != config.train_beats:
            raise ValueError(
                f'train_beats is {config.train_beats} in the settings and {model.train_beats} '
                'in the model: give CollisionSegmenter the value of the settings'
            )
        self.model, self.config, self.folder = model, config, folder
        self.step, self.best, self.seconds = 0, -math.inf, 0.0
        self._pairs, self._validate, self._about = pairs, validate, dict(about or {})
        settings = {
            'config': asdict(config),
            'about': self._about,
            'processes': world_size(),  # their noise differs
        }
        self._run = RunFolder(folder, settings)
        self.device = next(model.parameters()).device
        beats = [p for p in model.beats.parameters() if p.requires_grad]
        parts = (
            (list(model.audio_token.parameters()), config.lr_token),
            (list(model.mask.parameters()), config.lr_mask),
            (beats, config.lr),
        )
        groups = [{'params': part, 'lr': lr, 'base': lr} for part, lr in parts]
        self.optimiser = torch.optim.Adam(
            [group for group in groups if group['params']], weight_decay=config.weight_decay
        )
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def run(self) -> None:
        """Train to the last step; what is interrupted goes on from the last saved state.

        Raises:
            FloatingPointError: the gradient is not finite; names the step and what to change.
        """
        config, model = self.config, self.model
        module: nn.Module = DistributedDataParallel(model) if dist.is_initialized() else model
        log = SummaryWriter(str(self.folder)) if rank() == 0 else None
        model.train()
        began = time.monotonic() - self.seconds
        steps = Bar(
            zip(
                range(self.step, config.steps),
                batches(self._pairs, config, self.step, self.device.type == 'cuda'),
                strict=True,
            ),
            initial=self.step,
            total=config.steps,
            desc='training',
            disable=rank() > 0,
        )
        for step, (pictures, sounds) in steps:
            torch.manual_seed(noise_seed(config.seed, step))
            for group in self.optimiser.param_groups:
                group['lr'] = group['base'] * learning_rate(step, config)
            pixels = model.clipseg.normalise(pictures.to(self.device, non_blocking=True))
            fbank = beats_fbank(sounds.to(self.device, non_blocking=True))
            half = config.precision == 'bfloat16'
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                losses = module(pixels, fbank, config.loss, config.columns, config.recompute)
            norm = cut_gradients(losses.total, self._trained(), config.clip_norm)
            figures = {name: getattr(losses, name) for name in LOSSES} | {'norm': norm}
            # Together: every single one would wait for the device.
            values = torch.stack([value.detach().float() for value in figures.values()]).tolist()
            values_by_name = dict(zip(figures, values, strict=True))
            fix = 'lower lr and lr_token, or train with precision float32'
            check_gradient(values_by_name['norm'], f'step {step}', fix)
            self.optimiser.step()
            self.step = step + 1
            if log is not None:
                for name in LOSSES:
                    log.add_scalar(f'loss/{name}', values_by_name[name], step)
                log.add_scalar('gradient_norm', values_by_name['norm'], step)
                steps.set_postfix(loss=f'{values_by_name["total"]:.3f}', best=f'{self.best:.4f}')
            last = self.step == config.steps
            if self._validate and (last or self.step % config.validate_every == 0):
                self._choose(log)
            self.seconds = time.monotonic() - began
            if last or self.step % config.save_every == 0:
                self._save()
        if log is not None:
            log.close()

    def _trained(self) -> list[nn.Parameter]:
        return [p for group in self.optimiser.param_groups for p in group['params']]

    def _choose(self, log: SummaryWriter | None) -> None:
        """Keep the checkpoint where it is the best so far."""
        assert self._validate is not None
        self.model.eval()
        with torch.no_grad():
            score = self._validate(self.model)
        self.model.train()
        if log is not None:
            log.add_scalar('validation', score, self.step)
        if score > self.best:
            self.best = score
            self._write_checkpoint(score)

    def _write_checkpoint(self, score: float | None) -> None:
        if rank() > 0:
            return
        model = self.model
        notes = {
            'training': json.dumps(asdict(self.config)),
            'step': str(self.step),
            'validation': '' if score is None else f'{score:.6f}',
            **self._about,
        }
        beats = model.beats if model.train_beats else None
        with replacing(self.folder / CHECKPOINT) as part:
            save_checkpoint(part, model.audio_token, model.mask, beats, notes)

    def _save(self) -> None:
        """Write all that is needed to go on, and without validation the checkpoint, too."""
        if self._validate is None:
            self._write_checkpoint(None)
        if rank() > 0:
            return
        trained = {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}
        self._run.save(
            {
                'step': self.step,
                'best': self.best,
                'seconds': self.seconds,
                'optimiser': self.optimiser.state_dict(),
                'model': trained,
            }
        )

    def _resume(self) -> None:
        state = self._run.load(self.device)
        if state is None:
            return
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in state['model'].items():
                own[name].copy_(value)
        self.optimiser.load_state_dict(state['optimiser'])
        self.step, self.best = state['step'], state['best']
        self.seconds = state['seconds']
