"""The loop of the contrastive trainings: it goes on exactly, on one device or several.

A run lives in a folder: ``state.pt`` to go on from, a checkpoint for the node, ``events.*`` for
TensorBoard. Every step draws its samples and noise from the seed and its own number, so a run that
was killed goes on bit by bit as if it had not been; on a GPU up to the order in which its kernels
add.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from cs3_ros.config import setting, validate
from cs3_ros.files.atomic import replacing
from cs3_ros.files.progress import Bar
from cs3_training.processes import rank, world_size
from cs3_training.runs import RunFolder, check_gradient, cut_gradients, half_cosine, warm_up

Model = TypeVar('Model', bound=nn.Module)


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast is trained.

    Raises:
        ValueError: a setting is outside its range, or the batch cannot be shared evenly.
    """

    steps: int = setting(50_000, 'Steps of the optimiser.', minimum=1)
    batch: int = setting(32, 'Samples in a step, over all processes.', minimum=2)
    weight_decay: float = setting(0.0, 'Weight decay of Adam, added to gradients.', minimum=0.0)
    warm_up: int = setting(0, 'Steps in which the learning rates rise from zero.', minimum=0)
    schedule: str = setting(
        'constant', 'What the learning rates do afterwards.', choices=('constant', 'cosine')
    )
    clip_norm: float = setting(1.0, 'Largest norm of the gradient.', minimum=1e-6)
    precision: str = setting(
        'float32',
        'Number format of the networks in autocast; losses are float32.',
        choices=('float32', 'bfloat16'),
    )
    workers: int = setting(2, 'Processes that load samples; 0 loads in the loop.', minimum=0)
    save_every: int = setting(500, 'Steps between states to go on from.', minimum=1)
    validate_every: int = setting(1000, 'Steps between validations.', minimum=1)
    seed: int = setting(0, 'Of samples, augmentation and noise.', minimum=0)

    def __post_init__(self) -> None:
        validate(self)
        if self.batch % world_size():
            raise ValueError(
                f'batch = {self.batch}: expected a multiple of the {world_size()} processes'
            )


