import needs

needs.networks()

import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from trap import Trap

from cs3_ros.bundles.random_weights import write_random_weights
from cs3_ros.collision import AudioClip, Frame
from cs3_ros.localisers.audio_visual import AudioVisualConfig, AudioVisualLocaliser
from cs3_ros.networks.audio_token import AudioToken, AudioTokenConfig, prompt_ids
from cs3_ros.networks.audio_visual import FORMAT, MaskScale, load_checkpoint, save_checkpoint
from cs3_ros.networks.beats import beats_fbank, load_beats
from cs3_ros.networks.clipseg import ClipSeg, load_tokenizer
from cs3_ros.networks.sound import waveform
from cs3_ros.runtime import Runtime, RuntimeConfig

CLIPSEG = 'clipseg-rd64-refined'
BEATS = 'beats/BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt'
CHECKPOINT = 'cs3/audio_visual.safetensors'
RATE = 16_000
PICTURE = Frame.from_rgb(1, np.random.default_rng(0).integers(0, 256, (72, 128, 3), np.uint8))


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Tiny random networks in the official formats, as ``cs3 bench`` writes them."""
    home = tmp_path_factory.mktemp('weights')
    return write_random_weights(home, 'tiny', parts=[CLIPSEG, 'beats', 'cs3'])


def localiser(home, precision='float32', device='cpu', **changes):
    paths = {'clipseg': CLIPSEG, 'beats': BEATS, 'checkpoint': CHECKPOINT}
    given = {name: str(home / path) for name, path in paths.items()}
    runtime = Runtime(RuntimeConfig(device=device, precision=precision, threads=1))
    return AudioVisualLocaliser(AudioVisualConfig(**{**given, **changes}), runtime)


@pytest.fixture(scope='module')
def stage(weights):
    return localiser(weights)


def sound(seed=0, count=2 * RATE, rate=RATE):
    samples = np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)
    return AudioClip(0, rate, samples, np.ones(count, bool))


def locate(stage, audio, frame=PICTURE):
    return stage.locate(stage.encode([frame], 0), audio)


def test_the_stage_runs_on_official_files_and_repeats_itself(weights, stage):
    found = locate(stage, sound())
    assert found.heat_map.shape == (72, 128) and 0 < found.score < 1
    locate(stage, sound(1, 3000))
    for other in (stage, localiser(weights)):
        again = locate(other, sound())
        assert np.array_equal(again.heat_map, found.heat_map)
        assert (again.box, again.score) == (found.box, found.score)


def test_the_condition_is_the_prompt_with_the_sound_as_a_word(weights, stage):
    """Against a text tower whose word table has the sound's token as a row."""
    clipseg = ClipSeg.from_folder(weights / CLIPSEG)
    beats, token = load_beats(weights / BEATS), load_checkpoint(weights / CHECKPOINT).audio_token
    ids = prompt_ids(load_tokenizer(weights / CLIPSEG), token.config)
    words = clipseg.model.clip.text_model.embeddings.token_embedding.weight
    free = next(number for number in range(len(words)) if number not in ids)
    with torch.no_grad():
        fbank = beats_fbank(torch.from_numpy(sound().samples)[None])
        words[free] = token(beats(fbank, token.config.blocks))[0]
        ids[token.config.position] = free
        expected = clipseg.embed_text(ids[None])
        condition = stage.condition(sound())
    assert condition.shape == (1, clipseg.projection_dim)
    torch.testing.assert_close(condition, expected, rtol=0, atol=1e-5)


def test_the_sound_matters(stage):
    tone = np.sin(np.arange(2 * RATE) * 0.3).astype(np.float32)
    with torch.no_grad():
        noise, other = (
            stage.condition(sound()),
            stage.condition(AudioClip(0, RATE, tone, np.ones(len(tone), bool))),
        )
    assert (noise - other).abs().max() > 1e-4


@pytest.mark.parametrize('count', [0, 1, 2799])
def test_short_sounds_are_zero_padded(stage, count):
    short = sound(0, count)
    samples = np.zeros(2800, np.float32)
    samples[:count] = short.samples
    padded = AudioClip(0, RATE, samples, np.ones(2800, bool))
    with torch.no_grad():
        assert torch.equal(stage.condition(short), stage.condition(padded))


def test_sounds_are_brought_to_the_rate_of_the_network(stage):
    other = sound(count=44_100, rate=44_100)
    samples = waveform(other, RATE).numpy()
    resampled = AudioClip(0, RATE, samples, np.ones(len(samples), bool))
    with torch.no_grad():
        assert torch.equal(stage.condition(other), stage.condition(resampled))


