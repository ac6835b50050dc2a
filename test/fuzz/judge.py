"""Tries of a subject: damaged copies, each read in a process of its own within bounds."""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from subjects import Answer, Subject

SECONDS = 20.0
"""A try that takes longer hangs."""
ADDRESS_SPACE = 8 << 30
"""Bytes of address space of a try, so that the machine survives it."""
MEMORY_GB = 1.5
"""More resident memory than this is a failure."""
VERDICTS = ('same', 'told', 'refused', 'changed', 'moved', 'silent', 'escaped', 'hang')
"""Same answer; another answer and a warning; a one-line error. Without a word: other content; other
times, or more frames or samples; fewer of them. A traceback or a crash; no end."""


@dataclass
class Tally:
    """What came of the tries of one subject."""

    counts: Counter[str] = field(default_factory=Counter)
    """Verdict -> tries."""
    texts: list[tuple[str, str]] = field(default_factory=list)
    """Verdict, and seed and reason, of each try."""
    memory_gb: float = 0.0
    """Most resident memory of a try."""

    def add(self, verdict: str, text: str, memory_gb: float) -> None:
        """Count a try."""
        self.counts[verdict] += 1
        self.texts.append((verdict, text))
        self.memory_gb = max(self.memory_gb, memory_gb)

    def failures(self, allowed: tuple[str, ...]) -> list[str]:
        """What must not be, in words."""
        bad = [v for v in VERDICTS[3:] if v not in allowed]
        found = [f'{verdict}: {text}' for verdict, text in self.texts if verdict in bad]
        if self.memory_gb > MEMORY_GB:
            found.append(f'{self.memory_gb:.2f} GB of memory')
        return found


def run(subject: Subject, tries: Iterable[int], seed: int = 0) -> Tally:
    """Read damaged copies of these numbers; equal for equal arguments.

    Raises:
        AssertionError: the good file is not read, or is warned of.
    """
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix='cs3_fuzz_') as scratch:
        folder = Path(scratch) / 'good'
        folder.mkdir()
        # Also the good file is made in a child: a fork of a process in which OpenCV or FFmpeg has
        # started its threads may wait for them for ever.
        made, _, _ = in_child(lambda: {'path': str(subject.make(folder))})
        good = Path(made['path'])
        expected, _, _ = in_child(lambda: _read(subject, good))
        if expected.get('verdict') != 'read' or expected['warned']:
            raise AssertionError(f'{subject.name}: the good file: {expected}')
        for number in tries:
            trial = Path(scratch) / 'trial'
            shutil.copytree(folder, trial)
            path = trial / good.relative_to(folder)
            target = subject.target(path)
            target.write_bytes(damage(target.read_bytes(), random.Random(f'{seed} {number}')))
            found, memory_gb, hung = in_child(lambda path=path: _read(subject, path))
            verdict, text = judge(found, expected, hung)
            tally.add(verdict, f'seed {seed}, try {number}: {text}', memory_gb)
            shutil.rmtree(trial)
    return tally


def damage(data: bytes, rng: random.Random) -> bytes:
    """Some bits flipped, or the end cut off."""
    if rng.random() < 0.25:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 4, 16))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def judge(found: dict[str, Any], expected: dict[str, Any], hung: bool) -> tuple[str, str]:
    """Verdict and its reason.

    Args:
        found: what the child answered; empty where it died.
        expected: what it answers of the good file.
        hung: whether it had to be killed.
    """
    if hung:
        return 'hang', f'no end after {SECONDS:g} s'
    verdict = found.get('verdict', 'died')
    if verdict == 'refused':
        return 'refused', found['text']
    if verdict != 'read':
        return 'escaped', found.get('text', 'the process died')
    if found['answer'] == expected['answer']:
        return 'same', ''
    if found['warned']:
        return 'told', found['warned']
    (counts, times, _), (good_counts, good_times, _) = found['answer'], expected['answer']
    if any(count < good for count, good in zip(counts, good_counts, strict=True)):
        return 'silent', f'{counts} frames and samples instead of {good_counts}'
    alike = (counts, times) == (good_counts, good_times)
    return ('changed', 'other content') if alike else ('moved', 'other times')


class _Warnings(logging.Handler):
    """Keeps what was warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def in_child(work: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], float, bool]:
    """What a function gave in a child, its memory in GB, and whether it had to be killed."""
    end, begin = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        try:
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what FFmpeg and libpng say
            answer = json.dumps(work()).encode()
            while answer:
                answer = answer[os.write(begin, answer) :]
        finally:
            os._exit(0)
    os.close(begin)
    deadline = time.monotonic() + SECONDS
    hung = False
    while True:
        pid, _, usage = os.wait4(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            hung = True
            break
        time.sleep(0.002)
    with os.fdopen(end) as pipe:  # at most some hundred bytes, so the pipe holds them
        text = pipe.read()
    return (json.loads(text) if text else {}), usage.ru_maxrss / 2**20, hung


def _read(subject: Subject, path: Path) -> dict[str, Any]:
    warnings = _Warnings()
    logging.getLogger('cs3_ros').addHandler(warnings)
    try:
        answer: Answer = subject.read(path)
    except (ValueError, OSError) as error:
        one_line = '\n' not in str(error).strip()
        return {'verdict': 'refused' if one_line else 'escaped', 'text': str(error)}
    except BaseException as error:
        return {'verdict': 'escaped', 'text': f'{type(error).__name__}: {error}'}
    return {'verdict': 'read', 'answer': list(answer), 'warned': '; '.join(warnings.texts)}


def table(tallies: Iterator[tuple[str, Tally]]) -> Iterator[str]:
    """Lines of a table, each as soon as its subject is done."""
    yield f'{"":22}' + ''.join(f'{name:>9}' for name in VERDICTS) + f'{"GB":>7}'
    for name, tally in tallies:
        cells = ''.join(f'{tally.counts[verdict]:9}' for verdict in VERDICTS)
        yield f'{name:22}{cells}{tally.memory_gb:7.2f}'
