import needs

needs.networks()

import numpy as np
import pytest
import torch
from host_reads import HostReads
from transformers import (
    ClapFeatureExtractor,
    ClapModel,
    CLIPSegForImageSegmentation,
    CLIPTokenizer,
    RobertaTokenizer,
)

from cs3_ros.bundles.bundle import BundleError, load_bundle
from cs3_ros.collision import AudioClip, Frame
from cs3_ros.localisers.vocabulary import read_vocabulary
from cs3_ros.localisers.zero_shot import ZeroShotConfig, ZeroShotLocaliser
from cs3_ros.runtime import Runtime, RuntimeConfig

MINE = """
collisions:
  metal-ceramic:
    a spoon hits a bowl: [a spoon, a bowl]
    a pan falls on a tile: [a photo of a pan, a tile]
  wood-only:
    a knock on a door: [a door]
"""


@pytest.fixture(scope='module')
def folders(tiny_weights):
    return {
        'clipseg': str(tiny_weights / 'clipseg-rd64-refined'),
        'clap': str(tiny_weights / 'clap-htsat-unfused'),
    }


@pytest.fixture(scope='module')
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp('vocabulary') / 'mine.yaml'
    path.write_text(MINE)
    return str(path)


@pytest.fixture(scope='module')
def build(folders):
    def build(precision='float32', device='cpu', **settings):
        runtime = Runtime(RuntimeConfig(device=device, precision=precision, threads=1))
        return ZeroShotLocaliser(ZeroShotConfig(**folders, **settings), runtime)

    return build


@pytest.fixture(scope='module')
def localiser(build):
    return build()


def clip(seed=0, rate=48_000, seconds=2.0):
    """Noise of a colour that depends on the seed."""
    generator = np.random.default_rng(seed)
    count = round(rate * seconds)
    samples = generator.normal(0, 0.1, count + 8)
    samples = np.convolve(samples, generator.normal(0, 1, 9), 'valid').astype(np.float32)
    return AudioClip(0, rate, samples, np.ones(len(samples), bool))


def frame(seed=0):
    return Frame.from_rgb(
        1, np.random.default_rng(seed).integers(0, 255, (72, 128, 3), dtype=np.uint8)
    )


@torch.inference_mode()
def condition(localiser, audio):
    return localiser.condition(audio)


@torch.inference_mode()
def scores(localiser, audio, vocabulary=''):
    """Every phrase of the vocabulary and its probability, best first."""
    phrases = [phrase.sound for phrase in read_vocabulary(vocabulary)]
    pairs = zip(phrases, localiser.probabilities(audio).tolist(), strict=True)
    return sorted(pairs, key=lambda pair: -pair[1])


def clip_texts(folder, texts):
    """CLIPSeg's embeddings of texts, by transformers alone."""
    model = CLIPSegForImageSegmentation.from_pretrained(folder, local_files_only=True)
    tokens = CLIPTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors='pt')
    with torch.inference_mode():
        return model.clip.text_projection(model.clip.text_model(**tokens).pooler_output)


def test_the_scores_are_those_of_a_plain_clap_model(localiser, folders):
    model = ClapModel.from_pretrained(folders['clap'], local_files_only=True)
    phrases = [phrase.sound for phrase in read_vocabulary()]
    extractor = ClapFeatureExtractor.from_pretrained(folders['clap'])
    inputs = extractor(clip().samples, sampling_rate=48_000, return_tensors='pt')
    tokenizer = RobertaTokenizer.from_pretrained(folders['clap'])
    inputs |= tokenizer(phrases, padding=True, return_tensors='pt')
    with torch.inference_mode():
        expected = model(**inputs).logits_per_audio.softmax(-1)[0]
        found = localiser.probabilities(clip())
    assert found.sum().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_one_phrase_with_one_thing_is_the_text_of_that_thing(build, folders, tmp_path):
    path = tmp_path / 'door.yaml'
    path.write_text('collisions: {any: {a knock on a door: [a door]}}')
    found = condition(build(vocabulary=str(path)), clip())
    torch.testing.assert_close(found, clip_texts(folders['clipseg'], ['a door']))


def test_the_best_phrase_alone_is_looked_for(build, folders, mine):
    localiser = build(vocabulary=mine, phrases=1)
    best, _ = scores(localiser, clip(), mine)[0]
    things = {phrase.sound: phrase.objects for phrase in read_vocabulary(mine)}[best]
    texts = clip_texts(folders['clipseg'], list(things))
    lengths = texts.norm(dim=-1, keepdim=True)
    direction = torch.nn.functional.normalize((texts / lengths).mean(0), dim=-1)
    torch.testing.assert_close(condition(localiser, clip())[0], direction * lengths.mean())