def test_bfloat16_is_close_to_float32(weights):
    wanted, found = (
        locate(localiser(weights, precision, crop=False), sound())
        for precision in ('float32', 'bfloat16')
    )
    assert found.heat_map.dtype == np.float32
    assert np.corrcoef(found.heat_map.ravel(), wanted.heat_map.ravel())[0, 1] > 0.99


def test_only_the_event_frame_is_decoded(stage):
    def broken(payload):
        raise AssertionError('only the event frame may be decoded')

    frames = [Frame(0, b'', broken), PICTURE, Frame(2, b'', broken)]
    assert stage.locate(stage.encode(frames, 1), sound()) is not None


def test_the_mask_scale_of_the_checkpoint_shifts_the_heat(weights, tmp_path):
    token = load_checkpoint(weights / CHECKPOINT).audio_token
    scores = []
    for bias in (10.0, 20.0):
        save_checkpoint(tmp_path / 'other.safetensors', token, MaskScale(5.0, bias))
        stage = localiser(weights, checkpoint=str(tmp_path / 'other.safetensors'), crop=False)
        scores.append(locate(stage, sound()).score)
    first, second = (np.log(score / (1 - score)) for score in scores)
    assert second - first == pytest.approx(20 / 5 - 10 / 5, abs=1e-3)


@pytest.mark.gpu
def test_the_gpu_is_waited_for_once(weights, stage):
    on_gpu = localiser(weights, device='cuda')
    expected, found = locate(stage, sound()), locate(on_gpu, sound())  # the latter warms up, too
    assert np.corrcoef(found.heat_map.ravel(), expected.heat_map.ravel())[0, 1] > 0.99
    to_host = on_gpu.runtime.to_host

    def wait(tensor):
        torch.cuda.set_sync_debug_mode('default')
        return to_host(tensor)

    with mock.patch.object(on_gpu.runtime, 'to_host', wait):
        try:
            torch.cuda.set_sync_debug_mode('error')
            again = locate(on_gpu, sound())
        finally:
            torch.cuda.set_sync_debug_mode('default')
    assert np.array_equal(again.heat_map, found.heat_map)


def same(first, second):
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@pytest.mark.parametrize('with_beats', [False, True])
def test_a_checkpoint_comes_back_as_it_was_saved(weights, tmp_path, with_beats):
    token = AudioToken(AudioTokenConfig((1, 3), 32, 16, 'A photo of', 4, 0.1))
    beats = load_beats(weights / BEATS) if with_beats else None
    path = tmp_path / 'checkpoint.safetensors'
    save_checkpoint(path, token, MaskScale(3.0, 4.0), beats)
    loaded = load_checkpoint(path)
    assert loaded.audio_token.config == token.config and same(loaded.audio_token, token)
    assert (loaded.mask.scale, loaded.mask.bias) == (3, 4)
    assert not loaded.audio_token.training
    if beats is None:
        assert loaded.beats is None
    else:
        assert loaded.beats.config == beats.config and same(loaded.beats, beats)


def test_half_precision_checkpoints_are_loaded_as_float32(weights, tmp_path):
    token = load_checkpoint(weights / CHECKPOINT).audio_token
    save_checkpoint(tmp_path / 'half.safetensors', token.half())
    loaded = load_checkpoint(tmp_path / 'half.safetensors')
    assert {value.dtype for value in loaded.audio_token.parameters()} == {torch.float32}


def test_beats_of_the_checkpoint_win(weights, stage, tmp_path):
    path = tmp_path / 'checkpoint.safetensors'
    tuned = load_beats(weights / BEATS)
    with torch.no_grad():
        for value in tuned.parameters():
            value.mul_(1.5)
    save_checkpoint(path, load_checkpoint(weights / CHECKPOINT).audio_token, None, tuned)
    with torch.no_grad():
        published = stage.condition(sound())
        both = localiser(weights, checkpoint=str(path)).condition(sound())
        alone = localiser(weights, checkpoint=str(path), beats='').condition(sound())
    assert torch.equal(both, alone)
    assert not torch.equal(both, published)


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'clipseg': ''}, 'clipseg is empty: name it in the bundle'),
        ({'checkpoint': ''}, 'checkpoint is empty: name it in the bundle'),
        ({'beats': ''}, 'has no BEATs weights and the bundle names none; set beats'),
    ],
)
def test_weights_that_are_not_named_are_asked_for(weights, changes, message):
    with pytest.raises(ValueError, match=message):
        localiser(weights, **changes)


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'audio_width': 16}, 'width of BEATs is 32, the checkpoint was trained for 16'),
        ({'text_width': 16}, "width of CLIPSeg's text tower is 32, .* trained for 16"),
        ({'blocks': (1, 13)}, r'takes BEATs blocks \(1, 13\), BEATs has 12'),
        ({'position': 9}, 'expected a position from'),
    ],
)
def test_weights_that_do_not_belong_together_are_refused(weights, tmp_path, changes, message):
    config = {'blocks': (1, 3), 'audio_width': 32, 'text_width': 32, **changes}
    path = tmp_path / 'checkpoint.safetensors'
    save_checkpoint(path, AudioToken(AudioTokenConfig(**config)))
    with pytest.raises(ValueError, match=message):
        localiser(weights, checkpoint=str(path))


