"""Networks that ask less of the host: compiled by torch, or replayed from CUDA graphs.

Both are off by default (``RuntimeConfig.compile``, ``RuntimeConfig.cuda_graphs``). Everything is
compiled and recorded in the warm-up, for the shapes that are seen there: an event never waits for
it. A call with other shapes, or one that could not be compiled or recorded, runs as without these
settings; the log says why, and ``Runtime.counts['not_accelerated']`` counts such calls.

What is recorded reads nothing back to the host, and makes no tensor there that a kernel would have
to wait for: ``test/networks/test_acceleration.py`` looks at every operation of it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Hashable, Iterator
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor

from cs3_ros.runtime import Runtime, is_out_of_memory, is_warming_up

P = ParamSpec('P')
T = TypeVar('T')
Maker = Callable[[Callable[..., Any], tuple[Any, ...]], Callable[..., Any]]
"""Makes a faster call of a call and the arguments that it is to be fast for."""

log = logging.getLogger(__name__)

MOST_SHAPES = 4
"""Sets of shapes that a call is compiled or recorded for; each graph keeps memory of its own."""
RUNS_BEFORE = 3
"""Runs before a recording: libraries take their workspaces, tables their place on the device."""


def compiled(call: Callable[P, T], name: str, runtime: Runtime) -> Callable[P, T]:
    """A call by ``torch.compile`` where the runtime asks for it, else the call itself.

    Args:
        call: takes tensors on the device, also in tuples and dataclasses.
        name: of the stage, for the log.
        runtime: its settings decide.
    """
    backend = runtime.config.compile
    if backend == 'none':
        return call
    made: Callable[..., Any] = torch.compile(call, backend=backend, dynamic=False)

    def ready(call: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[..., Any]:
        made(*arguments)  # compiles
        return made

    return cast('Callable[P, T]', _Faster(call, name, runtime, ready))


def graphed(call: Callable[P, T], name: str, runtime: Runtime) -> Callable[P, T]:
    """A call replayed from CUDA graphs where the runtime asks for it, else the call itself.

    What it gives is overwritten by the next call. So calls take turns, as stages of a pipeline do,
    and what has to last is copied before.

    Args:
        call: takes and gives tensors on the device, also in tuples and dataclasses; launches on
            the current stream alone, waits for nothing, and depends on nothing but its arguments.
        name: of the stage, for the log.
        runtime: its settings decide.
    """
    if not runtime.config.cuda_graphs:
        return call
    return cast('Callable[P, T]', _Faster(call, name, runtime, CudaGraph))


class _Faster:
    """A call that is made faster, in the warm-up, for each set of shapes that it sees there."""

    def __init__(self, call: Callable[..., Any], name: str, runtime: Runtime, make: Maker) -> None:
        self._call, self._name, self._runtime, self._make = call, name, runtime, make
        self._made: dict[Hashable, Callable[..., Any]] = {}
        self._slow: set[Hashable] = set()  # shapes of which the reason was told

    def __call__(self, *arguments: Any) -> Any:
        key = _shapes(arguments)
        fast = self._made.get(key)
        if fast is None and is_warming_up() and key not in self._slow:
            fast = self._try(key, arguments)
        if fast is not None:
            return fast(*arguments)
        self._runtime.counts['not_accelerated'] += 1
        self._tell(key, 'these shapes were not seen in the warm-up')
        return self._call(*arguments)

    def _try(self, key: Hashable, arguments: tuple[Any, ...]) -> Callable[..., Any] | None:
        if len(self._made) >= MOST_SHAPES:
            self._tell(key, f'{MOST_SHAPES} sets of shapes have been made faster already')
            return None
        try:
            fast = self._made[key] = self._make(self._call, arguments)
            return fast
        except Exception as error:  # compilers and drivers raise anything
            if is_out_of_memory(error):
                raise  # the pipeline frees memory and calls again
            self._tell(key, f'{type(error).__name__}: {error}')
            return None

    def _tell(self, key: Hashable, reason: str) -> None:
        if key not in self._slow:
            self._slow.add(key)
            log.warning('%s runs one kernel after the other: %s', self._name, reason)


class CudaGraph:
    """The kernels of a call, recorded once and launched together.

    Made on the stream that it shall run on, which is not the default one.

    Args:
        call: as of ``graphed``.
        arguments: of the shapes that it is recorded for; they are not changed.
    """

    def __init__(self, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._inputs = tuple(tensor.clone() for tensor in _tensors(arguments))
        own = _refilled(arguments, iter(self._inputs))
        for _ in range(RUNS_BEFORE):
            call(*own)
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        # thread_local: other threads of the process may go on allocating meanwhile.
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode='thread_local'):
            self._outputs = call(*own)

    def __call__(self, *arguments: Any) -> Any:
        """What the call gives for arguments of these shapes; overwritten by the next call."""
        for own, given in zip(self._inputs, _tensors(arguments), strict=True):
            own.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._outputs


def _shapes(value: Any) -> Hashable:
    """What a call is compiled or recorded for: the form of its arguments without their numbers."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype, value.device
    if isinstance(value, tuple):
        return tuple(map(_shapes, value))
    if dataclasses.is_dataclass(value):
        return type(value), *(_shapes(getattr(value, f.name)) for f in dataclasses.fields(value))
    return type(value), value


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _tensors(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name))


def _refilled(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The same with other tensors, in the order of ``_tensors``."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, tuple):
        return tuple(_refilled(part, tensors) for part in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return dataclasses.replace(
            value, **{name: _refilled(getattr(value, name), tensors) for name in names}
        )
    return value
