"""Sound as the networks take it: one float32 tensor at the rate they were trained on."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.compliance.kaldi import get_mel_banks
from torchaudio.transforms import Resample

from cs3_ros.collision import AudioClip

FINEST_RATIO = 1000
"""Largest denominator of the ratio of two rates. The filter bank grows with it: exact for the usual
rates; for odd ones (44 101 Hz) the pitch is off by less than one part in a thousand."""
MEL_BINS = 128
"""Bands of ``kaldi_fbank``."""
_RATE, _WINDOW, _SHIFT, _FFT = 16_000, 400, 160, 512  # Hz; samples: 25 ms, 10 ms, power of two


def waveform(audio: AudioClip, rate: int, shortest: int = 0) -> Tensor:
    """The samples of a clip at another rate (windowed-sinc resampling, float32).

    Args:
        audio: mono sound in [-1, 1]; missing samples are zeros and stay so.
        rate: samples per second that the network expects.
        shortest: zeros are appended up to this many samples, for networks that refuse shorter
            sounds (a clip is as short as a bundle asks for).

    Returns:
        float32 [N] on the CPU, N = max(shortest, ceil(M * rate / audio.rate)) for M samples.
    """
    # numpy's copy, since torch itself takes neither reversed arrays nor foreign byte orders
    samples = torch.from_numpy(np.array(audio.samples, np.float32, order='C'))  # [M]
    ratio = Fraction(rate, audio.rate).limit_denominator(FINEST_RATIO)
    if ratio != 1 and len(samples):
        samples = _resampler(ratio.denominator, ratio.numerator)(samples)  # [N]
    return F.pad(samples, (0, max(shortest - len(samples), 0)))  # [max(N, shortest)]


@lru_cache(maxsize=8)
def _resampler(source: int, target: int) -> Resample:
    return Resample(source, target)


def kaldi_fbank(
    waveforms: Tensor, window: Literal['povey', 'hanning'] = 'povey', scale: float = 2**15
) -> Tensor:
    """Log-mel spectrograms like those of Kaldi's ``compute-fbank-feats`` without dither.

    What ``torchaudio.compliance.kaldi.fbank(waveform * scale, num_mel_bins=128,
    window_type=window)`` gives, for whole batches at once and without waiting for the device (the
    filters stay there). In float32 under any autocast; differentiable.

    Args:
        waveforms: [B, N] at 16 kHz in [-1, 1], N >= 400.
        window: Kaldi's own, or a Hann window.
        scale: what the samples are multiplied by; Kaldi's files hold 16-bit numbers.

    Returns:
        float32 [B, T, 128], T = 1 + (N - 400) // 160 frames of 25 ms every 10 ms.
    """
    shape, banks = _fbank_tables(waveforms.device, window)  # [400], [257, 128]
    with torch.autocast(waveforms.device.type, enabled=False):
        frames = (waveforms.float() * scale).unfold(1, _WINDOW, _SHIFT)  # [B, T, 400]
        frames = frames - frames.mean(2, keepdim=True)
        before = torch.cat((frames[..., :1], frames[..., :-1]), 2)  # [B, T, 400]
        frames = (frames - 0.97 * before) * shape  # [B, T, 400]
        power = torch.fft.rfft(frames, _FFT).abs().square()  # [B, T, 257]
        energies = power @ banks  # [B, T, 128]
        return energies.clamp_min(torch.finfo(torch.float32).eps).log()


@lru_cache(maxsize=4)
def _fbank_tables(device: torch.device, window: str) -> tuple[Tensor, Tensor]:
    """Window [400] and mel filters [257, 128] on a device."""
    with torch.inference_mode(False):  # else training could not use them after an inference
        hann = torch.hann_window(_WINDOW, periodic=False)  # [400]
        shape = hann.pow(0.85) if window == 'povey' else hann
        banks, _ = get_mel_banks(MEL_BINS, _FFT, _RATE, 20.0, 0.0, 100.0, -500.0, 1.0)  # [128, 256]
        banks = F.pad(banks, (0, 1)).T.contiguous()  # [257, 128], the highest bin counts for none
        return shape.to(device), banks.to(device)
