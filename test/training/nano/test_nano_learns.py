"""CS3's training learns: from nano's pretrained parts and a random audio token, in a minute.

It sees pictures and sounds alone. Scored is what the node would run: the checkpoint that the
trainer wrote, in the localiser of the pipeline, on scenes that nothing was trained on.
"""

from __future__ import annotations

import needs

needs.training()

from collections.abc import Sequence
from pathlib import Path

from shipped_nano import shipped_nano

from cs3_ros.bench.fake_stages import BoxMasker
from cs3_ros.localisers.audio_visual import AudioVisualConfig, AudioVisualLocaliser
from cs3_ros.networks.audio_visual import MaskScale, load_checkpoint, save_checkpoint
from cs3_ros.pipeline import Pipeline
from cs3_ros.runtime import Runtime, RuntimeConfig
from cs3_ros.trigger.assembler import ClipConfig
from cs3_training.evaluation.evidence import Evaluator
from cs3_training.evaluation.intervals import compare
from cs3_training.evaluation.rows import score
from cs3_training.evaluation.samples import Sample, SyntheticSamples
from cs3_training.localiser.losses import LossConfig
from cs3_training.localiser.model import CollisionSegmenter, assemble
from cs3_training.localiser.train import CHECKPOINT, TrainConfig, Trainer
from cs3_training.nano.config import WeakConfig
from cs3_training.synth.config import WorldConfig, split_seeds
from cs3_training.synth.store import make_scenes

PAIRS, FIRST_PAIR = 600, 100_000
"""Scenes to learn from, and the first one: the recipe takes some 20 000 from 0 on."""
HELD_OUT, FIRST_HELD_OUT = 150, 1_000
"""Validation scenes to be scored on, from one on that chose no checkpoint of nano."""
STEPS, BATCH, WARM_UP = 100, 8, 5
LR, LR_TOKEN = 3e-5, 1.6e-3
LEAST = 2.0
"""By how much AV has to get better, percent points of mIoU."""
MASK_BIAS = 5.0
"""More than the recipe's: masks that are not yet empty learn sooner."""
DRAW = 3
"""Of the eight draws of the row Random one in their middle."""
WEAK = WeakConfig()
CONFIG = TrainConfig(
    steps=STEPS,
    batch=BATCH,
    lr=LR,
    lr_token=LR_TOKEN,
    lr_mask=WEAK.lr_mask,
    warm_up=WARM_UP,
    schedule='cosine',
    precision='float32',
    columns=WEAK.columns,
    workers=0,
    save_every=STEPS,
    loss=LossConfig(area_weight=WEAK.area_weight, area_positive=WEAK.area_positive),
)


def untrained(nano: Path) -> CollisionSegmenter:
    """CLIPSeg and BEATs of nano with a random audio token."""
    beats = load_checkpoint(nano / CHECKPOINT).beats
    assert beats is not None
    return assemble(nano / 'clipseg', beats, mask=MaskScale(bias=MASK_BIAS), seed=DRAW)


def scores(nano: Path, checkpoint: Path, samples: Sequence[Sample]) -> list[float]:
    """Of the heat map after the second look, cut at 0.5: the row AV."""
    config = AudioVisualConfig(clipseg=str(nano / 'clipseg'), checkpoint=str(checkpoint))
    localiser = AudioVisualLocaliser(config, Runtime(RuntimeConfig(device='cpu')))
    evaluator = Evaluator(Pipeline('test', BoxMasker(), localiser=localiser), ('av',))
    return [score(sample, evaluator.look(sample)).scores['av'] for sample in samples]


def test_a_minute_of_training_improves_av_on_other_scenes(tmp_path):
    nano, world = shipped_nano(), WorldConfig()
    pairs = make_scenes(tmp_path / 'pairs', world, split_seeds('train', FIRST_PAIR, PAIRS), 2)
    held_out = SyntheticSamples('validation', ClipConfig(audio_before_s=1.0, audio_after_s=1.0))
    samples = [held_out[FIRST_HELD_OUT + k] for k in range(HELD_OUT)]
    model = untrained(nano)
    start = tmp_path / 'start.safetensors'
    save_checkpoint(start, model.audio_token, model.mask, model.beats)
    before = scores(nano, start, samples)

    Trainer(model, pairs, CONFIG, tmp_path / 'run').run()
    after = scores(nano, tmp_path / 'run' / CHECKPOINT, samples)
    better = compare(after, before)
    assert better.mean >= LEAST and better.low > 0, better
