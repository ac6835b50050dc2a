"""Where the networks run: device, number format, streams, copies to and from the device.

``RuntimeConfig`` needs nothing; torch is imported when a ``Runtime`` is made, that is only for
bundles with networks.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Image
from cs3_ros.config import setting, validate
from cs3_ros.packages import MODELS, stay_offline

if TYPE_CHECKING:
    import torch

GIB = 1024**3
_WARMING_UP: ContextVar[bool] = ContextVar('warming up', default=False)
M = TypeVar('M', bound='torch.nn.Module')


@dataclass(frozen=True)
class RuntimeConfig:
    """Settings of the machine that the networks run on."""

    device: str = setting(
        'auto',
        'Device of the networks: auto takes CUDA where there is a GPU, else the CPU.',
        choices=('auto', 'cpu', 'cuda'),
    )
    precision: str = setting(
        'auto',
        'Number format of the networks: auto takes bfloat16 on CUDA and float32 on the CPU.',
        choices=('auto', 'float32', 'bfloat16', 'float16'),
    )
    threads: int = setting(
        0,
        'CPU threads of the networks; 0 takes every core that the process may use.',
        minimum=0,
        maximum=1024,
    )
    gpu_memory_gb: float = setting(
        0.0,
        'Most GPU memory that the networks may take, GiB; 0 sets no bound.',
        minimum=0.0,
        maximum=1024.0,
    )
    compile: str = setting(
        'none',
        'torch.compile for the networks that look at the picture: none; inductor, with which '
        'starting takes minutes; eager only tries out whether they can be compiled.',
        choices=('none', 'inductor', 'eager'),
    )
    cuda_graphs: bool = setting(
        False, 'Replay what the networks do after the sound from CUDA graphs; needs a GPU.'
    )

    def __post_init__(self) -> None:
        validate(self)

    @property
    def accelerated(self) -> bool:
        """Whether networks run otherwise than one kernel after the other."""
        return self.compile != 'none' or self.cuda_graphs


class Runtime:
    """The device of the networks, one for all stages of a bundle.

    Every stage works on a stream of its own (``stream``), so that the halves of the pipeline
    overlap on a GPU; once they are placed, nothing here waits for the device but ``to_host``.

    Args:
        config: what was asked for.

    Attributes:
        counts: ``not_accelerated``, calls that ran one kernel after the other although the settings
            ask for more (``networks/acceleration.py``).

    Raises:
        ImportError: torch is not installed.
        RuntimeError: CUDA or CUDA graphs were asked for and there is no GPU.
    """

    def __init__(self, config: RuntimeConfig = RuntimeConfig()) -> None:
        try:
            import torch
        except ImportError as error:
            raise ImportError(
                f'this bundle has networks and needs torch ({error}): {MODELS}'
            ) from error
        stay_offline()
        self.config = config
        self.counts: Counter[str] = Counter()
        self.device = choose_device(config.device)
        if config.cuda_graphs and not self.on_gpu:
            raise RuntimeError(
                f'runtime.cuda_graphs = true with runtime.device = {config.device}: the networks '
                'run on the CPU, which has no CUDA graphs; set runtime.cuda_graphs to false, or '
                'bring a GPU that torch sees'
            )
        precision = config.precision
        if precision == 'auto':
            precision = 'bfloat16' if self.on_gpu else 'float32'
        self.dtype: torch.dtype = getattr(torch, precision)
        # Equal for files, bags and topics: the order of sums, and so the last bit, depends on it.
        torch.set_num_threads(config.threads or len(os.sched_getaffinity(0)))
        if self.on_gpu and config.gpu_memory_gb:
            total = torch.cuda.get_device_properties(self.device).total_memory
            share = min(config.gpu_memory_gb * GIB / total, 1.0)
            torch.cuda.set_per_process_memory_fraction(share, self.device)
        self._lock = threading.Lock()
        self._uploaded: tuple[Image, torch.Tensor, torch.cuda.Event | None] | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether the networks run on CUDA."""
        return self.device.type == 'cuda'

    def module_to_device(self, module: M) -> M:
        """A module for inference: on the device, in the number format, frozen.

        On CUDA convolutions get channels-last weights.
        """
        import torch

        module = module.eval().requires_grad_(False).to(self.device, self.dtype)
        if self.on_gpu:
            # known to torch, not to its type stubs
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            torch.cuda.synchronize(self.device)  # the stages' streams do not wait for these copies
        return module

    def stream(self) -> Stream:
        """A new stream for one stage."""
        return Stream(self)

    def upload(self, image: Image) -> torch.Tensor:
        """A picture on the device, uint8 [H, W, 3]; stages that ask for the same one share it."""
        import torch

        with self._lock:
            if self._uploaded is None or self._uploaded[0] is not image:
                self._uploaded = None  # frees the memory before the next picture takes it
                copied = torch.from_numpy(np.array(image))  # torch takes nothing that is read-only
                self._uploaded = (image, *self._send(copied))
            _, tensor, arrived = self._uploaded
        if arrived is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(arrived)
            tensor.record_stream(current)  # the allocator must not hand it on while it is read
        return tensor

    def _send(self, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
        import torch

        if not self.on_gpu:
            return tensor, None
        sent = tensor.pin_memory().to(self.device, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return sent, arrived

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A small CPU tensor on the device, without waiting for it."""
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.on_gpu else tensor

    def to_host(self, tensor: torch.Tensor) -> NDArray[Any]:
        """A tensor as array; waits for the current stream, once."""
        import torch

        if not self.on_gpu:
            return tensor.numpy()
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        torch.cuda.current_stream(self.device).synchronize()
        return host.numpy()


class Stream:
    """``with stream.work():`` uses a stream of its own on CUDA; on the CPU nothing changes."""

    def __init__(self, runtime: Runtime) -> None:
        import torch

        self._stream = torch.cuda.Stream(runtime.device) if runtime.on_gpu else None

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        """Work inside runs on the stream, without gradients."""
        import torch

        on_stream = (
            contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
        )
        with torch.inference_mode(), on_stream:
            yield


@contextlib.contextmanager
def warming_up() -> Iterator[None]:
    """Inside, networks may compile and record what later calls of this thread's kind replay."""
    before = _WARMING_UP.set(True)
    try:
        yield
    finally:
        _WARMING_UP.reset(before)


def is_warming_up() -> bool:
    """Whether this is inside of ``warming_up``, where no event waits."""
    return _WARMING_UP.get()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch ran out of GPU memory; never true where torch is not loaded."""
    torch = _imported_torch()
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def choose_device(name: str) -> torch.device:
    """The device of a setting ``RuntimeConfig.device``; a ``Runtime`` is not needed to know it.

    Args:
        name: auto, cpu or cuda.

    Raises:
        RuntimeError: CUDA was asked for and is not there.
    """
    import torch

    there = name != 'cpu' and torch.cuda.is_available()
    if name == 'cuda' and not there:
        raise RuntimeError(
            'runtime.device = cuda: torch sees no GPU; install a CUDA build of torch and its '
            'driver, or set runtime.device to cpu'
        )
    return torch.device('cuda' if there else 'cpu')


def _imported_torch() -> ModuleType | None:
    """torch where it is imported, to its end: another thread may be in the middle of it."""
    torch = sys.modules.get('torch')
    importing = getattr(getattr(torch, '__spec__', None), '_initializing', False)
    return None if importing else torch


def free_gpu_memory() -> None:
    """Give cached GPU memory back, so that a retry finds it in one piece."""
    torch = _imported_torch()
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def gpu_memory_gib() -> tuple[float, float] | None:
    """GiB of GPU memory that tensors of this process hold now and held at most; None without."""
    torch = _imported_torch()
    if torch is None or not torch.cuda.is_initialized():
        return None
    return torch.cuda.memory_allocated() / GIB, torch.cuda.max_memory_allocated() / GIB


def machine_name(device: torch.device) -> str:
    """Name of the processor, with the threads that the networks use on a CPU."""
    import torch

    if device.type == 'cuda':
        return str(torch.cuda.get_device_name(device))
    names = [
        line for line in Path('/proc/cpuinfo').read_text().splitlines() if 'model name' in line
    ]
    name = names[0].partition(':')[2].strip() if names else 'CPU'
    return f'{name}, {torch.get_num_threads()} threads'
