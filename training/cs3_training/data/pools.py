"""Who makes the shards: this process, several of this machine, or a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.connection import wait
from typing import Any

from cs3_ros.files.atomic import clear_parts
from cs3_training.data.cutting import make_shard
from cs3_training.data.jobs import SETTINGS, Job


def made(left: Sequence[Job], workers: int) -> Iterator[Job]:
    """Jobs as they are done, in any order."""
    workers = min(workers, len(left))
    if workers <= 1:
        for job in left:
            make_shard(job)
            yield job
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), _end_with_parent)
    try:
        doing = {pool.submit(make_shard, job): job for job in left}
        for done in as_completed(doing):
            done.result()
            yield doing[done]
    except BaseException:  # a shard takes minutes: nobody waits for it who wants to end
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        clear_parts(left[0].folder)


def _end_with_parent() -> None:
    """End this process when the one that made it is killed; nobody would take what it makes."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    logging.getLogger('cs3_ros').setLevel(logging.ERROR)  # the report has what was lost


def made_on_ray(left: Sequence[Job], address: str, workers: int) -> Iterator[Job]:
    """Jobs as a Ray cluster does them, in any order; what a lost machine had is done by another.

    Every machine sees the folders of the videos and of the shards under the same names.

    Args:
        left: the jobs.
        address: of the cluster, ``auto`` for the one of this machine, ``local`` for one that is
            started here and ends with this.
        workers: CPUs of a ``local`` one.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ConnectionError: there is no such cluster.
        FileNotFoundError: a machine does not see a folder or a video.
    """
    import ray

    if not left:
        return
    started: dict[str, Any] = {'num_cpus': workers, 'include_dashboard': False}
    ray.init(
        address,
        log_to_driver=False,
        logging_level=logging.ERROR,
        **(started if address == 'local' else {}),
    )
    try:
        # a shard is the same however often it is begun
        remote = ray.remote(num_cpus=1, max_retries=-1)(_make_shard_there)
        doing = {remote.remote(job): job for job in left}
        while doing:
            (done, *_), _ = ray.wait(list(doing))
            try:
                ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            yield doing.pop(done)
    finally:
        ray.shutdown()
        clear_parts(left[0].folder)


def _make_shard_there(job: Job) -> None:
    """Make a shard on a machine of a cluster, if it sees what the others see."""
    for path in (job.folder / SETTINGS, *job.videos.values()):
        if not path.is_file():
            raise FileNotFoundError(
                f'{path}: not there on {os.uname().nodename}: every machine of the cluster needs '
                'the folders of --videos and --out under the same names'
            )
    logging.getLogger('cs3_ros').setLevel(logging.ERROR)  # the report has what was lost
    make_shard(job)
