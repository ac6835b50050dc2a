"""The training of the gate: what it draws, what it minimises, what chooses the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cs3_ros.config import from_mapping, setting
from cs3_ros.files.yamlfile import read_yaml
from cs3_training.ear.examples import FEATURES, NAMES, Examples
from cs3_training.ear.network import GateNetwork
from cs3_training.loop import Epochs, LoopConfig, TrainingLoop

CHECKPOINT = 'gate.safetensors'
"""What a run leaves for the package."""
KEPT = 0.98
"""Share of the impacts that pass where the weights are compared."""


@dataclass(frozen=True)
class EarConfig(LoopConfig):
    """How much is heard, how long and how fast is trained."""

    scenes: int = setting(1300, 'Scenes of 20 s to learn from.', minimum=1)
    judges: int = setting(130, 'Scenes of 20 s that choose the weights.', minimum=1)
    steps: int = setting(3200, 'Steps of the optimiser.', minimum=1)
    batch: int = setting(256, 'Candidates in a step.', minimum=2)
    lr: float = setting(2e-3, 'Learning rate.', minimum=0.0)
    schedule: str = setting(
        'cosine', 'What the learning rates do afterwards.', choices=('constant', 'cosine')
    )
    save_every: int = setting(100, 'Steps between states to go on from.', minimum=1)
    validate_every: int = setting(250, 'Steps between validations.', minimum=1)
    warm_up: int = setting(200, 'Steps in which the learning rates rise from zero.', minimum=0)
    weight_decay: float = setting(1e-5, 'Weight decay of Adam, added to gradients.', minimum=0.0)
    talk_weight: float = setting(
        3.0, 'Weight of what is no impact while somebody speaks.', minimum=0.0
    )
    other_weight: float = setting(0.5, 'Weight of what is no impact elsewhere.', minimum=0.0)
    drop: float = setting(0.25, 'Share of hidden values dropped.', minimum=0.0, maximum=0.9)
    noise: float = setting(0.03, 'Deviation of the noise on the features.', minimum=0.0)


def load_config(path: Path) -> EarConfig:
    """Read a YAML file of settings; what it does not name is default.

    Raises:
        ValueError: not such a file, an unknown name or a value out of range; says which.
    """
    where = f'ear settings {str(path)!r}'
    return from_mapping(EarConfig, read_yaml(path, where) or {}, where)


class GateTrainer(TrainingLoop[GateNetwork]):
    """One run.

    Args:
        model: the network.
        examples: to learn from.
        judges: other candidates, which choose the weights.
        config: settings.
        folder: of the run; a run that lies there is continued.
        about: as ``TrainingLoop``.
    """

    checkpoint = CHECKPOINT
    fix = 'lower lr'

    def __init__(
        self,
        model: GateNetwork,
        examples: Examples,
        judges: Examples,
        config: EarConfig,
        folder: Path,
        about: Mapping[str, str],
    ) -> None:
        self.config, self._examples, self._judges = config, examples, judges
        self._epochs = Epochs(len(examples.impact), config.seed)
        groups = ((list(model.parameters()), config.lr),)
        super().__init__(model, config, folder, groups, self._score, about)

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """The candidates of every step."""
        size = self.config.batch
        for step in range(self.step, self.config.steps):
            rows = [self._epochs.index(number) for number in range(step * size, (step + 1) * size)]
            yield tensors(self._examples, np.array(rows))

    def losses(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross entropy, what is heard in speech weighing more."""
        impact, talk = batch['impact'], batch['talk']
        seen = varied({name: batch[name] for name in FEATURES}, self.config.noise)
        logits = module(**seen)  # [B]
        config = self.config
        weight = torch.where(talk > 0, config.talk_weight, config.other_weight)  # [B]
        weight = torch.where(impact > 0, 1.0, weight)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, impact, weight)
        return {'total': loss}

    def write_checkpoint(self, path: Path, notes: Mapping[str, str]) -> None:
        """The weights, with the notes."""
        weights = {name: weight.contiguous() for name, weight in self.model.weights().items()}
        save_file(weights, path, metadata=dict(notes))

    def _score(self, model: GateNetwork) -> float:
        """Share of false candidates in speech that are turned away where ``KEPT`` pass."""
        answers = probabilities(model, self._judges)
        figures = rates(answers, self._judges)
        return figures['turned_away_in_speech']


def tensors(examples: Examples, rows: np.ndarray) -> dict[str, Tensor]:
    """Some candidates as float32 tensors by name."""
    return {
        name: torch.from_numpy(getattr(examples, name)[rows].astype(np.float32)) for name in NAMES
    }


def varied(seen: dict[str, Tensor], noise: float) -> dict[str, Tensor]:
    """The same candidates through other microphones: fewer bands, other slopes, some noise."""
    core, context = seen['core'], seen['context']
    size, bands = core.shape[0], core.shape[1]
    tilt = torch.linspace(-1, 1, bands) * torch.randn(size, 1) * 0.05  # [B, bands]
    wave = torch.randn(size, bands) * 0.02
    shift = (tilt + wave + torch.randn(size, 1) * 0.02)[:, :, None]  # [B, bands, 1]
    result = dict(seen)
    for name, part in (('core', core), ('context', context)):
        moved = (part + shift * (part > 0) + torch.randn_like(part) * noise).clamp(min=0)
        result[name] = moved
    cut = torch.rand(size) < 0.15
    highest = torch.randint(bands // 2, bands, (size,))
    gone = (torch.arange(bands)[None] >= highest[:, None]) & cut[:, None]  # [B, bands]
    for name in ('core', 'context'):
        result[name] = result[name] * ~gone[:, :, None]
    short = (torch.rand(size, 1, 1) < 0.05).float()  # nothing was heard before
    result['context'] = result['context'] * (1 - short)
    for name in ('voice', 'envelope'):
        result[name] = seen[name] + torch.randn_like(seen[name]) * noise
    return result


def probabilities(model: GateNetwork, examples: Examples) -> np.ndarray:
    """What the network says, float32 [N]."""
    model.eval()
    parts = []
    with torch.no_grad():
        for begin in range(0, len(examples.impact), 4096):
            rows = np.arange(begin, min(begin + 4096, len(examples.impact)))
            batch = tensors(examples, rows)
            parts.append(model(**{name: batch[name] for name in FEATURES}).sigmoid())
    return torch.cat(parts).numpy()


def rates(answers: np.ndarray, examples: Examples) -> dict[str, float]:
    """What passes and what does not at the threshold that ``KEPT`` of the impacts pass."""
    impact, talk = examples.impact == 1, examples.talk == 1
    threshold = float(np.quantile(answers[impact], 1 - KEPT))
    passed = answers >= threshold

    def share(rows: np.ndarray) -> float:
        return float(rows.mean()) if rows.size else 1.0

    return {
        'threshold': threshold,
        'impacts_in_speech': share(passed[impact & talk]),
        'impacts_elsewhere': share(passed[impact & ~talk]),
        'turned_away_in_speech': share(~passed[~impact & talk]),
        'turned_away_elsewhere': share(~passed[~impact & ~talk]),
    }