class Epochs:
    """Which sample a run looks at, by a number counted over all steps.

    Every epoch is a permutation of its own; nothing depends on what was asked for before.

    Args:
        count: samples of the set, at least 1.
        seed: of the permutations.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def index(self, number: int) -> int:
        """Index in the set."""
        epoch, index = divmod(number, self._count)
        if self._order[0] != epoch:
            order = np.random.default_rng([self._seed, 0, epoch]).permutation(self._count)
            self._order = (epoch, order)
        return int(self._order[1][index])


def batches(
    samples: Dataset[Any],
    config: LoopConfig,
    first_step: int,
    pinned: bool = False,
    together: Callable[[list[Any]], Any] | None = None,
) -> Iterator[Any]:
    """This process's share of every batch from ``first_step`` on.

    Args:
        samples: by their number, counted over all steps.
        config: settings.
        first_step: number of the first batch.
        pinned: whether they go to a GPU.
        together: makes a batch of samples; None stacks them.
    """
    share = config.batch // world_size()
    starts = (step * config.batch + rank() * share for step in range(first_step, config.steps))
    numbers = [list(range(start, start + share)) for start in starts]
    loader = DataLoader(
        samples,
        batch_sampler=numbers,
        num_workers=config.workers,
        collate_fn=together,
        pin_memory=pinned,
    )
    return iter(loader)


def learning_rate(step: int, config: LoopConfig) -> float:
    """Factor of the learning rates in a step, in (0, 1]."""
    rise = warm_up(step, config.warm_up)
    return rise if config.schedule == 'constant' else rise * half_cosine(step, config.steps, 0.05)


def noise_seed(seed: int, step: int) -> int:
    """Seed of dropout and other noise in a step of this process; no state has to be kept."""
    return int(np.random.default_rng([seed, 2, step, rank()]).integers(2**62))


class TrainingLoop(ABC, Generic[Model]):
    """One run.

    Args:
        model: what is trained, on the device where it is.
        config: settings.
        folder: of the run; a run that lies there is continued.
        groups: parameters with their learning rate; those that are frozen are left out.
        validate: score of the model (higher is better), for choosing the checkpoint; None keeps
            the last.
        about: what else the checkpoint should tell (the digest of the data).

    Attributes:
        step: steps taken.
        best: highest score of ``validate`` so far.
        seconds: spent on these steps, before an interruption, too.

    Raises:
        ValueError: the run in the folder has other settings, another data digest or another number
            of processes.
    """

    checkpoint: ClassVar[str]
    """Name of the file that a run leaves for the node."""
    fix: ClassVar[str] = 'lower the learning rate, or train with precision float32'
    """What helps where a gradient is not finite."""

    def __init__(
        self,
        model: Model,
        config: LoopConfig,
        folder: Path,
        groups: Sequence[tuple[Sequence[nn.Parameter], float]],
        validate: Callable[[Model], float] | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.model, self.folder = model, folder
        self.step, self.best, self.seconds = 0, -math.inf, 0.0
        self._config, self._validate, self._about = config, validate, dict(about or {})
        settings = {
            'config': asdict(config),
            'about': self._about,
            'processes': world_size(),  # their noise differs
        }
        self._run = RunFolder(folder, settings)
        self.device = next(model.parameters()).device
        learning = [([p for p in part if p.requires_grad], lr) for part, lr in groups]
        self.optimiser = torch.optim.Adam(
            [{'params': part, 'lr': lr, 'base': lr} for part, lr in learning if part],
            weight_decay=config.weight_decay,
        )
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    @abstractmethod
    def batches(self) -> Iterator[Any]:
        """This process's share of every batch from ``step`` on."""

    @abstractmethod
    def losses(self, module: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        """Scalars by name; ``total`` is minimised.

        Args:
            module: the model to call; in a process group DistributedDataParallel round it.
            batch: one of ``batches``, on the CPU.
        """

    @abstractmethod
    def write_checkpoint(self, path: Path, notes: Mapping[str, str]) -> None:
        """Leave the model for the node.

        Args:
            path: the file to write.
            notes: metadata: settings, step, validation score, ``about``.
        """

    def run(self) -> None:
        """Train to the last step; what is interrupted goes on from the last saved state.

        Raises:
            FloatingPointError: the gradient is not finite; names the step and what to change.
        """
        config, model = self._config, self.model
        module: nn.Module = DistributedDataParallel(model) if dist.is_initialized() else model
        log = SummaryWriter(str(self.folder)) if rank() == 0 else None
        model.train()
        began = time.monotonic() - self.seconds
        steps = Bar(
            zip(range(self.step, config.steps), self.batches(), strict=True),
            initial=self.step,
            total=config.steps,
            desc='training',
            disable=rank() > 0,
        )
        for step, batch in steps:
            torch.manual_seed(noise_seed(config.seed, step))
            for group in self.optimiser.param_groups:
                group['lr'] = group['base'] * learning_rate(step, config)
            losses = self.losses(module, batch)
            norm = cut_gradients(losses['total'], self._trained(), config.clip_norm)
            figures = {**losses, 'norm': norm}
            # Together: every single one would wait for the device.
            values = torch.stack([value.detach().float() for value in figures.values()]).tolist()
            values_by_name = dict(zip(figures, values, strict=True))
            check_gradient(values_by_name['norm'], f'step {step}', self.fix)
            self.optimiser.step()
            self.step = step + 1
            if log is not None:
                for name in losses:
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

    def autocast(self) -> torch.autocast:
        """The number format of the networks."""
        half = self._config.precision == 'bfloat16'
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

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
        notes = {
            'training': json.dumps(asdict(self._config)),
            'step': str(self.step),
            'validation': '' if score is None else f'{score:.6f}',
            **self._about,
        }
        with replacing(self.folder / self.checkpoint) as part:
            self.write_checkpoint(part, notes)

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
