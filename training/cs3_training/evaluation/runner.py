"""Scores many samples: in processes, and so that a run that was ended goes on.

Results are appended to a file of JSON lines as they come. Its first line says what was evaluated,
and a file of something else is refused.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from cs3_ros.bundles.bundle import Bundle, load_bundle
from cs3_ros.bundles.weights import digest_of, locate
from cs3_ros.files.fields import expect
from cs3_ros.files.progress import Bar
from cs3_ros.files.regular import one_line
from cs3_ros.runtime import RuntimeConfig, choose_device
from cs3_ros.verification import VerificationConfig
from cs3_training.data.detections import read_detections
from cs3_training.data.manifest import find_masks, load_prediction, read_manifest
from cs3_training.evaluation.evidence import Evaluator
from cs3_training.evaluation.manifest_samples import ManifestSamples
from cs3_training.evaluation.rows import ROWS, LeftOut, Result, score
from cs3_training.evaluation.samples import SyntheticSamples
from cs3_training.synth.config import Split, WorldConfig

FORMAT = 'cs3-evaluation-3'
"""Value of ``format`` in the first line; changes when equal bundles would score differently."""

Outcome = Result | LeftOut
"""What comes of a sample."""


@dataclass(frozen=True)
class Job:
    """What is evaluated, and on what."""

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
    data: str = ''
    """Path of a manifest whose frames are scored; '' for scenes of the synthetic world."""
    hands: str = ''
    """Path of hands that were found beforehand; '' leaves them to the bundle."""
    predictions: tuple[tuple[str, str], ...] = ()
    """Name and folder of masks that other methods made for the manifest."""


class Scorer:
    """Scores samples by their number; one per process."""

    def __init__(self, job: Job) -> None:
        bundle = load_bundle(job.bundle)
        found = read_detections(Path(job.hands)) if job.hands else None
        if found is not None:
            bundle = without_hands(bundle)
        # One thread: several processes share the cores, and sums do not depend on their number.
        pipeline = bundle.build(runtime=RuntimeConfig(device=job.device, threads=1))
        self.evaluator = Evaluator(
            pipeline,
            job.rows,
            listens=bundle.audio_s > 0,
            given_hands=found is not None,
            given_seconds=found is not None and found.second_objects,
        )
        self._rows = job.rows
        self.samples: SyntheticSamples | ManifestSamples
        self._others: Mapping[str, Mapping[str, Sequence[Path]]] = {}
        if job.data:
            self.samples = ManifestSamples(Path(job.data), bundle.clip, found)
            self._others = predictions_of(job)
        else:
            self.samples = SyntheticSamples(job.split, bundle.clip, waits=job.waits)

    def __call__(self, indices: Sequence[int]) -> list[Outcome]:
        """Score these samples; those of a manifest that cannot be read are left out."""
        return [self._scored(index) for index in indices]

    def _scored(self, index: int) -> Outcome:
        if isinstance(self.samples, SyntheticSamples):
            sample = self.samples[index]
            return score(sample, self.evaluator.look(sample), self._rows)
        frame = self.samples.frames[index]
        try:
            sample = self.samples[index]
            size = (sample.truth[0].shape[0], sample.truth[0].shape[1])
            imported = {
                name: load_prediction(paths.get(frame.id, ()), size)
                for name, paths in self._others.items()
            }
        except (ValueError, OSError) as error:
            return LeftOut(index, frame.id, one_line(error))
        evidence = self.evaluator.look(sample)
        return score(sample, evidence, self._rows, imported, swept=not self._rows)


def without_hands(bundle: Bundle) -> Bundle:
    """A bundle that needs no detector of hands; the same one where it has nothing else."""
    if 'localiser' not in bundle.stages:
        return bundle
    named = [value for value in bundle.stages.get('hands', {}).values() if isinstance(value, str)]
    return replace(
        bundle,
        stages={name: stage for name, stage in bundle.stages.items() if name != 'hands'},
        weights=tuple(
            weight
            for weight in bundle.weights
            if not any(f'{weight.path}/'.startswith(f'{name}/') for name in named)
        ),
    )


def predictions_of(job: Job) -> dict[str, dict[str, tuple[Path, ...]]]:
    """Name of another method -> id of a frame -> its mask files.

    Raises:
        ValueError: a name is that of a row, stands twice, or its folder holds no mask of the
            manifest.
    """
    found: dict[str, dict[str, tuple[Path, ...]]] = {}
    ids = [frame.id for frame in read_manifest(Path(job.data))] if job.predictions else []
    for name, folder in job.predictions:
        expect(name not in (*ROWS, *found), '--predictions', name, 'a name of its own')
        found[name] = find_masks(Path(folder), ids)
        expect(
            bool(found[name]), f'--predictions {name}', folder,
            f'masks such as {ids[0]}_1.png of frames of {job.data}',
        )  # fmt: skip
    return found


def identity(job: Job) -> dict[str, Any]:
    """What results depend on: stages, weights, thresholds and the world, as JSON data."""
    bundle = load_bundle(job.bundle)
    facts: dict[str, Any] = {
        'format': FORMAT,
        'bundle': bundle.name,
        'stages': bundle.stages,
        'clip': asdict(bundle.clip),
        'weights': _digests(bundle),
        'verification': asdict(VerificationConfig()),
        'device': choose_device(job.device).type,
    }
    if job.data:
        facts |= _files_of(job)
    else:
        scene = SyntheticSamples(job.split, bundle.clip)[0].clip
        world = hashlib.sha256(scene.frame.image.tobytes() + scene.audio.samples.tobytes())
        facts['split'] = job.split
        facts['world'] = {**WorldConfig().facts(), 'first_scene': world.hexdigest()}
    if job.rows:
        facts['rows'] = sorted(job.rows)
    if job.waits:
        facts['waits'] = sorted(job.waits)
    return dict(json.loads(json.dumps(facts)))


def _files_of(job: Job) -> dict[str, Any]:
    """Digests of a manifest and of what it and the job name, but for the videos."""
    frames = read_manifest(Path(job.data))
    masks = [path for frame in frames for path in frame.masks if path.is_file()]
    others = [
        path for by_id in predictions_of(job).values() for paths in by_id.values() for path in paths
    ]
    return {
        'data': digest_of(Path(job.data)),
        'masks': _digest_of_all(masks),
        'hands': digest_of(Path(job.hands)) if job.hands else '',
        'predictions': [[name for name, _ in job.predictions], _digest_of_all(others)],
    }


def _digest_of_all(paths: Sequence[Path]) -> str:
    lines = (f'{path.name} {digest_of(path)}' for path in paths)
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


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


def read_results(path: Path, facts: dict[str, Any]) -> dict[int, Outcome]:
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
        results = [_outcome(line) for line in data[1:]]
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


def _outcome(line: Any) -> Outcome:
    if isinstance(line, dict) and 'left_out' in line:
        return LeftOut(int(line['index']), str(line.get('id')), str(line['left_out']))
    return Result.from_json(line)


def run(
    job: Job, scenes: int, workers: int = 1, path: Path | None = None, progress: bool = True
) -> list[Result]:
    """``outcomes`` without the samples that were left out; none of the synthetic world are."""
    found = outcomes(job, scenes, workers, path, progress)
    return [outcome for outcome in found if isinstance(outcome, Result)]


def outcomes(
    job: Job, scenes: int, workers: int = 1, path: Path | None = None, progress: bool = True
) -> list[Outcome]:
    """Score the first samples, those that ``path`` lacks or left out.

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
    done = {index for index, outcome in results.items() if isinstance(outcome, Result)}
    if path and not results:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts) + '\n', 'utf-8')
    length = 16 if job.data else 2  # frames of one video, partners
    pairs = [range(k, min(k + length, scenes)) for k in range(0, scenes, length)]
    chunks = [left for pair in pairs if (left := [k for k in pair if k not in done])]
    with Bar(total=scenes, unit='scene', disable=None if progress else True) as bar:
        bar.update(sum(index < scenes for index in done))
        for batch in _scored(job, chunks, min(workers, len(chunks))):
            results |= {result.index: result for result in batch}
            if path:
                with path.open('a', encoding='utf-8') as file:
                    file.writelines(json.dumps(result.as_json()) + '\n' for result in batch)
            bar.update(len(batch))
    return [results[index] for index in range(scenes)]


def _scored(job: Job, chunks: Sequence[Sequence[int]], workers: int) -> Iterator[list[Outcome]]:
    if workers <= 1:
        yield from (_work(job, chunk) for chunk in chunks)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'))
    try:
        yield from pool.map(partial(_work, job), chunks)
    finally:
        pool.shutdown(cancel_futures=True)


def _work(job: Job, indices: Sequence[int]) -> list[Outcome]:
    return scorer(job)(indices)


@lru_cache(maxsize=1)
def scorer(job: Job) -> Scorer:
    """The scorer of this process; loads the bundle when it is asked for first."""
    return Scorer(job)
