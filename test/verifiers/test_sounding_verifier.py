"""Contact and sound together: numbers that count nothing, each number alone, the whole stage."""

from __future__ import annotations

from dataclasses import replace

import needs

needs.networks()

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounding_fakes import tiny_clipseg, tiny_network

from cs3_ros.collision import LABELS, AudioClip, Candidate, Frame
from cs3_ros.networks.sounding_checkpoint import save_sounding
from cs3_ros.runtime import Runtime, RuntimeConfig
from cs3_ros.verification import ContactVerifier, VerificationConfig, verify
from cs3_ros.verifiers.sounding import (
    SoundingVerifier,
    SoundingVerifierConfig,
    Weighing,
    score_of,
    weigh,
)

NATIVE = VerificationConfig(beta_reference=0, min_area=0.0)
RIGHT, LEFT, SOUND = LABELS


def candidate(label, x, sounding=None, width=10):
    mask = np.zeros((40, 100), bool)
    mask[:10, x : x + width] = True
    return Candidate(label, mask, sounding=sounding)


def decide(candidates, **numbers):
    return weigh(candidates, NATIVE, Weighing(**numbers), [])


def chosen(verdict):
    return [one.label for one in verdict.objects]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 80), min_size=0, max_size=3, unique=True),
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
)
def test_numbers_that_count_nothing_leave_the_answer_of_contact(places, scores):
    given = [
        candidate(label, x, score) for label, x, score in zip(LABELS, places, scores, strict=False)
    ]
    config = replace(NATIVE, alpha=1.0)  # weigh() is given what is merged already
    found, plain = weigh(given, config, Weighing(), []), verify(given, config)
    assert (found.rule, chosen(found)) == (plain.rule, chosen(plain))
    assert found.contact_px == plain.contact_px


def test_what_falls_behind_the_best_did_not_sound():
    three = [candidate(RIGHT, 0, 0.4), candidate(LEFT, 11, 0.9), candidate(SOUND, 24, 0.8)]
    assert chosen(decide(three)) == [RIGHT, LEFT]
    verdict = decide(three, gap=0.3)
    assert chosen(verdict) == [LEFT, SOUND] and verdict.contact_px == 4
    assert [one.sounding for one in verdict.objects] == [0.9, 0.8]
    assert 'right_hand dropped: more than 0.3 below the best, 0.900.' in verdict.trace
    alone = decide(three, gap=0.05)
    assert (chosen(alone), alone.rule) == ([LEFT], 'only_candidate')


def test_the_sound_brings_a_pair_nearer():
    three = [candidate(RIGHT, 0, 0.2), candidate(LEFT, 11, 0.6), candidate(SOUND, 26, 0.8)]
    assert chosen(decide(three)) == [RIGHT, LEFT]  # 2 px against 6
    assert chosen(decide(three, reach=13)) == [RIGHT, LEFT]  # -3.2 against -3.1
    verdict = decide(three, reach=20)
    assert chosen(verdict) == [LEFT, SOUND]
    assert verdict.contact_px == 6, 'the true distance'
    assert any('the sound brings them to -8.0 px' in line for line in verdict.trace)


def test_apart_the_sound_has_to_lead():
    apart = [candidate(RIGHT, 0, 0.5), candidate(SOUND, 60, 0.7)]
    assert (chosen(decide(apart)), decide(apart).rule) == ([RIGHT], 'single_by_priority')
    assert chosen(decide(apart, lead=0.25)) == [RIGHT]
    verdict = decide(apart, lead=0.15)
    assert (chosen(verdict), verdict.rule) == ([SOUND], 'single_by_sound')
    equal = [candidate(RIGHT, 0, 0.5), candidate(SOUND, 60, 0.5)]
    assert chosen(decide(equal, lead=0.0)) == [RIGHT]


def test_nothing_to_choose_from():
    assert decide([]).rule == 'none'
    assert decide([candidate(LEFT, 3, 0.0)], gap=0.0).rule == 'only_candidate'


def test_scores_lie_between_0_and_1():
    assert [score_of(c) for c in (-1.0, 0.0, 1.0, 1.0000001)] == [0, 0.5, 1, 1]


@pytest.mark.parametrize('numbers', [{'gap': 1.5}, {'reach': -1.0}, {'lead': -0.1}])
def test_numbers_out_of_their_range_are_refused(numbers):
    with pytest.raises(ValueError, match=next(iter(numbers))):
        Weighing(**numbers)


@pytest.fixture
def verifier(tmp_path):
    """Tiny networks on disk."""
    tiny_clipseg().model.save_pretrained(tmp_path / 'clipseg')
    (tmp_path / 'clipseg' / 'preprocessor_config.json').write_text('{"size": 64}')
    network = tiny_network('beats', clipseg=True)
    save_sounding(tmp_path / 'sounding.safetensors', network)
    config = SoundingVerifierConfig(
        checkpoint=str(tmp_path / 'sounding.safetensors'), vision=str(tmp_path / 'clipseg')
    )
    return SoundingVerifier(config, Runtime(RuntimeConfig('cpu', threads=1)))


def test_the_stage_scores_what_is_left_after_merging(verifier):
    rng = np.random.default_rng(2)
    frame = Frame.from_rgb(0, rng.integers(0, 256, (40, 100, 3), np.uint8))
    samples = rng.normal(0, 0.1, 32_000).astype(np.float32)
    audio = AudioClip(0, 16_000, samples, np.ones(len(samples), bool))
    given = [candidate(SOUND, 40), candidate(LEFT, 1), candidate(RIGHT, 0)]  # the last two are one
    encoded = verifier.encode(frame)
    verdict = verifier.verify(encoded, audio, given, NATIVE)
    assert verdict.rule == 'single_by_priority' and chosen(verdict) == [RIGHT]
    union = given[1].mask | given[2].mask
    expected = verifier.scorer.score(encoded, audio, [union, given[0].mask]).cosine
    scored = verifier.scored(encoded, audio, given, NATIVE, [])
    assert [one.sounding for one in scored] == pytest.approx([(1 + c) / 2 for c in expected])
    assert verdict.objects[0].sounding == scored[0].sounding
    assert f'audio_visual fits the sound by {scored[1].sounding:.3f}.' in verdict.trace
    assert verifier.verify(encoded, audio, [], NATIVE).rule == 'none'


def test_contact_hears_nothing():
    two = [candidate(RIGHT, 0), candidate(SOUND, 60)]
    found = ContactVerifier().verify(None, None, two, NATIVE)
    assert found.rule == 'single_by_priority' and found.objects[0].sounding is None
