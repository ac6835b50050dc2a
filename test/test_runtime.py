"""Device, number format and copies of the networks."""

from __future__ import annotations

import needs

needs.networks()

import re
import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
import torch

from cs3_ros import runtime
from cs3_ros.packages import MODELS
from cs3_ros.runtime import Runtime, RuntimeConfig, choose_device


@pytest.fixture(autouse=True)
def threads():
    """The number of threads as it was before the test."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


def test_auto_takes_float32_on_the_cpu(no_gpu):
    made = Runtime()
    assert (made.device.type, made.dtype, made.on_gpu) == ('cpu', torch.float32, False)


def test_what_is_asked_for_is_taken(no_gpu):
    made = Runtime(RuntimeConfig(device='cpu', precision='bfloat16', threads=1))
    assert made.dtype == torch.bfloat16 and torch.get_num_threads() == 1
    layer = made.module_to_device(torch.nn.Conv2d(3, 4, 3))
    assert layer.weight.dtype == torch.bfloat16
    assert not layer.weight.requires_grad and not layer.training


def test_every_core_that_may_be_used_is_used(no_gpu, monkeypatch):
    monkeypatch.setattr(runtime.os, 'sched_getaffinity', lambda pid: {3, 5})
    Runtime()
    assert torch.get_num_threads() == 2


def test_cuda_without_a_gpu_is_refused(no_gpu):
    with pytest.raises(RuntimeError, match='torch sees no GPU; .* set runtime.device to cpu'):
        Runtime(RuntimeConfig(device='cuda'))


def test_the_device_is_known_without_touching_anything(monkeypatch):
    torch.set_num_threads(3)
    for there in (False, True):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda there=there: there)
        assert choose_device('auto').type == ('cuda' if there else 'cpu')
        assert choose_device('cpu').type == 'cpu'
    assert choose_device('cuda').type == 'cuda'
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(
    'values', [{'device': 'tpu'}, {'precision': 'int8'}, {'threads': -1}, {'gpu_memory_gb': -0.5}]
)
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=f'RuntimeConfig.{next(iter(values))} = '):
        RuntimeConfig(**values)


def test_stages_share_a_picture_that_was_sent(no_gpu):
    made = Runtime()
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    sent = made.upload(picture)
    assert made.upload(picture) is sent and np.array_equal(sent.numpy(), picture)
    other = made.upload(picture.copy())
    assert other is not sent
    read_only = picture.copy()
    read_only.flags.writeable = False
    assert np.array_equal(made.upload(read_only).numpy(), picture)


def test_nothing_inside_a_stream_keeps_gradients(no_gpu):
    made = Runtime()
    weight = torch.ones(2, requires_grad=True)
    with made.stream().work():
        result = weight * 2
    assert not result.requires_grad
    assert np.array_equal(made.to_host(made.to_device(torch.arange(3))), [0, 1, 2])


def test_without_torch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch', None)
    with pytest.raises(ImportError, match=re.escape(MODELS)):
        Runtime()
    assert not runtime.is_out_of_memory(MemoryError())
    assert runtime.gpu_memory_gib() is None
    runtime.free_gpu_memory()


def test_light_commands_do_not_load_torch():
    code = (
        'import sys, cs3_ros.cli, cs3_ros.pipeline, cs3_ros.offline.run, cs3_ros.doctor.examine\n'
        'import cs3_ros.bundles.bundle\n'
        'cs3_ros.bundles.bundle.load_bundle("lite")\n'
        'sys.exit("torch" in sys.modules)'
    )
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_only_memory_that_is_full_counts_as_out_of_memory():
    assert runtime.is_out_of_memory(torch.OutOfMemoryError('full'))
    assert not runtime.is_out_of_memory(RuntimeError('CUDA error: device-side assert triggered'))


@pytest.mark.gpu
def test_streams_and_copies_on_a_gpu():
    made = Runtime(RuntimeConfig(gpu_memory_gb=2.0))
    assert made.dtype == torch.bfloat16
    picture = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    streams = [made.stream() for _ in range(3)]
    sums = []
    for stream in streams:
        with stream.work():
            sums.append(made.upload(picture).long().sum())
            assert torch.cuda.current_stream() != torch.cuda.default_stream()
    for stream, total in zip(streams, sums, strict=True):
        with stream.work():
            assert made.to_host(total) == picture.sum(dtype=np.int64)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(3 * 1024**3, dtype=torch.uint8, device='cuda')
    assert runtime.is_out_of_memory(caught.value)
    runtime.free_gpu_memory()
    now, most = runtime.gpu_memory_gib()
    assert 0 < now <= most < 2


def test_a_torch_that_another_thread_is_importing_is_not_there_yet(monkeypatch) -> None:
    half = ModuleType('torch')
    half.__spec__ = ModuleSpec('torch', None)
    half.__spec__._initializing = True
    monkeypatch.setitem(sys.modules, 'torch', half)
    assert runtime.gpu_memory_gib() is None
    runtime.free_gpu_memory()
