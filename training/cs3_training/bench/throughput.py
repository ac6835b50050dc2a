"""Training steps on random weights, timed: one encoding per picture, or one per picture and sound.

Both kinds of step work on the same networks, optimiser and batch, one after the other.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from cs3_ros.bundles.random_weights import write_random_weights
from cs3_ros.files.progress import Bar
from cs3_ros.networks.beats import RATE, beats_fbank, load_beats
from cs3_ros.networks.clipseg import ClipSeg
from cs3_ros.runtime import GIB, Runtime
from cs3_training.bench.reencoding import reencoding_losses
from cs3_training.localiser.losses import LossConfig, Losses
from cs3_training.localiser.model import CollisionSegmenter, assemble
from cs3_training.localiser.train import TrainConfig
from cs3_training.nano.config import NanoConfig
from cs3_training.nano.networks import tiny_beats, tiny_clipseg, write_clipseg
from cs3_training.nano.tokens import write_tokenizer

Size = Literal['tiny', 'nano', 'full']
Kind = Literal['once', 'again']
"""One encoding per picture, or one per picture and sound."""
SIDE = 352
"""Side of the pictures in the data, pixels."""
SECONDS = 2.0
"""Length of the sounds, as the bundles ask for."""
COLUMNS: Mapping[Size, int] = {
    'tiny': 2,
    'nano': NanoConfig().weak.columns,
    'full': TrainConfig().columns,
}
"""Sounds decoded at once in training."""
TOLERANCE: Mapping[torch.dtype, float] = {torch.float32: 1e-3, torch.bfloat16: 2e-2}
"""Relative difference of the two losses that rounding explains."""


@dataclass(frozen=True)
class Speed:
    """What was measured of one kind of step."""

    images_per_s: float
    ms: tuple[float, ...]
    """Of every step."""
    encodings: int
    """Passes of a picture through the vision tower in a step, that of the masked picture too."""
    memory_gib: float
    """Most memory in a step: of tensors on the GPU, of the process on the CPU."""
    loss: float
    """Before training, without noise and dropout."""


@dataclass(frozen=True)
class Comparison:
    """Both kinds of step."""

    size: Size
    batch: int
    columns: int
    picture: int
    """Side of the pictures that the networks see, pixels."""
    million_parameters: float
    speeds: Mapping[Kind, Speed]
    ratio: float
    """How many times the images per second with one encoding."""
    recompute: bool
    """Whether both decode again for the gradients, or keep what these need."""
    gradient_difference: float
    """Of the first gradients, relative to their norm."""


def compare(
    size: Size,
    batch: int,
    steps: int,
    runtime: Runtime,
    columns: int | None = None,
    recompute: bool = False,
    picture: int | None = None,
) -> Comparison:
    """Time both kinds of step in turns; what comes before the first timed one is not counted.

    Args:
        size: of the networks; tiny ones only try this out.
        batch: pairs in a step.
        steps: of each kind.
        runtime: device and number format.
        columns: sounds decoded at once; None for those of the training.
        recompute: decode again for the gradients, in both kinds: less memory.
        picture: side of the pictures that the networks see, pixels; None for their own.

    Raises:
        ValueError: the side is no multiple of the patches.
        RuntimeError: the two steps do not give the same loss, or memory is full.
    """
    columns = min(columns or COLUMNS[size], batch)
    try:
        work = _Work(segmenter(size, picture), batch, columns, recompute, runtime)
        loss, difference = work.check()
        work.step('once')  # the optimiser takes its memory
        times: dict[Kind, list[float]] = {'once': [], 'again': []}
        peaks: dict[Kind, float] = {'once': 0.0, 'again': 0.0}
        for _ in Bar(range(steps), f'{size}, batch {batch}', unit='pair of steps', disable=None):
            for kind in times:
                seconds, gib = work.measured(kind)
                times[kind].append(seconds)
                peaks[kind] = max(peaks[kind], gib)
    except torch.OutOfMemoryError as error:
        raise RuntimeError(f'{size}, batch {batch}: {error}; take a smaller --batch') from error
    encodings: dict[Kind, int] = {'once': 2 * batch, 'again': batch * batch + batch}
    speeds: dict[Kind, Speed] = {
        kind: Speed(
            images_per_s=batch / float(np.median(times[kind])),
            ms=tuple(1e3 * seconds for seconds in times[kind]),
            encodings=encodings[kind],
            memory_gib=peaks[kind],
            loss=loss[kind],
        )
        for kind in times
    }
    return Comparison(
        size=size,
        batch=batch,
        columns=columns,
        picture=work.model.clipseg.image_size,
        million_parameters=sum(p.numel() for p in work.model.parameters()) / 1e6,
        speeds=speeds,
        ratio=speeds['once'].images_per_s / speeds['again'].images_per_s,
        recompute=recompute,
        gradient_difference=difference,
    )


def segmenter(size: Size, picture: int | None = None) -> CollisionSegmenter:
    """CS3's trainable system with random weights, for pictures of this side in its networks."""
    with tempfile.TemporaryDirectory(prefix='cs3_bench_') as name:
        folder = Path(name)
        torch.manual_seed(0)
        if size == 'nano':
            config = NanoConfig()
            clip = tiny_clipseg(config.clip, write_tokenizer(folder))
            write_clipseg(clip, folder, config.clip.image_size)
            beats = tiny_beats(config.audio)
        else:
            write_random_weights(folder, size, parts=('clipseg-rd64-refined', 'beats'))
            beats = load_beats(next((folder / 'beats').iterdir()))
            folder = folder / 'clipseg-rd64-refined'
        model = assemble(folder, beats)
    if picture is not None:
        model.clipseg = ClipSeg(model.clipseg.model, picture).eval()
    return model


