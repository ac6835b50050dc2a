"""Samples, variants and rows: known answers by hand, tiny networks against the pipeline itself."""

from __future__ import annotations

import needs

needs.training()

from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_fakes import FAR_RIGHT, OTHERS, A, B, area, known_pipeline, known_sample

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.collision import Candidate
from cs3_ros.localisers.audio_visual import AudioVisualLocaliser
from cs3_ros.pipeline import Pipeline
from cs3_ros.runtime import RuntimeConfig
from cs3_ros.trigger.assembler import ClipConfig
from cs3_training.evaluation.evidence import Evaluator
from cs3_training.evaluation.rows import (
    ROWS,
    Result,
    best_candidates,
    predictions,
    score,
)
from cs3_training.evaluation.samples import (
    SyntheticSamples,
    partner,
    sound_of,
)
from cs3_training.synth.config import split_seed

CENTRE = 120 / 1304 / 2  # 34 to 66 each way: 6 x 20 px of B, and less of A
KNOWN = {
    'centre': CENTRE,
    'av_shuffled': 0.0,
    'av': 0.25,
    'av_sam': 0.5,
    'left': 0.0,
    'right': 0.5,
    'left_av': 0.5,
    'right_av': 1.0,
    'right_left': 0.5,
    'full_no_av': 0.5,
    'full_shuffled': 0.5,
    'full_no_sam': 0.75,
    'full': 1.0,
    'oracle': 1.0,
}


def test_every_row_of_a_sample_that_is_known_by_hand():
    sample = known_sample()
    found = score(sample, Evaluator(known_pipeline()).look(sample))
    assert dict(found.scores) == pytest.approx(KNOWN)
    assert list(found.scores) == [row for row in ROWS if row in KNOWN], 'in the order of the table'
    assert found.ious['full_no_sam'] == pytest.approx([1.0, 0.5])
    assert found.ious['av'] == pytest.approx([0.0, 0.5])
    assert found.areas == (0.04, 0.04) and found.in_hand
    assert found.chosen == ('right_hand', 'audio_visual')
    assert found.candidates == ('right_hand', 'left_hand', 'audio_visual')
    assert Result.from_json(found.as_json()) == found


def test_variants_of_the_localiser_become_their_rows():
    sample = known_sample()
    evidence = Evaluator(known_pipeline()).look(sample)
    own, shuffled = evidence.found['own'], evidence.found['shuffled']
    verdicts = {'own': own.verdict, 'shuffled': shuffled.verdict}
    variants = {**evidence.found, 'random': shuffled, 'no_crop': own}
    scores = score(sample, replace(evidence, found=variants, sounding=verdicts)).scores
    assert list(scores) == [row for row in ROWS if row != 'touch']
    assert scores['full_contact'] == scores['full_sounding'] == scores['full'] == 1.0
    assert scores['full_sounding_shuffled'] == scores['full_shuffled'] == 0.5
    assert scores['random'] == scores['av_shuffled']
    assert scores['av_no_crop'] == 0.25 and scores['full_no_sam_no_crop'] == 0.75
    assert scores['full_random_av'] == 0.5 and scores['full_no_crop'] == 1.0


def test_a_picture_is_encoded_once_and_a_prompt_cut_out_once():
    pipeline = known_pipeline()
    Evaluator(pipeline).look(known_sample())
    assert pipeline.localiser.encoded == 1
    boxes = pipeline.masker.asked
    assert len(boxes) == len(set(boxes)) == 4 and FAR_RIGHT in boxes


@pytest.mark.parametrize('rows', [('av', 'av_shuffled'), ('av',), ('av_shuffled',)])
def test_heat_maps_alone_need_neither_hands_nor_masker(rows, monkeypatch):
    pipeline, sample = known_pipeline(), known_sample()
    whole = score(sample, Evaluator(pipeline).look(sample))
    pipeline.masker.asked.clear()
    monkeypatch.setattr(pipeline.hands, 'detect', None)
    evidence = Evaluator(pipeline, rows).look(sample)
    assert pipeline.masker.asked == [] and not evidence.has_hands
    assert ('shuffled' in evidence.found) == ('av_shuffled' in rows)
    found = score(sample, evidence, rows)
    assert found.scores == {row: whole.scores[row] for row in rows}
    assert found.ious == {row: whole.ious[row] for row in rows}
    assert found.candidates == found.chosen == ()


def test_rows_that_are_no_heat_maps_cannot_be_asked_for_alone():
    with pytest.raises(ValueError, match='rows full, left: expected some of random, av_shuffled'):
        Evaluator(known_pipeline(), ('av', 'left', 'full'))
    known = known_pipeline()
    with pytest.raises(ValueError, match="'deaf' has no localiser for av"):
        Evaluator(Pipeline('deaf', known.masker, hands=known.hands), ('av',))


def test_rows_that_a_bundle_cannot_make_are_left_out():
    sample, known = known_sample(), known_pipeline()
    deaf = Pipeline('deaf', known.masker, hands=known.hands)
    scores = score(sample, Evaluator(deaf).look(sample)).scores
    assert set(scores) == {'centre', 'left', 'right', 'right_left', 'full', 'oracle'}
    assert scores['full'] == KNOWN['full_no_av']
    handless = Pipeline('handless', known.masker, localiser=known.localiser)
    scores = score(sample, Evaluator(handless).look(sample)).scores
    assert 'right' not in scores and 'full_no_av' not in scores
    assert scores['full'] == scores['av_sam'] == 0.5


