"""Several processes that train together, as ``torchrun`` starts them; without it everything is one.

Every process sees its share of each batch; ``gather`` makes their losses those of the joint batch.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process in its group, 0 without one."""
    return dist.get_rank() if dist.is_initialized() else 0


def wait_for_all() -> None:
    """Go on when every process has come so far, such as after the first one wrote a file."""
    if dist.is_initialized():
        dist.barrier()


@contextlib.contextmanager
def process_group(gpu: bool) -> Iterator[None]:
    """The group of processes that torchrun started, each with its GPU; nothing without it.

    Args:
        gpu: whether they train on GPUs.
    """
    local_rank = os.environ.get('LOCAL_RANK')
    if local_rank is None:
        yield
        return
    if gpu:
        torch.cuda.set_device(int(local_rank))
    dist.init_process_group('nccl' if gpu else 'gloo')
    try:
        yield
    finally:
        dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    """Rows of all processes; the gradients that they get everywhere are summed.

    torch.distributed.nn.functional.all_gather (2.11, gloo) reads gradients that are not contiguous
    as if they were.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        ctx.rows = len(x)
        return torch.cat(parts)  # [B, ...] -> [A, ...]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[dist.get_rank() * ctx.rows :][: ctx.rows]  # [A, ...] -> [B, ...]


def gather(x: Tensor) -> Tensor:
    """Rows of all processes one after another, [B, ...] -> [A, ...]; gradients go back to each.

    Every process then computes the same joint loss; the gradients that arrive are summed over the
    processes, and DistributedDataParallel's mean over them makes it that of the joint loss.
    """
    return _Gather.apply(x.contiguous()) if dist.is_initialized() else x
