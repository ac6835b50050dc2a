"""Stage audio: BEATs learns which materials a sound is made of, and which shapes.

Several labels are true of a sound (binary cross-entropy each). Pooled by mean and maximum: a knock
is short.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from cs3_ros.networks.beats import Beats, beats_fbank
from cs3_ros.networks.checkpoints import read_safetensors
from cs3_training.evaluation.detection import roc_auc
from cs3_training.nano.config import AudioStageConfig
from cs3_training.nano.loop import Batch, Losses, PretrainStage, StepBatches
from cs3_training.nano.networks import tiny_beats
from cs3_training.synth.store import COLLIDING, SHAPE, Scenes
from cs3_training.synth.vocabulary import MATERIALS, SHAPES

FILE = 'beats.safetensors'
_SHIFT = 1600  # largest shift of a sound, samples: 0.1 s
_BANDS = 16  # most mel bands that are covered


class AudioSamples(StepBatches):
    """Sounds, shifted and mixed with a little noise, and what they are made of."""

    def __init__(self, scenes: Scenes, config: AudioStageConfig, seed: int) -> None:
        self._scenes, self._config, self._seed = scenes, config, seed

    def __getitem__(self, step: int) -> Batch:
        """Sounds float32 [B, N], labels [B, 7 + 8], and which mel bands are left [B, 128]."""
        rng = np.random.default_rng([self._seed, 12, step])
        rows = rng.integers(len(self._scenes), size=self._config.batch)
        sounds = []
        for row in rows:
            sound = np.roll(self._scenes.waveform(int(row)), rng.integers(-_SHIFT, _SHIFT))
            loud = 10 ** rng.uniform(-0.5, 0.2)
            noise = rng.standard_normal(len(sound), np.float32) * 10 ** rng.uniform(-5.0, -2.7)
            sounds.append(np.clip(sound * loud + noise, -1, 1).astype(np.float32))
        bands = np.ones((len(rows), 128), np.float32)
        for left in bands:
            first = rng.integers(128 - _BANDS)
            left[first : first + rng.integers(_BANDS)] = 0
        return {
            'sounds': torch.from_numpy(np.stack(sounds)),
            'labels': torch.from_numpy(np.stack([labels(self._scenes, int(r)) for r in rows])),
            'bands': torch.from_numpy(bands),
        }


def labels(scenes: Scenes, row: int) -> NDArray[np.float32]:
    """1 for the materials that sound and the shapes that collide, float32 [7 + 8]."""
    found = np.zeros(len(MATERIALS) + len(SHAPES), np.float32)
    found[scenes.heard[row]] = 1
    objects = scenes.objects[row]
    found[len(MATERIALS) + objects[objects[:, COLLIDING] == 1][:, SHAPE]] = 1
    return found


class _Classifier(nn.Module):
    def __init__(self, beats: Beats, width: int, classes: int) -> None:
        super().__init__()
        self.beats = beats
        self.head = nn.Linear(2 * width, classes)

    def forward(self, fbank: Tensor) -> Tensor:
        """[B, T, 128] -> logits [B, classes]."""
        (x,) = self.beats(fbank, (self.beats.config.encoder_layers,))  # [B, L, W]
        return self.head(torch.cat([x.mean(1), x.amax(1)], 1).float())  # [B, classes]


class AudioStage(PretrainStage):
    """Sound classification by a tiny BEATs."""

    name = 'audio'
    half = True

    def __init__(
        self, config: AudioStageConfig, train: Scenes, validation: Scenes, seed: int
    ) -> None:
        self.config: AudioStageConfig = config
        self._train, self._validation, self._seed = train, validation, seed
        torch.manual_seed(seed * 100 + 2)
        self._beats = tiny_beats(config)
        self.network = _Classifier(self._beats, config.width, len(MATERIALS) + len(SHAPES))

    def samples(self) -> StepBatches:
        return AudioSamples(self._train, self.config, self._seed)

    def losses(self, batch: Batch) -> Losses:
        fbank = beats_fbank(batch['sounds']) * batch['bands'][:, None]  # [B, T, 128]
        logits = self.network(fbank)  # [B, 15]
        loss = F.binary_cross_entropy_with_logits(logits, batch['labels'], reduction='none')
        material, shape = loss[:, : len(MATERIALS)].mean(), loss[:, len(MATERIALS) :].mean()
        return {'total': material + 0.5 * shape, 'material': material, 'shape': shape}

    def figures(self) -> dict[str, float]:
        """Areas under the ROC curves, chance 0.5, and how often the surest material is one of both.

        The latter is 0.27 by chance where all are equally frequent and two differ.
        """
        scenes, device = self._validation, next(self.network.parameters()).device
        logits = []
        for start in range(0, len(scenes), 32):
            rows = range(start, min(start + 32, len(scenes)))
            sounds = torch.from_numpy(np.stack([scenes.waveform(row) for row in rows]))
            logits.append(self.network(beats_fbank(sounds.to(device))).float().cpu())
        scores = torch.cat(logits).numpy()  # [N, 15]
        truth = np.stack([labels(scenes, row) for row in range(len(scenes))])  # [N, 15]
        rocs = [roc_auc(scores[:, k], truth[:, k] > 0) for k in range(truth.shape[1])]
        surest = scores[:, : len(MATERIALS)].argmax(1)
        figures = {
            'material AUC': float(np.mean(rocs[: len(MATERIALS)])),
            'shape AUC': float(np.mean(rocs[len(MATERIALS) :])),
            'surest material': float(truth[np.arange(len(truth)), surest].mean()),
        }
        named = zip(MATERIALS, rocs, strict=False)
        return {**figures, **{f'AUC {name}': value for name, value in named}}

    def write(self, folder: Path) -> None:
        state = self._beats.state_dict()
        save_file({name: value.contiguous() for name, value in state.items()}, folder / FILE)


def load_audio(config: AudioStageConfig, folder: Path) -> Beats:
    """What the stage wrote, in evaluation mode."""
    beats = tiny_beats(config)
    beats.load_state_dict(read_safetensors(folder / FILE)[0])
    return beats.eval()