def test_nothing_that_stands_out_and_empty_masks_predict_nothing(monkeypatch):
    pipeline, sample = known_pipeline(), known_sample()
    monkeypatch.setattr(pipeline.localiser, 'locate', lambda encoded, audio: None)
    found = predictions(Evaluator(pipeline).look(sample), sample.truth)
    assert found['av'] == found['av_sam'] == []
    assert len(found['right_av']) == 1 and len(found['full_no_sam']) == 1
    evidence = Evaluator(known_pipeline()).look(sample)
    cold = replace(evidence.found['own'], heat_map=np.full((100, 100), 0.4, np.float32))
    found = predictions(replace(evidence, found={'own': cold}), sample.truth)
    assert found['av'] == []
    assert [mask.sum() for mask in found['full_no_sam']] == [400], 'one object, the right hand'


def test_the_oracle_uses_every_candidate_once():
    evidence = Evaluator(known_pipeline()).look(known_sample())
    own = evidence.found['own']
    alone = replace(own, candidates=(Candidate('right_hand', area(A) | area(B)),))
    assert len(best_candidates(alone, [area(A), area(B)])) == 1
    best = best_candidates(own, [area(B)])
    assert len(best) == 1 and np.array_equal(best[0], area(B))
    assert best_candidates(replace(own, candidates=()), [area(B)]) == []


@pytest.fixture(scope='module')
def tiny(tiny_weights):
    """The tiny networks behind the paper's bundle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('CS3_HOME', str(tiny_weights))
        bundle = load_bundle('cs3')
        yield bundle, bundle.build(runtime=RuntimeConfig(device='cpu', threads=1))


def test_only_the_variants_that_rows_need_are_made(tiny):
    bundle, pipeline = tiny
    sample = SyntheticSamples('test', bundle.clip)[0]
    rows = ('random', 'av_no_crop')
    evidence = Evaluator(pipeline, rows).look(sample)
    assert set(evidence.found) == {'own', 'no_crop', 'random'}
    assert list(score(sample, evidence, rows).scores) == ['random', 'av_no_crop']
    assert set(Evaluator(pipeline, ('av',)).look(sample).found) == {'own'}


def test_variants_equal_what_the_pipeline_itself_says(tiny):
    bundle, pipeline = tiny
    sample = SyntheticSamples('test', bundle.clip)[0]
    evidence = Evaluator(pipeline).look(sample)
    assert set(evidence.found) == {'own', 'no_crop', 'shuffled', 'random'}
    config = replace(pipeline.localiser.config, crop=False)
    uncropped = AudioVisualLocaliser(config, pipeline.localiser.runtime)
    single = Pipeline('single', pipeline.masker, pipeline.hands, uncropped)
    for variant, collision in (
        ('own', pipeline(sample.clip)),
        ('shuffled', pipeline(replace(sample.clip, audio=sample.other))),
        ('no_crop', single(sample.clip)),
    ):
        found = evidence.found[variant]
        assert np.array_equal(found.heat_map, collision.heat_map), variant
        assert np.array_equal(found.label_image(), collision.label_image()), variant
        assert found.verdict.rule == collision.verdict.rule
    own, drawn = evidence.found['own'].heat_map, evidence.found['random'].heat_map
    assert not np.array_equal(own, drawn)
    assert set(score(sample, evidence).scores) == set(ROWS) - OTHERS


def test_shuffling_is_a_derangement_of_any_even_number_of_samples():
    for count in (2, 10, 300):
        partners = [partner(index) for index in range(count)]
        assert sorted(partners) == list(range(count))
        assert all(index != other for index, other in enumerate(partners))


def test_samples_are_the_scenes_of_their_split():
    samples = SyntheticSamples('test', ClipConfig(audio_before_s=1.0, audio_after_s=1.0))
    first, second = samples[4], samples[5]
    assert first.other is second.clip.audio and second.other is first.clip.audio
    assert first.seed == split_seed('test', 4)
    assert first.truth[0].shape == first.clip.frame.image.shape[:2]
    assert len(first.truth) == len(first.names) and all(mask.any() for mask in first.truth)
    assert 30_000 < len(first.clip.audio.samples) <= 32_000
    assert SyntheticSamples('validation', ClipConfig())[4].seed == split_seed('validation', 4)


@pytest.mark.parametrize('onset', [0, 5000, 15_990, 31_000, 31_999])
def test_no_sound_is_heard_beyond_the_wait_and_none_is_made_up(onset):
    sound = np.arange(32_000, dtype=np.float32)
    clip = sound_of(sound, 16_000, onset, 0.5, 0.25)
    first, last = clip.samples[[0, -1]]
    assert first == max(onset - 8000, 0) and last == min(onset + 4000, 32_000) - 1
    assert len(clip.samples) == len(clip.present) == last - first + 1
    assert clip.start_ns == 1_000_000_000 + first * 62_500
    assert np.array_equal(sound_of(sound, 16_000, onset, 5.0, 5.0).samples, sound)
    assert len(sound_of(sound, 16_000, onset, 0.0, 0.0).samples) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
def test_variants_share_what_lies_on_the_gpu(tiny_weights, monkeypatch):
    monkeypatch.setenv('CS3_HOME', str(tiny_weights))
    bundle = load_bundle('cs3')
    pipeline = bundle.build(runtime=RuntimeConfig(device='cuda', precision='float32'))
    evaluator, samples = Evaluator(pipeline), SyntheticSamples('test', bundle.clip)
    for index in range(4):
        sample = samples[index]
        found = evaluator.look(sample).found
        for variant, audio in (('own', sample.clip.audio), ('shuffled', sample.other)):
            alone = pipeline(replace(sample.clip, audio=audio))
            assert np.allclose(found[variant].heat_map, alone.heat_map, atol=1e-4), variant
