"""Stage weak: the training of CS3 itself, on pictures with their sounds and without any label.

The loop is ``cs3_training.train``. Its checkpoint is chosen by the mIoU of the heat map on labelled
validation scenes, since the contrastive loss goes on falling when masks already get worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cs3_ros.collision import AudioClip, Frame
from cs3_ros.localisers.audio_token import AudioToken, prompt_ids
from cs3_ros.localisers.audio_visual import load_checkpoint
from cs3_ros.localisers.beats import RATE, beats_fbank
from cs3_ros.localisers.clipseg import ClipSeg, load_tokenizer
from cs3_ros.localisers.conditioned import ConditionedLocaliser
from cs3_ros.localisers.heat_map import MaskScale
from cs3_ros.localisers.sound import waveform
from cs3_ros.metrics import sample_score
from cs3_ros.runtime import Runtime, RuntimeConfig
from cs3_training.losses import LossConfig
from cs3_training.model import CollisionSegmenter
from cs3_training.nano.audio import load_audio
from cs3_training.nano.config import NanoConfig
from cs3_training.nano.loop import Machine, finish, finished
from cs3_training.nano.networks import token_config
from cs3_training.synth.store import COLLIDING, Scenes
from cs3_training.train import TrainConfig, Trainer

CHECKPOINT = 'audio_visual.safetensors'
_CUT = 0.5


def train_weak(
    config: NanoConfig,
    pairs: Scenes,
    validation: Scenes,
    stages: Path,
    machine: Machine,
    made_from: dict[str, str],
    folder: Path | None = None,
    changed: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run the stage on what clipseg and audio left in ``stages``, from where it stands.

    Args:
        config: the recipe.
        pairs: pictures and sounds to learn from.
        validation: labelled scenes that choose the checkpoint.
        stages: folder of the stages.
        machine: what it runs on.
        made_from: digests of the stages that it builds on.
        folder: where to; None for ``stages/weak``.
        changed: as ``training_config``.

    Returns:
        The content of ``done.json``: settings, figures, steps, seconds.

    Raises:
        ValueError: the folder belongs to a run with other settings or scenes.
    """
    weak, folder = config.weak, folder or stages / 'weak'
    settings = {'config': weak.__dict__, 'seed': config.seed, 'made_from': made_from}
    if changed:
        settings['changed'] = changed
    done = finished(folder, settings)
    if done is not None:
        return done
    folder.mkdir(parents=True, exist_ok=True)
    training = training_config(config, machine, changed)
    model = segmenter(config, stages, training.train_beats).to(machine.device)
    judge = _Judge(validation, weak.judged)
    trainer = Trainer(
        model,
        pairs,
        training,
        folder,
        judge,
        {'data': f'synthetic world, SHA-256 {pairs.digest}', **made_from},
    )
    trainer.run()
    best = model_of(folder, config, stages).to(machine.device)
    figures = {
        'AV mIoU': judge(best),
        'AV mIoU, shuffled sound': _Judge(validation, weak.judged, shuffle=True)(best),
    }
    facts = {'figures': figures, 'steps': weak.steps, 'seconds': round(trainer.seconds, 1)}
    return finish(folder, settings, facts)


def training_config(
    config: NanoConfig, machine: Machine, changed: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Settings of the stage.

    Args:
        config: the recipe.
        machine: decides on the number format.
        changed: settings of ``TrainConfig`` that differ, ``loss`` those of ``LossConfig``.
    """
    weak, changed = config.weak, changed or {}
    every = max(weak.steps // weak.validations, 1)
    loss = LossConfig(area_weight=weak.area_weight, area_positive=weak.area_positive)
    training = TrainConfig(
        steps=weak.steps,
        batch=weak.batch,
        lr=weak.lr,
        lr_token=weak.lr_token,
        lr_mask=weak.lr_mask,
        warm_up=min(30, weak.steps),
        schedule='cosine',
        # on CPUs its small products gain nothing from bfloat16
        precision='bfloat16' if machine.half and machine.device.type == 'cuda' else 'float32',
        columns=weak.columns,
        recompute=False,  # its maps are small
        workers=machine.loaders,
        save_every=max(every // 4, 1),
        validate_every=every,
        seed=config.seed,
    )
    return replace(training, **{**changed, 'loss': replace(loss, **changed.get('loss', {}))})


def segmenter(config: NanoConfig, stages: Path, train_beats: bool = True) -> CollisionSegmenter:
    """The pretrained parts with a fresh audio token."""
    torch.manual_seed(config.seed * 100 + 5)
    token = AudioToken(token_config(config.audio, config.clip))
    beats = load_audio(config.audio, stages / 'audio')
    return _assemble(stages, beats, token, MaskScale(bias=config.weak.mask_bias), train_beats)


def model_of(folder: Path, config: NanoConfig, stages: Path) -> CollisionSegmenter:
    """The best checkpoint of the stage, in evaluation mode."""
    found = load_checkpoint(folder / CHECKPOINT)
    beats = found.beats or load_audio(config.audio, stages / 'audio')
    return _assemble(stages, beats, found.audio_token, found.mask).eval()


def _assemble(
    stages: Path, beats: Any, token: AudioToken, mask: MaskScale, train_beats: bool = True
) -> CollisionSegmenter:
    folder = stages / 'clipseg'
    ids = prompt_ids(load_tokenizer(folder), token.config)
    return CollisionSegmenter(ClipSeg.from_folder(folder), beats, token, mask, ids, train_beats)


class _Judge:
    """Mean score of the heat map, second look included, cut at 0.5 and taken as the one mask.

    The masks of the validation scenes are used here, and here alone, to choose the checkpoint.
    """

    def __init__(self, scenes: Scenes, count: int, shuffle: bool = False) -> None:
        self._scenes, self._count = scenes, min(count, len(scenes))
        self._shift = 1 if shuffle else 0

    def __call__(self, model: CollisionSegmenter) -> float:
        """In [0, 1]."""
        scenes, scores, student = self._scenes, [], _Student(model)
        for row in range(self._count):
            numbers = scenes.numbers[row]
            colliding = np.flatnonzero(scenes.objects[row, :, COLLIDING] == 1) + 1
            truth = [numbers == number for number in colliding]
            truth = [mask for mask in truth if mask.any()]
            if not truth:
                continue
            sound = scenes.waveform((row + self._shift) % len(scenes))
            frame = Frame(0, scenes.image[row], np.array)
            heard = AudioClip(0, RATE, sound, np.ones(len(sound), bool))
            found = student.locate(student.encode([frame], 0), heard)
            masks = [] if found is None else [found.heat_map >= _CUT]
            scores.append(sample_score(truth, masks))
        return float(np.mean(scores))


class _Student(ConditionedLocaliser):
    """The localiser that the model makes as far as it is trained."""

    def __init__(self, model: CollisionSegmenter) -> None:
        device = model.prompt_ids.device.type
        runtime = Runtime(RuntimeConfig(device, 'float32', torch.get_num_threads()))
        super().__init__(model.clipseg, runtime, logit_offset=model.mask.offset.item())
        self._model = model

    def condition(self, audio: AudioClip) -> Tensor:
        """The prompt with the sound as its missing word, [1, P]."""
        sound = self.runtime.to_device(waveform(audio, RATE))  # [N]
        return self._model.embed_audio(beats_fbank(sound[None]))  # [1, N] -> [1, T, 128] -> [1, P]
