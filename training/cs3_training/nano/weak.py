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
from numpy.typing import NDArray
from torch import Tensor

from cs3_ros.localisers.audio_token import AudioToken, prompt_ids
from cs3_ros.localisers.audio_visual import load_checkpoint
from cs3_ros.localisers.beats import beats_fbank
from cs3_ros.localisers.clipseg import ClipSeg, load_tokenizer
from cs3_ros.localisers.heat_map import (
    HeatMapConfig,
    MaskScale,
    blur_matrix,
    cut,
    find_peak,
    paste,
    window_size,
    window_start,
)
from cs3_ros.metrics import sample_score
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
    with torch.no_grad():
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
        scenes, scores = self._scenes, []
        device = next(model.parameters()).device
        blur = blur_matrix(model.clipseg.logit_size).to(device)
        for row in range(self._count):
            numbers = scenes.numbers[row]
            colliding = np.flatnonzero(scenes.objects[row, :, COLLIDING] == 1) + 1
            truth = [numbers == number for number in colliding]
            truth = [mask for mask in truth if mask.any()]
            if not truth:
                continue
            sound = scenes.waveform((row + self._shift) % len(scenes))
            fbank = beats_fbank(torch.from_numpy(sound[None]).to(device))  # [1, T, 128]
            picture = torch.from_numpy(np.array(scenes.image[row])).to(device)
            heat = look_twice(model, picture, model.embed_audio(fbank), blur)
            scores.append(sample_score(truth, [heat >= _CUT]))
        return float(np.mean(scores))


def look_twice(
    model: CollisionSegmenter, picture: Tensor, condition: Tensor, blur: Tensor
) -> NDArray[np.float32]:
    """The heat map as ``ConditionedLocaliser.locate`` makes it, in the frame, float32 [H, W]."""
    clipseg, frame = model.clipseg, (picture.shape[0], picture.shape[1])

    def heat_map(image: Tensor) -> Tensor:
        features = clipseg.encode_image(clipseg.normalise(image[None]))
        return torch.sigmoid(clipseg.decode(features, condition)[0, 0] + model.mask.offset)

    first = heat_map(picture)  # [S', S']
    window = window_size(frame, HeatMapConfig().crop_size)
    start = window_start(find_peak(first, blur), len(first), frame, window)  # [2]
    heat = heat_map(cut(picture, start, window)).cpu().numpy()  # [S', S']
    top, left = (int(value) for value in start)
    return paste(heat, (top, left), window, frame)