def test_several_phrases_are_weighted_by_their_probability(build, folders, mine):
    localiser = build(vocabulary=mine, phrases=2)
    best = scores(localiser, clip(), mine)[:2]
    things = {phrase.sound: phrase.objects for phrase in read_vocabulary(mine)}
    total = sum(score for _, score in best)
    direction, length = 0, 0
    for sound, score in best:
        for text in clip_texts(folders['clipseg'], list(things[sound])):
            weight = score / total / len(things[sound])
            direction = direction + weight * text / text.norm()
            length = length + weight * text.norm()
    expected = direction / direction.norm() * length
    torch.testing.assert_close(condition(localiser, clip())[0], expected)


def test_more_phrases_than_there_are_take_all(build, mine):
    all_of_them = condition(build(vocabulary=mine, phrases=3), clip())
    assert torch.equal(condition(build(vocabulary=mine, phrases=1000), clip()), all_of_them)


def test_a_vocabulary_beside_the_bundle_is_taken(cs3_home, tmp_path):
    (tmp_path / 'mine.yaml').write_text(MINE)
    bundle = tmp_path / 'bundle.yaml'
    bundle.write_text(
        'name: mine\n'
        'clip: {audio_before_s: 1.0, audio_after_s: 1.0}\n'
        'localiser: {type: zero_shot, clipseg: clipseg-rd64-refined, clap: clap-htsat-unfused, '
        'vocabulary: mine.yaml}\n'
        'masker: {type: grabcut}\n'
    )
    pipeline = load_bundle(str(bundle)).build(runtime=RuntimeConfig(device='cpu', threads=1))
    with torch.inference_mode():
        assert pipeline.localiser.probabilities(clip()).shape == (3,)
    (tmp_path / 'mine.yaml').write_text('collisions: {metal-only: {a bang: []}}')
    with pytest.raises(BundleError, match="bundle 'mine', localiser: .*mine.yaml.*'a bang'"):
        load_bundle(str(bundle)).build(runtime=RuntimeConfig(device='cpu', threads=1))


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_the_same_sound_gives_the_same_answer_whatever_came_before(build, precision):
    localiser = build(precision)
    encoded = localiser.encode([frame()], 0)
    first = localiser.locate(encoded, clip())
    other = localiser.locate(localiser.encode([frame(1)], 0), clip(1, 44_100, 0.7))
    again = localiser.locate(localiser.encode([frame()], 0), clip())
    afresh = build(precision)
    anew = afresh.locate(afresh.encode([frame()], 0), clip())
    assert first.heat_map.shape == (72, 128)
    assert not np.array_equal(first.heat_map, other.heat_map)
    for same in (again, anew):
        assert np.array_equal(first.heat_map, same.heat_map)
        assert (first.box, first.score) == (same.box, same.score)


def test_what_is_looked_for_depends_on_the_sound(build):
    localiser = build(phrases=1000)
    conditions = [condition(localiser, clip(seed)) for seed in range(3)]
    assert not torch.equal(conditions[0], conditions[1])
    assert not torch.equal(conditions[0], conditions[2])


def test_bfloat16_hears_nearly_the_same(build, localiser):
    plain, coarse = dict(scores(localiser, clip())), dict(scores(build('bfloat16'), clip()))
    assert plain != coarse
    assert all(coarse[phrase] == pytest.approx(score, rel=0.05) for phrase, score in plain.items())


@pytest.mark.parametrize('audio', [clip(seconds=0.0), clip(seconds=1e-3), clip(seconds=11.0)])
def test_sound_of_any_length_is_heard(localiser, audio):
    assert np.isfinite([score for _, score in scores(localiser, audio)]).all()
    assert condition(localiser, audio).shape == (1, 24)


def test_nothing_is_read_back_while_the_sound_is_heard(localiser):
    with HostReads() as reads:
        condition(localiser, clip())
        assert reads.found == []
        torch.ones(1).item()
    assert len(reads.found) == 1  # it would have been seen


@pytest.mark.gpu
def test_nothing_waits_for_the_gpu_and_it_agrees_with_the_cpu(build, localiser):
    on_gpu = build(device='cuda')
    condition(on_gpu, clip())
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        found = condition(on_gpu, clip())
    finally:
        torch.cuda.set_sync_debug_mode('default')
    torch.testing.assert_close(found.cpu(), condition(localiser, clip()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('name', ['clap', 'clipseg'])
def test_weights_that_are_not_named_are_asked_for(folders, name):
    config = ZeroShotConfig(**{**folders, name: ''})
    with pytest.raises(ValueError, match=f'{name} is empty'):
        ZeroShotLocaliser(config, Runtime(RuntimeConfig(device='cpu', threads=1)))
