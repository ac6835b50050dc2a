import needs

needs.networks()

import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi
from torchaudio.functional import resample

from cs3_ros.collision import AudioClip
from cs3_ros.networks.sound import _fbank_tables, kaldi_fbank, waveform


def clip(samples, rate):
    samples = np.asarray(samples, np.float32)
    return AudioClip(0, rate, samples, np.ones(len(samples), bool))


def tone(hertz, rate, seconds=0.5):
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize('rate', [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_usual_rates_are_resampled_as_torchaudio_does(rate):
    samples = np.random.default_rng(0).uniform(-1, 1, rate // 10)
    expected = resample(torch.from_numpy(samples), rate, 16_000).float()
    got = waveform(clip(samples, rate), 16_000)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    assert len(got) == int(np.ceil(len(samples) * 16_000 / rate))


@pytest.mark.parametrize('rate', [47_999, 44_101, 16_001, 15_992])
def test_odd_rates_keep_the_pitch_without_a_huge_filter_bank(rate):
    got = waveform(clip(tone(1000, rate), rate), 16_000).numpy()
    spectrum = np.abs(np.fft.rfft(got * np.hanning(len(got)), 160_000))
    assert abs(spectrum.argmax() / 10 - 1000) < 1


def test_a_clip_at_the_right_rate_is_copied_as_it_is():
    samples = tone(440, 16_000).astype(np.float32)
    samples.flags.writeable = False
    got = waveform(clip(samples, 16_000), 16_000)
    np.testing.assert_array_equal(got.numpy(), samples)
    got.zero_()
    assert samples.any()


@pytest.mark.parametrize(
    'view',
    [lambda x: x[::-1], lambda x: x[::2], lambda x: x.astype('>f4'), lambda x: x.astype(float)],
)
def test_samples_may_lie_in_memory_as_they_like(view):
    samples = view(tone(440, 16_000).astype(np.float32))
    got = waveform(AudioClip(0, 16_000, samples, np.ones(len(samples), bool)), 16_000)
    np.testing.assert_array_equal(got.numpy(), samples)


def test_short_and_empty_clips_get_silence_at_the_end():
    got = waveform(clip(np.ones(30), 48_000), 16_000, shortest=25)
    assert got.shape == (25,) and got[:10].abs().min() > 0 and not got[10:].any()
    assert waveform(clip([], 48_000), 16_000, shortest=7).tolist() == [0] * 7
    assert waveform(clip([], 48_000), 16_000).shape == (0,)


def test_fbank_is_that_of_kaldi_for_every_sound_of_a_batch():
    generator = torch.Generator().manual_seed(0)
    sounds = torch.rand(3, 5_000, generator=generator) * 2 - 1
    sounds[1] *= 1e-4
    sounds[2, 1_000:4_000] = 0  # digital silence: the floor under the logarithm
    expected = [kaldi.fbank(s[None] * 2**15, num_mel_bins=128) for s in sounds]
    torch.testing.assert_close(kaldi_fbank(sounds), torch.stack(expected), rtol=1e-5, atol=1e-5)


def test_fbank_stays_in_float32_under_autocast():
    sounds = torch.rand(1, 3_000, generator=torch.Generator().manual_seed(0))
    with torch.autocast('cpu', torch.bfloat16):
        got = kaldi_fbank(sounds)
    assert got.dtype == torch.float32 and torch.equal(got, kaldi_fbank(sounds))


def test_tables_made_during_inference_serve_training_later():
    sounds = torch.rand(1, 3_000, generator=torch.Generator().manual_seed(0))
    _fbank_tables.cache_clear()
    with torch.inference_mode():
        first = kaldi_fbank(sounds)
    again = kaldi_fbank(sounds.requires_grad_())
    again.sum().backward()
    assert torch.equal(first, again) and sounds.grad.abs().sum() > 0
