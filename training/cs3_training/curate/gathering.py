"""From a folder of videos to two tables of candidates: resumable video by video.

In the folder lie ``train.csv`` and ``val.csv`` (as Ego4D-CS3, with the onset and what people wrote;
``cs3-train extract own`` reads them), ``report.json``, and the account of each video that was
listened to, from which a run that was cut off goes on.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.atomic import clear_parts, write_text
from cs3_ros.files.jsonfile import read_json, write_json
from cs3_ros.files.output_folder import claim, locked
from cs3_ros.files.progress import Bar
from cs3_training.curate.classifiers import Classifier
from cs3_training.curate.listening import Candidate, Heard, Listening, listen_to
from cs3_training.curate.narrations import Narration
from cs3_training.data.annotations import OWN_COLUMNS
from cs3_training.data.records import CLASSES, Segment

FORMAT = 'cs3-candidates-1'
SETTINGS, REPORT, ACCOUNTS = 'curate.json', 'report.json', 'videos'
TABLES = ('train.csv', 'val.csv')
COMMAND = 'curate'
BATCH = 32
"""Sounds that are classified at once."""
TALKED = 'speech_or_music'
"""Why a window was dropped in which people or music are heard most."""
_TALK = ('speech', 'music', 'human')  # of CLAP's words and of EPIC-SOUNDS


@dataclass(frozen=True, eq=False)
class Task:
    """What is looked through."""

    videos: Mapping[str, Path]
    """Name -> file."""
    settings: Listening
    """What is a candidate."""
    narrations: Mapping[str, Sequence[Narration]] | None = None
    """Video -> its narrations; None lets the onset detector find the moments."""
    source: str = ''
    """SHA-256 of the file of the narrations."""
    social: frozenset[str] = frozenset()
    """Videos that are left out: people are heard in them more than things."""
    validation: float = 0.1
    """Share of the videos that go into ``val.csv``, 0 to 1."""

    def about(self) -> dict[str, Any]:
        """All that decides what is found in a video, but for the classifier."""
        settings = asdict(self.settings)
        return {'format': FORMAT, 'settings': settings, 'narrations': self.source}


def gather(
    task: Task, classifier: Classifier, about: str, folder: Path, workers: int, force: bool
) -> dict[str, Any]:
    """Look through the videos that have no account yet, write the tables; the report.

    Args:
        task: what is looked through.
        classifier: what tells collisions from other sounds.
        about: what the classifier is, with its digest.
        folder: new, empty or of an earlier run with the same settings.
        workers: threads that listen, at least 1.
        force: work in a folder of other things, too.

    Raises:
        FileExistsError: the folder holds other things.
        BlockingIOError: another run is writing into it.
        ValueError: it holds candidates of other settings.
    """
    claim(folder, COMMAND, force=force)
    with locked(folder):
        _check_settings(folder, {**task.about(), 'classifier': about})
        (folder / ACCOUNTS).mkdir(exist_ok=True)
        for each in (folder, folder / ACCOUNTS):
            clear_parts(each)
        names = [name for name in task.videos if name not in task.social]
        left = [name for name in names if not _account_path(folder, name).is_file()]
        with Bar(total=len(names), unit='video', disable=None) as bar:
            bar.update(len(names) - len(left))
            for name, heard in _listened(task, left, workers):
                account = _account(heard, classifier) if isinstance(heard, Heard) else heard
                write_json(_account_path(folder, name), account)
                bar.update(1)
        accounts = {
            name: read_json(_account_path(folder, name), f'account of {name}') for name in names
        }
        report, segments = summary(accounts)
        report['dropped']['social'] = sum(name in task.social for name in task.videos)
        for table, part in zip(TABLES, split(segments, task.validation), strict=True):
            report[table] = len(part)
            if part:
                write_text(folder / table, as_table(part))
            else:
                (folder / table).unlink(missing_ok=True)
        write_json(folder / REPORT, report)
    return report


def _listened(
    task: Task, names: Sequence[str], workers: int
) -> Iterator[tuple[str, Heard | dict[str, Any]]]:
    """What was heard in each video, in any order; of one that cannot be read its account.

    In threads: PyAV decodes outside of Python's lock.
    """
    narrated = task.narrations
    calls = {
        name: (task.videos[name], task.settings, None if narrated is None else narrated[name])
        for name in names
    }
    stop = Event()
    with ThreadPoolExecutor(workers) as pool:
        try:
            # a few at a time: what was heard in all videos together need not fit the memory
            waiting = iter(calls.items())
            doing: dict[Future[Heard | dict[str, Any]], str] = {}
            while True:
                while len(doing) < 2 * workers and (following := next(waiting, None)) is not None:
                    doing[pool.submit(_listen, *following[1], stop)] = following[0]
                if not doing:
                    return
                done = next(as_completed(doing))
                yield doing.pop(done), done.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _listen(
    path: Path, settings: Listening, narrations: Sequence[Narration] | None, stop: Event
) -> Heard | dict[str, Any]:
    try:
        return listen_to(path, settings, narrations, stop)
    except (ValueError, OSError) as error:
        return {'kept': [], 'dropped': {}, 'problems': [], 'unreadable': str(error)}


def _account(heard: Heard, classifier: Classifier) -> dict[str, Any]:
    """What is kept of a video: where the likeliest class is a collision (CS3: no threshold)."""
    dropped, kept = Counter(heard.dropped), []
    for first in range(0, len(heard.candidates), BATCH):
        batch = heard.candidates[first : first + BATCH]
        sounds = np.stack([each.heard for each in batch]).astype(np.float32)  # [B, N]
        probabilities = classifier(sounds / np.float32(1 << 15))  # [B, N] -> [B, C]
        for candidate, row in zip(batch, probabilities, strict=True):
            label = classifier.labels[int(row.argmax())]
            if label in CLASSES:
                kept.append(_kept(candidate, label, float(row.max())))
            else:
                dropped[TALKED if label in _TALK else 'no_collision'] += 1
    return {'kept': kept, 'dropped': dict(dropped), 'problems': heard.problems}


def _kept(candidate: Candidate, label: str, score: float) -> dict[str, Any]:
    segment = asdict(candidate.segment) | {'label': label, 'score': round(score, 6)}
    return {'segment': segment, 'sha256': candidate.digest}


def summary(accounts: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], list[Segment]]:
    """All accounts as one report, and what is kept; of copies of one sound the first."""
    report: dict[str, Any] = {'format': FORMAT, 'videos': len(accounts)}
    dropped, classes = Counter[str](), Counter[str]()
    segments: list[Segment] = []
    seen: set[str] = set()
    for account in accounts.values():
        dropped.update(account['dropped'])
        for each in account['kept']:
            if each['sha256'] in seen:
                dropped['copy_of_another_sound'] += 1
                continue
            seen.add(each['sha256'])
            noises = tuple(each['segment']['noises'])
            segments.append(Segment(**{**each['segment'], 'noises': noises}))
            classes[segments[-1].label] += 1
    looked_at = {name: dropped.pop(name) for name in ('onsets', 'narrations') if name in dropped}
    report |= {**looked_at, 'kept': len(segments), 'dropped': dict(dropped)}
    report['classes'] = dict(classes.most_common())
    for what in ('unreadable', 'problems'):
        report[what] = {name: each[what] for name, each in accounts.items() if each.get(what)}
    return report, segments


def split(segments: Sequence[Segment], share: float) -> tuple[list[Segment], list[Segment]]:
    """Those to train on and those to test on, whole videos.

    The name of a video alone decides, so that it never changes sides when others come.
    """

    def held_out(segment: Segment) -> bool:
        digest = hashlib.sha256(segment.video.encode()).digest()
        return int.from_bytes(digest[:8]) < share * (1 << 64)

    chosen = [held_out(segment) for segment in segments]
    return (
        [segment for segment, out in zip(segments, chosen, strict=True) if not out],
        [segment for segment, out in zip(segments, chosen, strict=True) if out],
    )


def as_table(segments: Sequence[Segment]) -> str:
    """The text of a table, as ``annotations.read_own`` reads it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(OWN_COLUMNS)
    for each in segments:
        assert each.onset_ns is not None and each.score is not None
        writer.writerow(
            [
                each.id, each.video, _clock(each.start_ns), _clock(each.stop_ns), each.label,
                f'{each.score:.6f}', _clock(each.onset_ns), each.text,
            ]
        )  # fmt: skip
    return buffer.getvalue()


def _clock(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, NS_PER_S)
    minutes, second = divmod(seconds, 60)
    return f'{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}.{rest:09d}'


def _account_path(folder: Path, video: str) -> Path:
    return folder / ACCOUNTS / f'{video}.json'


def _check_settings(folder: Path, about: Mapping[str, Any]) -> None:
    path = folder / SETTINGS
    if not path.exists():
        write_json(path, about)
    elif (before := read_json(path, f'settings {str(path)!r}')) != about:
        names = before if isinstance(before, dict) else {}
        changed = [name for name in about if names.get(name) != about[name]]
        raise ValueError(
            f'{folder}: holds candidates of other settings ({", ".join(changed)}): name another '
            'folder, or remove it'
        )
