"""What a training would take, from a short probe: memory, time, disk, days.

The probe takes steps of the run that is asked for, with its batches, its networks and as many
processes, and keeps nothing. On a CPU a large batch is not tried: it is concluded from small ones.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cs3_training.localiser.train import Trainer
from cs3_training.processes import world_size
from cs3_training.runs import cut_gradients

STEPS = 3
"""Steps of the probe; the first one, which also allocates, is not timed."""
SMALL = (2, 4)
"""Batches that are tried on a CPU."""
RESERVE = 0.95
"""Share of the memory that may be used."""
DAY_S = 86_400

_STATES = 2  # state.pt and its successor lie on the disk at the same time


@dataclass(frozen=True)
class Plan:
    """What a training takes, and what is there."""

    device: str
    """Of each process."""
    processes: int
    """That train together."""
    share: int
    """Pairs of a step in each."""
    memory: int
    """Bytes that each needs at its peak."""
    memory_there: int
    """Bytes that each has."""
    step_s: float
    """Seconds of a step of the networks."""
    load_s: float
    """Seconds until the next batch is there."""
    steps: int
    """Of the whole training."""
    disk: int
    """Bytes that the run's folder takes."""
    disk_there: int
    """Bytes that are free."""
    data: int
    """Bytes of what is learned from."""
    concluded: bool
    """Whether memory and time were concluded from smaller batches."""

    @property
    def days(self) -> float:
        """Of the whole training; networks and loading run side by side."""
        return self.steps * max(self.step_s, self.load_s) / DAY_S

    @property
    def problems(self) -> list[str]:
        """Why it cannot run, with what helps; empty where it can."""
        found = []
        if self.memory > self.memory_there * RESERVE:
            found.append(
                f'{_gb(self.memory)} of memory in each process, {_gb(self.memory_there)} are '
                'there: lower columns, keep recompute on, share the batch among more processes, '
                "or lower it (which is not the paper's training any more)"
            )
        if self.disk > self.disk_there:
            found.append(
                f'{_gb(self.disk)} for the run, {_gb(self.disk_there)} are free: name another --out'
            )
        return found

    def as_text(self) -> str:
        """For a terminal."""
        how = f', concluded from batches of {SMALL[0]} and {SMALL[1]}' if self.concluded else ''
        slow = ' (loading is slower than the networks: more workers)'
        rows = (
            ('processes', f'{self.processes} on {self.device}, {self.share} pairs of a step each'),
            ('memory of each', f'{_gb(self.memory)} of {_gb(self.memory_there)}{how}'),
            ('networks', f'{self.step_s:.3f} s per step{how}'),
            (
                'loading',
                f'{self.load_s:.3f} s per step' + slow * (self.load_s > self.step_s),
            ),
            ('training', f'{self.steps} steps, {self.days:.2f} days'),
            ('disk, data', _gb(self.data)),
            ('disk, run', f'{_gb(self.disk)} of {_gb(self.disk_there)} free'),
        )
        lines = [f'{name:16}{value}' for name, value in rows]
        return '\n'.join(lines + [f'cannot run: {problem}' for problem in self.problems])


def probe(trainer: Trainer, out: Path, data: Path) -> Plan:
    """Take some steps of a training, in each of its processes, and conclude.

    Args:
        trainer: the training, in a folder of its own that is thrown away.
        out: where the run would lie.
        data: file or folder that is learned from.

    Raises:
        FloatingPointError: as the training.
        ValueError: a step does not fit the memory of the GPU.
    """
    batches = trainer.batches()
    on_gpu = trainer.device.type == 'cuda'
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    there = _memory_there(trainer.device)
    share = trainer.config.batch // world_size()
    load_s, batch = _timed(batches)
    with _peak(trainer.device) as peak:
        if on_gpu or share <= max(SMALL):
            step_s = _steps(trainer, batch, STEPS)
            memory, concluded = peak(), False
        else:
            step_s, memory = _concluded(trainer, batch, share, peak)
            concluded = True
    # Adam keeps two numbers for each weight, which the probe allocates no more than once
    weights = sum(p.numel() * p.element_size() for p in trained)
    memory += 2 * weights * (not trainer.optimiser.state)
    free = shutil.disk_usage(_existing(out)).free
    return Plan(
        device=torch.cuda.get_device_name(trainer.device) if on_gpu else 'CPU',
        processes=world_size(),
        share=share,
        memory=memory,
        memory_there=there // (1 if on_gpu else world_size()),
        step_s=step_s,
        load_s=load_s,
        steps=trainer.config.steps,
        disk=3 * weights * _STATES + 2 * weights,
        disk_there=free,
        data=_size(data),
        concluded=concluded,
    )


