"""Candidates against a sound: the released protocol by hand, and the scorer that the robot runs."""

from __future__ import annotations

import needs

needs.networks()

import numpy as np
import pytest
import torch
from sounding_fakes import HEADS, released_state, tiny_beats, tiny_clipseg, tiny_network

from cs3_ros.collision import AudioClip, Frame
from cs3_ros.localisers.sounding import (
    SoundingScorer,
    SoundingScorerConfig,
    heat_map,
    load_beats_of,
    region_means,
)
from cs3_ros.networks.beats import beats_checkpoint
from cs3_ros.networks.sounding import pool
from cs3_ros.networks.sounding_checkpoint import load_sounding, save_sounding
from cs3_ros.networks.towers import load_vision
from cs3_ros.runtime import Runtime, RuntimeConfig

RUNTIME = Runtime(RuntimeConfig('cpu', threads=1))


def test_the_heat_map_by_hand():
    patches = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 5.0], [1.0, 9.0]])
    sound = torch.tensor([2.0, 0.0])  # fits 2, 6, 4, 2
    assert heat_map(patches, sound, 2).tolist() == [[0.0, 1.0], [0.5, 0.0]]
    assert heat_map(patches, sound * 100, 2).allclose(heat_map(patches, sound, 2))
    large = heat_map(patches, sound, 4)  # bilinear: corners keep their value
    assert large[0].tolist() == [0.0, 0.25, 0.75, 1.0]
    assert not heat_map(torch.ones(4, 2), sound, 2).any(), 'a picture that is everywhere the same'


def test_smaller_masks_lie_on_larger_ones():
    heat = torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.4, 0.5], [0.6, 0.7, 0.8]])
    masks = torch.zeros(4, 3, 3, dtype=torch.bool)
    masks[0, :2] = True  # six pixels: the two upper rows
    masks[1, 1, 1] = True  # one of them
    masks[2, 2, :2] = True
    masks[3, 2, :2] = True  # as the one before, on top of it
    means, rest = region_means(heat, masks)
    assert means[0].item() == pytest.approx((0 + 0.1 + 0.2 + 0.3 + 0.5) / 5)
    assert means[1].item() == pytest.approx(0.4) and means[2].isnan()
    assert means[3].item() == pytest.approx(0.65) and rest.item() == pytest.approx(0.8)
    order = torch.tensor([1, 3, 0])  # what is not hidden does not depend on the order
    torch.testing.assert_close(region_means(heat, masks[order])[0], means[order])
    both, beside = region_means(torch.stack([heat, 2 * heat]), masks)  # several maps at once
    torch.testing.assert_close(both, torch.stack([means, 2 * means]), equal_nan=True)
    torch.testing.assert_close(beside, torch.stack([rest, 2 * rest]))


def test_every_mask_may_count_as_a_whole():
    heat = torch.tensor([[0.0, 1.0]])
    masks = torch.tensor([[[True, True]], [[False, True]], [[False, False]]])
    means, rest = region_means(heat, masks, painted=False)
    assert means[:2].tolist() == [0.5, 1.0] and means[2].isnan() and rest.isnan()
    empty, rest = region_means(heat, masks[:0])
    assert empty.shape == (0,) and rest.item() == 0.5


def clip(seconds: float = 2.0) -> AudioClip:
    samples = np.random.default_rng(1).normal(0, 0.1, int(48_000 * seconds)).astype(np.float32)
    return AudioClip(0, 48_000, samples, np.ones(len(samples), bool))


def frame() -> Frame:
    return Frame.from_rgb(0, np.random.default_rng(2).integers(0, 256, (80, 100, 3), np.uint8))


def masks(*boxes: tuple[int, int, int, int]) -> list[np.ndarray]:
    found = []
    for top, left, bottom, right in boxes:
        mask = np.zeros((80, 100), bool)
        mask[top:bottom, left:right] = True
        found.append(mask)
    return found


@pytest.fixture
def files(tmp_path):
    """A checkpoint on CLIPSeg's tower and a BEATs beside it."""
    tiny_clipseg().model.save_pretrained(tmp_path / 'clipseg')
    (tmp_path / 'clipseg' / 'preprocessor_config.json').write_text('{"size": 64}')
    save_sounding(
        tmp_path / 'sounding.safetensors', tiny_network('beats', clipseg=True), None, False
    )
    torch.save(beats_checkpoint(tiny_beats()), tmp_path / 'beats.pt')
    return SoundingScorerConfig(
        checkpoint=str(tmp_path / 'sounding.safetensors'),
        vision=str(tmp_path / 'clipseg'),
        beats=str(tmp_path / 'beats.pt'),
    )


