"""The loop of all pretraining stages: steps that depend on their number alone, so it can go on.

A stage lives in a folder: ``state.pt`` to go on from, ``log.jsonl`` with losses and validation
figures, and what the stage writes in the end; ``done.json`` marks that it is finished.
"""

from __future__ import annotations

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cs3_ros.files.progress import Bar
from cs3_ros.runtime import Runtime
from cs3_training.nano.config import PretrainConfig
from cs3_training.runs import RunFolder, check_gradient, cut_gradients, half_cosine, warm_up

Batch = dict[str, Tensor]
Losses = dict[str, Tensor]
VALIDATIONS = 4
"""How often a stage is judged on the way."""


@dataclass(frozen=True)
class Machine:
    """What the recipe runs on."""

    device: torch.device
    loaders: int = 1
    """Processes that make batches; 0 makes them in the loop."""
    save_s: float = 120.0
    """Seconds between states to go on from."""
    half: bool = False
    """Whether networks run in bfloat16 under autocast; weights and losses stay float32."""


class StepBatches(Dataset[Batch], ABC):
    """Batches by the number of their step; made in other processes, on the CPU."""

    @abstractmethod
    def __getitem__(self, step: int) -> Batch:
        """The batch of a step; equal for equal numbers."""


class PretrainStage(ABC):
    """A network and how it learns."""

    name: ClassVar[str]
    half: ClassVar[bool] = False
    """Whether bfloat16 serves it: transformers gain, coordinates and small convolutions do not."""
    config: PretrainConfig
    network: nn.Module
    """All that is trained, and what is needed for that alone."""

    @abstractmethod
    def samples(self) -> StepBatches:
        """What it learns from."""

    @abstractmethod
    def losses(self, batch: Batch) -> Losses:
        """Scalars by name, of a batch on the device; ``total`` is minimised."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """How good it is on validation scenes; called in evaluation mode without gradients."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Leave the network for the next stages and the bundle, float32."""

    def to_device(self, device: torch.device) -> nn.Module:
        """The network on its device."""
        return self.network.to(device)

    def matrices(self) -> list[nn.Parameter]:
        """Parameters for Muon, weights inside of transformers; AdamW moves all others."""
        return []

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their share of the learning rate."""
        return [([p for p in self.network.parameters() if p.requires_grad], 1.0)]


def machine_of(runtime: Runtime, loaders: int | None = None, half: bool | None = None) -> Machine:
    """What the recipe runs on, by the device that the runtime has chosen.

    Args:
        runtime: device and threads.
        loaders: processes that make batches; None takes 1, on a GPU up to 8.
        half: whether networks run in bfloat16; None means on a GPU.
    """
    if runtime.on_gpu:
        torch.set_float32_matmul_precision('high')  # TF32
    if loaders is None:
        loaders = min(8, len(os.sched_getaffinity(0))) if runtime.on_gpu else 1
    return Machine(runtime.device, loaders, half=runtime.on_gpu if half is None else half)


def rate(step: int, config: PretrainConfig) -> float:
    """Factor of the learning rate in a step: a rise, then half a cosine down to a hundredth."""
    rise = warm_up(step, min(config.warm_up, max(config.steps // 4, 1)))
    return rise * half_cosine(step, config.steps, 0.01)


def train(
    stage: PretrainStage, folder: Path, machine: Machine, seed: int, made_from: Mapping[str, str]
) -> dict[str, Any]:
    """Run a stage to its end, from where it stands.

    Args:
        stage: what is trained.
        folder: of the stage.
        machine: what it runs on.
        seed: of the noise in the network.
        made_from: digests of scenes and earlier stages.

    Returns:
        The content of ``done.json``: settings, figures, steps, seconds.

    Raises:
        ValueError: the folder belongs to a run with other settings or scenes.
        FloatingPointError: the gradient is not finite.
    """
    config, network = stage.config, stage.to_device(machine.device)
    half = machine.half and stage.half
    settings = {'config': asdict(config), 'seed': seed, 'made_from': dict(made_from)}
    run = RunFolder(folder, settings)
    done = run.finished()
    if done is not None:
        return done
    folder.mkdir(parents=True, exist_ok=True)
    optimisers = _optimisers(stage)
    first, spent = _resume(run, network, optimisers, machine.device)
    cv2.setNumThreads(1)  # the pictures are small, and the networks have the cores
    began = saved = time.monotonic()
    loader = DataLoader(
        stage.samples(),
        batch_size=None,
        sampler=range(first, config.steps),
        num_workers=machine.loaders,
        pin_memory=machine.device.type == 'cuda',
        prefetch_factor=4 if machine.loaders else None,
    )
    network.train()
    means: dict[str, float] = {}
    pace = max(config.steps // VALIDATIONS, 1)
    bar = Bar(loader, stage.name, config.steps, initial=first, disable=None, mininterval=1)
    for step, batch in enumerate(bar, first):
        torch.manual_seed(seed * 1_000_003 + step)
        batch = {k: v.to(machine.device, non_blocking=True) for k, v in batch.items()}
        with torch.autocast(machine.device.type, torch.bfloat16, enabled=half):
            losses = stage.losses(batch)
        norm = cut_gradients(losses['total'], network.parameters(), config.clip_norm)
        last, now = step + 1 == config.steps, time.monotonic()
        saving = not last and now - saved >= machine.save_s
        logging = step % 10 == 0
        if logging or saving or last:  # asking waits for a GPU
            check_gradient(float(norm), f'{stage.name}, step {step}', 'lower lr')
        if logging:
            for name, loss in losses.items():
                value = float(loss.detach())
                means[name] = 0.7 * means.get(name, value) + 0.3 * value
            bar.set_postfix({name: f'{value:.3f}' for name, value in means.items()})
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group['lr'] = config.lr * group['share'] * rate(step, config)
            optimiser.step()
        if (step + 1) % pace == 0 and not last:
            _log(folder, step + 1, spent + now - began, means, _judge(stage))
        elif (step + 1) % 50 == 0:
            _log(folder, step + 1, spent + now - began, means)
        if saving:
            saved = now
            run.save(
                {
                    'step': step + 1,
                    'seconds': spent + now - began,
                    'network': network.state_dict(),
                    'optimisers': [optimiser.state_dict() for optimiser in optimisers],
                }
            )
    figures = _judge(stage)
    seconds = round(spent + time.monotonic() - began, 1)
    _log(folder, config.steps, seconds, means, figures)
    stage.write(folder)
    facts = {'figures': figures, 'losses': means, 'steps': config.steps, 'seconds': seconds}
    done = run.finish(facts)
    run.state_path.unlink(missing_ok=True)
    return done


def _optimisers(stage: PretrainStage) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon where the stage has matrices for it; its steps are as large as AdamW's."""
    matrices = {id(p) for p in stage.matrices()}
    decay, groups = stage.config.weight_decay, stage.rates()
    kinds = [
        [
            {'params': [p for p in some if (id(p) in matrices) is muon], 'lr': 0.0, 'share': share}
            for some, share in groups
        ]
        for muon in (False, True)
    ]
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(kinds[0], betas=(0.9, 0.95), weight_decay=decay)
    ]
    if matrices:
        muon = torch.optim.Muon(kinds[1], weight_decay=decay, adjust_lr_fn='match_rms_adamw')
        found.append(muon)
    return found


def _judge(stage: PretrainStage) -> dict[str, float]:
    stage.network.eval()
    with torch.no_grad():
        figures = stage.figures()
    stage.network.train()
    Bar.write(f'{stage.name}: ' + ', '.join(f'{k} {v:.3f}' for k, v in figures.items()))
    return figures


def _log(folder: Path, step: int, seconds: float, *rows: Mapping[str, float]) -> None:
    line = {'step': step, 'seconds': round(seconds, 1)}
    for row in rows:
        line.update({name: round(value, 5) for name, value in row.items()})
    with (folder / 'log.jsonl').open('a', encoding='utf-8') as file:
        file.write(json.dumps(line) + '\n')


def _resume(
    run: RunFolder,
    network: nn.Module,
    optimisers: Sequence[torch.optim.Optimizer],
    device: torch.device,
) -> tuple[int, float]:
    """First step that is left and the seconds spent before."""
    state = run.load(device)
    if state is None:
        return 0, 0.0
    network.load_state_dict(state['network'])
    for optimiser, kept in zip(optimisers, state['optimisers'], strict=True):
        optimiser.load_state_dict(kept)
    return int(state['step']), float(state['seconds'])