def _steps(trainer: Trainer, batch: list[Tensor], count: int) -> float:
    """Seconds of the fastest of some steps but the first, which also allocates."""
    module: nn.Module = trainer.model
    if dist.is_initialized():
        module = DistributedDataParallel(module)
    parameters = [p for p in trainer.model.parameters() if p.requires_grad]
    trainer.model.train()
    took = []
    try:
        for _ in range(count):
            began = time.perf_counter()
            losses = trainer.losses(module, batch)
            cut_gradients(losses['total'], parameters, trainer.config.clip_norm)
            if trainer.device.type == 'cuda':
                torch.cuda.synchronize(trainer.device)
            took.append(time.perf_counter() - began)
    except torch.cuda.OutOfMemoryError as error:
        raise ValueError(
            f'a step of {len(batch[0])} pairs does not fit the GPU: lower columns, keep recompute '
            'on, or share the batch among more processes'
        ) from error
    finally:
        for parameter in parameters:
            parameter.grad = None
    return min(took[1:] or took)


def _concluded(trainer: Trainer, batch: list[Tensor], share: int, peak: Any) -> tuple[float, int]:
    """Seconds and bytes of a step of ``share`` pairs, from two small batches.

    Memory grows with the pairs, time with the pairs and their square: each is decoded under all
    sounds.
    """
    seconds, most = [], []
    for count in SMALL:
        seconds.append(_steps(trainer, [part[:count] for part in batch], 2))
        most.append(peak())
    first, second = SMALL
    square = (seconds[1] / second - seconds[0] / first) / (second - first)
    square = max(square, 0.0)
    single = max(seconds[1] / second - square * second, 0.0)
    each = max(most[1] - most[0], 0) / (second - first)
    return single * share + square * share**2, round(most[1] + each * (share - second))


def _timed(batches: Iterator[list[Tensor]]) -> tuple[float, list[Tensor]]:
    """Seconds between two batches once the workers run, and a batch."""
    next(batches)
    began = time.perf_counter()
    batch = next(batches)
    return time.perf_counter() - began, batch


@contextmanager
def _peak(device: torch.device) -> Iterator[Any]:
    """A function that tells the most memory in use since the last call, bytes."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: torch.cuda.max_memory_reserved(device)
        return

    with suppress(OSError):  # where that is not allowed, the peak of loading counts, too
        Path('/proc/self/clear_refs').write_text('5')

    def most() -> int:
        (line,) = [line for line in _status() if line.startswith('VmHWM:')]
        return int(line.split()[1]) * 1024

    yield most


def _status() -> list[str]:
    return Path('/proc/self/status').read_text('ascii').splitlines()


def _memory_there(device: torch.device) -> int:
    """Bytes that this process may have: those that are free, and its own."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    free = Path('/proc/meminfo').read_text('ascii').partition('MemAvailable:')[2].split()[0]
    (own,) = [line.split()[1] for line in _status() if line.startswith('VmRSS:')]
    return (int(free) + int(own)) * 1024


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above that is there."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.is_dir())


def _size(path: Path) -> int:
    files = [path] if path.is_file() else (file for file in path.rglob('*') if file.is_file())
    return sum(file.stat().st_size for file in files)


def _gb(count: float) -> str:
    return f'{count / 1e9:.2f} GB'
