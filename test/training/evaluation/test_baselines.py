"""Centre and Random: what they share with the trained system and what they do not."""

from __future__ import annotations

import needs

needs.training()

import numpy as np
import pytest
import torch

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.collision import AudioClip
from cs3_ros.runtime import RuntimeConfig
from cs3_training.evaluation.baselines import centre, random_projection


def noise(seed: int = 0) -> AudioClip:
    samples = np.random.default_rng(seed).normal(0, 0.1, 16_000).astype(np.float32)
    return AudioClip(0, 16_000, samples, np.ones(16_000, bool))


def test_centre_is_a_tenth_of_any_picture_in_its_middle():
    for height, width in ((352, 352), (720, 1280)):
        mask = centre(height, width)
        rows, columns = np.nonzero(mask)
        assert mask.mean() == pytest.approx(0.1, abs=1e-3)
        assert rows.mean() == pytest.approx((height - 1) / 2, abs=0.51)
        assert columns.mean() == pytest.approx((width - 1) / 2, abs=0.51)


def test_random_draws_the_projection_and_nothing_else(cs3_home):
    trained = load_bundle('cs3').build(runtime=RuntimeConfig(device='cpu', threads=1)).localiser
    before = torch.random.get_rng_state()
    drawn, again, other = (random_projection(trained, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before), 'the draw of others is disturbed'
    audio = noise()
    with torch.inference_mode():
        words = [stage.condition(audio) for stage in (trained, drawn, again, other)]
    assert torch.equal(words[1], words[2])
    assert not torch.allclose(words[0], words[1]) and not torch.allclose(words[1], words[3])
    ours, theirs = (stage.clipseg.state_dict() for stage in (trained, drawn))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert drawn.heat.crop == trained.heat.crop