class _Work:
    """One batch and what learns from it."""

    def __init__(
        self,
        model: CollisionSegmenter,
        batch: int,
        columns: int,
        recompute: bool,
        runtime: Runtime,
    ) -> None:
        self.model, self._runtime = model.to(runtime.device), runtime
        self._columns, self._recompute = columns, recompute
        rng = torch.Generator().manual_seed(1)
        pictures = torch.randint(0, 256, (batch, SIDE, SIDE, 3), generator=rng, dtype=torch.uint8)
        sounds = 0.1 * torch.randn(batch, round(SECONDS * RATE), generator=rng)
        self._pictures, self._sounds = pictures.to(runtime.device), sounds.to(runtime.device)
        self._trained = [p for p in model.parameters() if p.requires_grad]
        config = TrainConfig()
        self._clip_norm = config.clip_norm
        self._optimiser = torch.optim.Adam(
            self._trained, lr=config.lr, weight_decay=config.weight_decay
        )

    def check(self) -> tuple[dict[Kind, float], float]:
        """The losses of both kinds, and by how much their gradients differ; warms up, too."""
        self.model.eval()
        losses: dict[Kind, float] = {}
        gradients = []
        for kind in ('once', 'again'):
            losses[kind] = float(self._gradients(kind, noise=False).total.detach())
            found = [p.grad for p in self._trained if p.grad is not None]
            gradients.append(nn.utils.parameters_to_vector(found))  # [n]
        tolerance = TOLERANCE[self._runtime.dtype]
        if not math.isclose(losses['once'], losses['again'], rel_tol=tolerance):
            raise RuntimeError(
                f'the losses of the two steps are {losses["once"]:.6f} and {losses["again"]:.6f}: '
                f'expected them equal within {tolerance:g}, or there is nothing to compare'
            )
        first, second = gradients
        return losses, float((second - first).norm() / first.norm())

    def step(self, kind: Kind) -> None:
        """One step of the training, with noise and dropout."""
        self.model.train()
        self._gradients(kind, noise=True)
        nn.utils.clip_grad_norm_(self._trained, self._clip_norm)
        self._optimiser.step()

    def measured(self, kind: Kind) -> tuple[float, float]:
        """A step's seconds, until the device has nothing left to do, and its peak memory in GiB."""
        self._wait()
        self._forget_peak()
        start = time.perf_counter()
        self.step(kind)
        self._wait()
        return time.perf_counter() - start, self._peak_gib()

    def _gradients(self, kind: Kind, noise: bool) -> Losses:
        model, half = self.model, self._runtime.dtype == torch.bfloat16
        config = LossConfig(gumbel_noise=noise)
        pixels = model.clipseg.normalise(self._pictures)  # [B, H, W, 3] -> [B, 3, S, S]
        fbank = beats_fbank(self._sounds)  # [B, N] -> [B, T, 128]
        with torch.autocast(self._runtime.device.type, torch.bfloat16, enabled=half):
            if kind == 'once':
                losses: Losses = model(pixels, fbank, config, self._columns, self._recompute)
            else:
                losses = reencoding_losses(model, pixels, fbank, config, self._recompute)
        self._optimiser.zero_grad()
        losses.total.backward()
        return losses

    def _wait(self) -> None:
        if self._runtime.on_gpu:
            torch.cuda.synchronize(self._runtime.device)

    def _forget_peak(self) -> None:
        if self._runtime.on_gpu:
            torch.cuda.reset_peak_memory_stats(self._runtime.device)
            return
        with contextlib.suppress(OSError):  # where it is forbidden the peak is of the whole run
            Path('/proc/self/clear_refs').write_text('5')

    def _peak_gib(self) -> float:
        if self._runtime.on_gpu:
            return torch.cuda.max_memory_allocated(self._runtime.device) / GIB
        lines = Path('/proc/self/status').read_text('utf-8').splitlines()
        (kib,) = (line.split()[1] for line in lines if line.startswith('VmHWM'))
        return int(kib) * 1024 / GIB
