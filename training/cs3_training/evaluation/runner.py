"""Scores many samples: in processes, and so that a run that was ended goes on.

Results are appended to a file of JSON lines as they come. Its first line says what was evaluated,
and a file of something else is refused.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from cs3_ros.bundles.bundle import Bundle, load_bundle
from cs3_ros.bundles.weights import digest_of, locate
from cs3_ros.files.progress import Bar
from cs3_ros.runtime import RuntimeConfig, choose_device
from cs3_ros.verification import VerificationConfig
from cs3_training.evaluation.evidence import Evaluator
from cs3_training.evaluation.rows import Result, score
from cs3_training.evaluation.samples import SyntheticSamples
from cs3_training.synth.config import Split, WorldConfig

FORMAT = 'cs3-evaluation-3'
"""Value of ``format`` in the first line; changes when equal bundles would score differently."""


@dataclass(frozen=True)
class Job:
    """What is evaluated."""

    bundle: str
    """Name of a bundle or path of its YAML."""
    split: Split = 'test'
    """Whose seeds are taken."""
    device: str = 'auto'
    """As ``RuntimeConfig.device``."""
    rows: tuple[str, ...] = ()
    """Only these, of ``evidence.HEAT_ROWS``, without hands and masker; () for all rows."""
    waits: tuple[float, ...] = ()
    """Further seconds of sound after the onset, for the rows of ``rows.WAIT_ROWS``."""


class Scorer:
    """Scores samples by their number; one per process."""

    def __init__(self, job: Job) -> None:
        bundle = load_bundle(job.bundle)
        # One thread: several processes share the cores, and sums do not depend on their number.
        pipeline = bundle.build(runtime=RuntimeConfig(device=job.device, threads=1))
        self.evaluator = Evaluator(pipeline, job.rows)
        self._rows = job.rows
        self.samples = SyntheticSamples(job.split, bundle.clip, waits=job.waits)

    def __call__(self, indices: Sequence[int]) -> list[Result]:
        """Score these samples."""
        results = []
        for index in indices:
            sample = self.samples[index]
            results.append(score(sample, self.evaluator.look(sample), self._rows))
        return results


def identity(job: Job) -> dict[str, Any]:
    """What results depend on: stages, weights, thresholds and the world, as JSON data."""
    bundle = load_bundle(job.bundle)
    scene = SyntheticSamples(job.split, bundle.clip)[0].clip
    world = hashlib.sha256(scene.frame.image.tobytes() + scene.audio.samples.tobytes())
    facts: dict[str, Any] = {
        'format': FORMAT,
        'bundle': bundle.name,
        'stages': bundle.stages,
        'clip': asdict(bundle.clip),
        'weights': _digests(bundle),
        'verification': asdict(VerificationConfig()),
        'split': job.split,
        'world': {**WorldConfig().facts(), 'first_scene': world.hexdigest()},
        'device': choose_device(job.device).type,
    }
    if job.rows:
        facts['rows'] = sorted(job.rows)
    if job.waits:
        facts['waits'] = sorted(job.waits)
    return dict(json.loads(json.dumps(facts)))


def _digests(bundle: Bundle) -> dict[str, str]:
    """Path as the bundle names it -> SHA-256, of all files that its settings name."""
    found: dict[str, str] = {}
    for stage in bundle.stages.values():
        for setting, value in stage.items():
            if setting == 'type' or not value or not isinstance(value, str):
                continue
            path = locate(value, bundle.folder)
            files = [path] if path.is_file() else sorted(path.rglob('*'))
            found |= {
                str(Path(value) / file.relative_to(path)): digest_of(file)
                for file in files
                if file.is_file()
            }
    return found


def read_results(path: Path, facts: dict[str, Any]) -> dict[int, Result]:
    """The results of a file by number; none where there is no file yet.

    A last line that was cut off when the run was ended is taken off the file.

    Raises:
        ValueError: it is no such file, or holds results of something else.
    """
    if not path.exists():
        return {}
    whole, newline, torn = path.read_bytes().rpartition(b'\n')
    lines = whole.splitlines() if newline else []
    try:
        data = [json.loads(line) for line in lines]
        first = data[0] if data else facts
        results = [Result.from_json(line) for line in data[1:]]
    except ValueError as error:
        raise ValueError(
            f'{path}: {error}; expected results of cs3-train evaluate, name another file'
        ) from error
    if first != facts:
        names = first if isinstance(first, dict) else {}
        changed = [name for name in facts if names.get(name) != facts[name]]
        raise ValueError(
            f'{path} holds results of another evaluation (other {", ".join(changed)}): '
            'remove it or name another file'
        )
    if torn:
        with path.open('r+b') as file:
            file.truncate(len(whole) + len(newline))
    return {result.index: result for result in results}


def run(
    job: Job, scenes: int, workers: int = 1, path: Path | None = None, progress: bool = True
) -> list[Result]:
    """Score the first samples of the split, those that ``path`` lacks.

    Args:
        job: what is evaluated.
        scenes: how many samples.
        workers: processes; each loads the bundle and computes with one thread.
        path: file that results are read from and appended to; None keeps nothing.
        progress: show a bar.

    Raises:
        ValueError: ``path`` holds something else, or as ``Bundle.build``.
    """
    facts = identity(job) if path else {}
    results = read_results(path, facts) if path else {}
    if path and not results:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts) + '\n', 'utf-8')
    pairs = [range(k, min(k + 2, scenes)) for k in range(0, scenes, 2)]  # partners together
    chunks = [left for pair in pairs if (left := [k for k in pair if k not in results])]
    with Bar(total=scenes, unit='scene', disable=None if progress else True) as bar:
        bar.update(sum(index < scenes for index in results))
        for batch in _scored(job, chunks, min(workers, len(chunks))):
            results |= {result.index: result for result in batch}
            if path:
                with path.open('a', encoding='utf-8') as file:
                    file.writelines(json.dumps(result.as_json()) + '\n' for result in batch)
            bar.update(len(batch))
    return [results[index] for index in range(scenes)]


def _scored(job: Job, chunks: Sequence[Sequence[int]], workers: int) -> Iterator[list[Result]]:
    if workers <= 1:
        yield from (_work(job, chunk) for chunk in chunks)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'))
    try:
        yield from pool.map(partial(_work, job), chunks)
    finally:
        pool.shutdown(cancel_futures=True)


def _work(job: Job, indices: Sequence[int]) -> list[Result]:
    return scorer(job)(indices)


@lru_cache(maxsize=1)
def scorer(job: Job) -> Scorer:
    """The scorer of this process; loads the bundle when it is asked for first."""
    return Scorer(job)