def test_scores_are_those_of_the_network(files):
    scorer = SoundingScorer(files, RUNTIME)
    given = masks((0, 0, 40, 50), (10, 10, 20, 20), (60, 60, 70, 90))
    found = scorer.score(scorer.encode(frame()), clip(), given)
    network = load_sounding(files.checkpoint, load_vision(files.vision), tiny_beats())
    with torch.no_grad():
        image = torch.from_numpy(np.array(frame().image))[None]
        patches = network.embed_patches(network.vision.pictures(image))[0]
        from cs3_ros.networks.sound import waveform

        end = waveform(clip(), 16_000)[None, -round(16_000 * sum(network.window)) :]
        sound = network.embed_sound(network.sound.spectrogram(end))[0]
        seen = network.vision.masks(torch.from_numpy(np.stack(given)))
        fit = patches @ sound
        heat = (fit - fit.min()) / (fit.max() - fit.min())
        heat = torch.nn.functional.interpolate(heat.view(1, 1, 4, 4), (64, 64), mode='bilinear')
        visible = [seen[0] & ~seen[1], seen[1], seen[2]]
        means = [heat[0, 0][mask].mean().item() for mask in visible]
        np.testing.assert_allclose(found.heat, means, atol=1e-5)
        outside = heat[0, 0][~seen.any(0)].mean().item()
        assert found.background == pytest.approx(outside, abs=1e-5)
        pooled = pool(patches, network.patchify(seen))
        cosine = torch.nn.functional.cosine_similarity(pooled, sound[None])
        np.testing.assert_allclose(found.cosine, cosine, atol=1e-5)


def test_no_candidates_and_empty_ones(files):
    scorer = SoundingScorer(files, RUNTIME)
    encoded = scorer.encode(frame())
    nothing = scorer.score(encoded, clip(), [])
    assert nothing.heat.shape == nothing.cosine.shape == (0,) and 0 <= nothing.background <= 1
    empty = scorer.score(encoded, clip(0.01), masks((0, 0, 0, 0), (0, 0, 80, 100)))
    assert np.isnan(empty.heat[0]) and empty.cosine[0] == 0 and np.isnan(empty.background)
    with pytest.raises(ValueError, match=r'candidate of \(4, 4\), picture of \(80, 100\)'):
        scorer.score(encoded, clip(), [np.ones((4, 4), bool)])


def test_a_released_checkpoint_is_all_that_is_needed(tmp_path, monkeypatch):
    torch.save(released_state(), tmp_path / 'a.pth')
    monkeypatch.setattr(
        'cs3_ros.localisers.sounding.load_released',
        lambda path: __import__('cs3_ros.networks.sounding_released', fromlist=['']).load_released(
            path, HEADS
        ),
    )
    scorer = SoundingScorer(SoundingScorerConfig(checkpoint=str(tmp_path / 'a.pth')), RUNTIME)
    found = scorer.score(scorer.encode(frame()), clip(), masks((0, 20, 80, 60)))
    assert 0 <= found.heat[0] <= 1


def test_weights_have_to_be_named(files, tmp_path):
    with pytest.raises(ValueError, match='SoundingScorerConfig.checkpoint is empty'):
        SoundingScorer(SoundingScorerConfig(), RUNTIME)
    with pytest.raises(ValueError, match='SoundingScorerConfig.vision is empty'):
        SoundingScorer(SoundingScorerConfig(checkpoint=files.checkpoint), RUNTIME)
    without = SoundingScorerConfig(checkpoint=files.checkpoint, vision=files.vision)
    with pytest.raises(ValueError, match='has no BEATs weights: name the BEATs'):
        SoundingScorer(without, RUNTIME)


def test_beats_come_from_either_file(files, tiny_weights):
    assert load_beats_of(files.beats).config == tiny_beats().config
    path = tiny_weights / 'cs3' / 'audio_visual.safetensors'
    with pytest.raises(ValueError, match='has no BEATs weights: name the official file'):
        load_beats_of(path)


def test_the_end_of_a_clip_is_heard(files):
    """A robot's clip ends as long after the onset as the bundle waits, wherever it begins."""
    scorer = SoundingScorer(files, RUNTIME)
    encoded, given = scorer.encode(frame()), masks((0, 0, 40, 50), (60, 60, 70, 90))
    whole = scorer.score(encoded, clip(), given).cosine
    longer = clip()
    longer = AudioClip(0, 48_000, np.pad(longer.samples, (9600, 0)), np.ones(105_600, bool))
    np.testing.assert_allclose(scorer.score(encoded, longer, given).cosine, whole, atol=1e-5)
    earlier = AudioClip(0, 48_000, longer.samples[:96_000], np.ones(96_000, bool))
    assert np.abs(scorer.score(encoded, earlier, given).cosine - whole).max() > 1e-4
