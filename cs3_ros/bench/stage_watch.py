"""What each stage of a pipeline does: a context round its calls, a count of its operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

from cs3_ros.pipeline import Pipeline
from cs3_ros.verification import ContactVerifier


class OperationCounter:
    """Counts what a stage dispatches: aten operations, and those of them that compute."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, int]] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count inside under the name of a stage."""
        from torch._C import DispatchKey
        from torch.utils._python_dispatch import TorchDispatchMode

        counts = self.counts[stage] = {'operations': 0, 'kernels': 0}

        class Count(TorchDispatchMode):
            def __torch_dispatch__(
                self, func: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                # In inference mode composite operations arrive whole: take them apart, but for
                # those whose parts in Python are other ones than what runs.
                if DispatchKey.CompositeImplicitAutograd not in func.py_kernels:
                    with self:
                        result = func.decompose(*args, **(kwargs or {}))
                    if result is not NotImplemented:
                        return result
                result = func(*args, **(kwargs or {}))
                same = bool(args) and result is args[0] and not func._schema.is_mutable
                counts['operations'] += 1
                counts['kernels'] += not (func.is_view or same)  # same: dropout, which is off
                return result

        with Count():
            yield


def watched(pipeline: Pipeline, watch: Callable[[str], AbstractContextManager[None]]) -> Pipeline:
    """The pipeline with each call of a stage inside of ``watch(name of the stage)``."""

    def inside(stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            with watch(stage):
                return call(*args)

        return run

    masker, hands, localiser = pipeline.masker, pipeline.hands, pipeline.localiser
    stages: dict[str, Any] = {
        'masker': SimpleNamespace(
            encode=inside('masker_encode', masker.encode), segment=inside('masks', masker.segment)
        )
    }
    if hands is not None:
        stages['hands'] = SimpleNamespace(detect=inside('hands', hands.detect))
    if localiser is not None:
        stages['localiser'] = SimpleNamespace(
            encode=inside('localiser_encode', localiser.encode),
            locate=inside('localiser_locate', localiser.locate),
        )
    if pipeline.objects is not None:
        stages['objects'] = SimpleNamespace(propose=inside('objects', pipeline.objects.propose))
    verifier: Any = pipeline.verifier
    if not isinstance(verifier, ContactVerifier):
        stages['verifier'] = SimpleNamespace(
            encode=inside('verifier_encode', verifier.encode),
            verify=inside('verify', verifier.verify),
        )
    return Pipeline(pipeline.name, verification=pipeline.verification, **stages)
