"""What a GPU is asked for: launches, copies and waits of the host, by torch's profiler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

WAITS = ('cudaStreamSynchronize', 'cudaEventSynchronize', 'cudaMemcpy')
"""Calls in which the host waits; cudaDeviceSynchronize is left out, the profiler ends with one."""


def count_launches(work: Callable[[], Any], device: torch.device) -> dict[str, Any]:
    """Run some work under the profiler.

    Args:
        work: is called once, warm.
        device: what it runs on. On a CPU only operations are counted, nothing is launched.

    Returns:
        ``launches`` of kernels by the host, ``graph_launches``, ``waits`` of the host,
        ``copies_to_host``, ``kernels`` that ran and their ``device_ms`` in all, ``operations`` of
        aten, and ``calls``: name of every call of CUDA's runtime -> how often.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == 'cuda':
        activities.append(ProfilerActivity.CUDA)
        torch.cuda.synchronize(device)
    with profile(activities=activities) as found:
        work()
    calls: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    microseconds = 0.0
    for event in found.events() or ():
        name = event.name
        if event.device_type == torch.autograd.DeviceType.CUDA:
            moved = name.startswith(('Memcpy', 'Memset'))
            counts['copies_to_host'] += name.startswith('Memcpy DtoH')
            counts['kernels'] += not moved
            microseconds += event.time_range.elapsed_us()
        elif name.startswith(('cuda', 'cu')) and '::' not in name:
            calls[name] += 1
        counts['operations'] += name.startswith('aten::')
    return {
        'launches': sum(n for name, n in calls.items() if 'LaunchKernel' in name),
        'graph_launches': calls['cudaGraphLaunch'],
        'waits': sum(calls[name] for name in WAITS),
        **{name: counts[name] for name in ('copies_to_host', 'kernels', 'operations')},
        'device_ms': microseconds / 1e3,
        'calls': dict(calls.most_common()),
    }