def rewrite(path, tensors=None, metadata=None):
    """Change tensors and metadata of a checkpoint; None takes an entry away."""
    with safe_open(path, 'pt') as file:
        old_tensors = {name: file.get_tensor(name) for name in file.keys()}
        old_metadata = file.metadata()
    parts = []
    for old, changes in ((old_tensors, tensors), (old_metadata, metadata)):
        new = {**old, **(changes or {})}
        parts.append({name: value for name, value in new.items() if value is not None})
    save_file(parts[0], path, parts[1])


@pytest.mark.parametrize(
    'tensors, metadata, message',
    [
        (None, {'format': 'pt'}, f"format 'pt': expected '{FORMAT}'"),
        (None, {'format': None}, 'format None'),
        (None, {'audio_token': None}, "metadata 'audio_token'"),
        (None, {'audio_token': '{'}, "metadata 'audio_token'"),
        (None, {'audio_token': '[1]'}, 'expected a mapping'),
        (None, {'audio_token': '{"wide": 3}'}, r'unknown key\(s\) wide'),
        (None, {'audio_token': '{"blocks": 3}'}, "metadata 'audio_token'"),
        (None, {'audio_token': f'{{"audio_width": {10**30}}}'}, "metadata 'audio_token'"),
        (None, {'audio_token': '[' * 100_000}, "metadata 'audio_token'"),
        (None, {'audio_token': '{}'}, 'expected floating point'),
        (None, {'beats': '{}'}, "metadata 'beats': .*conv_pos"),
        (None, {'beats': '[]'}, "metadata 'beats'"),
        ({'mask.scale': None}, None, 'lacks 1 tensors, first mask.scale'),
        ({'other.weight': torch.ones(2)}, None, '1 unknown tensors, first other.weight'),
        ({'beats.weight': torch.ones(2)}, None, 'unknown tensors, first beats.weight'),
        ({'mask.bias': torch.ones(2)}, None, r'mask.bias is torch.float32 \[2\], expected'),
        ({'mask.bias': torch.tensor(3)}, None, r'mask.bias is torch.int64 \[\]'),
        ({'mask.scale': torch.tensor(0.0)}, None, 'positive scale'),
        ({'mask.scale': torch.tensor(float('nan'))}, None, 'positive scale'),
        ({'mask.bias': torch.tensor(float('inf'))}, None, 'finite'),
    ],
)
def test_a_spoilt_checkpoint_is_refused(weights, tmp_path, tensors, metadata, message):
    path = Path(shutil.copy(weights / CHECKPOINT, tmp_path))
    rewrite(path, tensors, metadata)
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)


def test_a_pickle_is_refused_and_never_executed(tmp_path):
    path = tmp_path / 'audio_visual.safetensors'
    torch.save({'evil': Trap(tmp_path / 'executed')}, path)
    with pytest.raises(ValueError, match='no safetensors file'):
        load_checkpoint(path)
    assert not (tmp_path / 'executed').exists()


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(OSError, match='missing.safetensors'):
        load_checkpoint(tmp_path / 'missing.safetensors')


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(tmp_path, content):
    path = tmp_path / 'checkpoint.safetensors'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='checkpoint.safetensors'):
        load_checkpoint(path)


names = st.sampled_from([*AudioTokenConfig.__dataclass_fields__, 'unknown'])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(description=st.dictionaries(names, values, max_size=3) | values)
def test_arbitrary_descriptions_are_refused(tmp_path, description):
    path = tmp_path / 'checkpoint.safetensors'
    metadata = {'format': FORMAT, 'audio_token': json.dumps(description)}
    save_file({'mask.scale': torch.tensor(1.0)}, path, metadata)
    with pytest.raises(ValueError, match='checkpoint.safetensors'):
        load_checkpoint(path)


@pytest.mark.parametrize('wait', [0.05, 0.1, 0.15, 0.2, 0.25])
def test_the_end_of_a_short_sound_is_heard(stage, wait):
    """An impact lies there: BEATs by itself leaves out what fills no patch, up to 0.15 s."""
    quiet, struck = (sound(count=RATE + round(wait * RATE)) for _ in range(2))
    struck.samples[-round(wait * RATE) :] += sound(1, round(wait * RATE)).samples * 5
    assert not torch.allclose(stage.condition(quiet), stage.condition(struck), atol=1e-4)
