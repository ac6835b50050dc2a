"""What all trainings share: a folder to go on from, learning rates, gradients that are cut.

The loops themselves are in ``loop.py`` and ``nano/loop.py``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cs3_ros.files.atomic import replacing
from cs3_ros.files.jsonfile import read_json, write_json


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one run, that is to its settings.

    ``state.pt`` is what an interrupted run goes on from, ``done.json`` marks a finished one.
    """

    path: Path
    """The folder."""
    settings: Mapping[str, Any]
    """All that decides the result, as JSON data; a run with others is refused."""

    @property
    def state_path(self) -> Path:
        """Where the state lies."""
        return self.path / 'state.pt'

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state to go on from; None where there is none.

        Args:
            device: where its tensors go.

        Raises:
            ValueError: it is damaged, or belongs to a run with other settings.
        """
        if not self.state_path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(
                self.state_path, map_location=device, weights_only=True
            )
            settings = json.loads(state['settings'])
        except Exception as error:  # of a damaged or strange file torch raises anything
            raise ValueError(
                f'{self.state_path} is no state of a run, or damaged ({type(error).__name__}): '
                'remove it to begin anew'
            ) from error
        if not self._are_mine(settings):
            raise ValueError(
                f'{self.state_path} belongs to a run with other settings or data: give another '
                'folder, or remove this one'
            )
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state, whole or not at all."""
        with replacing(self.state_path) as part:
            torch.save({'settings': json.dumps(self.settings), **state}, part)

    def finished(self) -> dict[str, Any] | None:
        """What ``finish`` noted; None where the run is not finished.

        Raises:
            ValueError: it was run with other settings.
        """
        path = self.path / 'done.json'
        if not path.is_file():
            return None
        done = read_json(path, f'{path}')
        if not isinstance(done, dict) or 'settings' not in done:
            raise ValueError(f'{path} does not say what was run: remove it and run again')
        if not self._are_mine(done['settings']):
            raise ValueError(
                f'{self.path} was made with other settings or from other scenes: give another '
                'folder, or remove this one and what follows from it'
            )
        return done

    def finish(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Mark the run as finished, with its facts; there is nothing left to go on from."""
        done = {'settings': dict(self.settings), **facts}
        write_json(self.path / 'done.json', done)
        return done

    def _are_mine(self, settings: Any) -> bool:
        return bool(settings == json.loads(json.dumps(self.settings)))


def warm_up(step: int, steps: int) -> float:
    """Factor of the learning rate in the first steps, in (0, 1]: it rises evenly to 1."""
    return min(1.0, (step + 1) / steps) if steps else 1.0


def half_cosine(step: int, steps: int, end: float) -> float:
    """Factor of the learning rate that falls from 1 to ``end`` over all steps."""
    return (1 + end) / 2 + (1 - end) / 2 * math.cos(math.pi * step / steps)


def cut_gradients(loss: Tensor, parameters: Iterable[nn.Parameter], most: float) -> Tensor:
    """Fresh gradients of a loss [], their common norm cut to ``most``; returns the norm before."""
    parameters = list(parameters)
    for parameter in parameters:
        parameter.grad = None
    loss.backward()
    return nn.utils.clip_grad_norm_(parameters, most)


def check_gradient(norm: float, where: str, fix: str) -> None:
    """Refuse to go on with a gradient that is not a number.

    Raises:
        FloatingPointError: its norm is not finite; names the step and the fix.
    """
    if not math.isfinite(norm):
        raise FloatingPointError(f'{where}: the gradient is not finite; {fix}')
