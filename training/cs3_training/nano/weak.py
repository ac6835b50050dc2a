"""Stage weak: the training of CS3 itself, on pictures with their sounds and without any label.

The loop is ``cs3_training.localiser.train``. Its checkpoint is chosen by the mIoU of the heat map
on labelled validation scenes, since the contrastive loss goes on falling when masks get worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cs3_ros.networks.audio_visual import MaskScale, load_checkpoint
from cs3_training.localiser.losses import LossConfig
from cs3_training.localiser.model import CollisionSegmenter, assemble
from cs3_training.localiser.shorter import ShorterTrainer
from cs3_training.localiser.train import CHECKPOINT, TrainConfig, Trainer
from cs3_training.localiser.validation import HeatMapScore
from cs3_training.nano.audio import load_audio
from cs3_training.nano.config import NanoConfig
from cs3_training.nano.loop import Machine
from cs3_training.runs import RunFolder
from cs3_training.synth.store import Scenes


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

    Where audio was taken from a bundle, that bundle's localiser is taught to hear less.

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
    if further := _earlier(stages) is not None:
        settings['further'] = config.further.__dict__
    run = RunFolder(folder, settings)
    done = run.finished()
    if done is not None:
        return done
    folder.mkdir(parents=True, exist_ok=True)
    training = (further_config if further else training_config)(config, machine, changed)
    model = segmenter(config, stages, training.train_beats).to(machine.device)
    judge = HeatMapScore(validation, weak.judged, wait_s=weak.wait_s)
    trainer = (ShorterTrainer if further else Trainer)(
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
        'AV mIoU, shuffled sound': HeatMapScore(
            validation, weak.judged, shuffle=True, wait_s=weak.wait_s
        )(best),
        'AV mIoU, all sound': HeatMapScore(validation, weak.judged)(best),
    }
    facts = {'figures': figures, 'steps': training.steps, 'seconds': round(trainer.seconds, 1)}
    return run.finish(facts)


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
        listen_least_s=weak.listen_least_s,
        columns=weak.columns,
        recompute=False,  # its maps are small
        workers=machine.loaders,
        save_every=max(every // 4, 1),
        validate_every=every,
        seed=config.seed,
    )
    return replace(training, **{**changed, 'loss': replace(loss, **changed.get('loss', {}))})


def further_config(
    config: NanoConfig, machine: Machine, changed: Mapping[str, Any] | None = None
) -> TrainConfig:
    """As ``training_config``, where the stage goes on from a bundle."""
    further, training = config.further, training_config(config, machine)
    every = max(further.steps // config.weak.validations, 1)
    found = replace(
        training,
        steps=further.steps,
        batch=further.batch,
        lr=further.lr,
        lr_token=further.lr,
        warm_up=min(30, further.steps),
        save_every=max(every // 4, 1),
        validate_every=every,
    )
    return replace(found, **(changed or {}))


def segmenter(config: NanoConfig, stages: Path, train_beats: bool = True) -> CollisionSegmenter:
    """The pretrained parts with a fresh audio token, or with that of a bundle they come from."""
    beats = load_audio(config.audio, stages / 'audio')
    if (earlier := _earlier(stages)) is not None:
        found = load_checkpoint(earlier)
        return assemble(stages / 'clipseg', beats, found.audio_token, found.mask, train_beats)
    mask, seed = MaskScale(bias=config.weak.mask_bias), config.seed * 100 + 5
    return assemble(stages / 'clipseg', beats, None, mask, train_beats, seed)


def _earlier(stages: Path) -> Path | None:
    """The localiser of the bundle that the stages are taken from; None where they are not."""
    path = stages / 'audio' / CHECKPOINT
    return path if path.is_file() else None


def model_of(folder: Path, config: NanoConfig, stages: Path) -> CollisionSegmenter:
    """The best checkpoint of the stage, in evaluation mode."""
    found = load_checkpoint(folder / CHECKPOINT)
    beats = found.beats or load_audio(config.audio, stages / 'audio')
    return assemble(stages / 'clipseg', beats, found.audio_token, found.mask).eval()
