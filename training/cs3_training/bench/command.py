"""``cs3-train bench``: images per second of a training step, and segments per second of the
extraction. Heavy imports wait."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs3_ros.files.jsonfile import add_json
from cs3_training.options import add_device, add_threads, add_workers

if TYPE_CHECKING:
    from cs3_training.bench.throughput import Comparison

BATCH = 32
"""As CS3 trains; on a CPU the networks of full size get ``CPU_BATCH``."""
CPU_BATCH = 8
_WORDS = {'once': 'once', 'again': 'for every sound'}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        'bench',
        help='images per second of a training step, beside one that encodes a picture anew for '
        'every sound',
    )
    parser.add_argument(
        '--sizes', nargs='+', choices=('nano', 'full', 'tiny'), default=['nano', 'full'],
        metavar='SIZE',
        help='of the networks, with random weights: nano full (default both); tiny tries it out',
    )  # fmt: skip
    parser.add_argument(
        '--batch', type=int, metavar='B',
        help=f'pairs in a step (default {BATCH}; full size on a CPU {CPU_BATCH})',
    )  # fmt: skip
    parser.add_argument(
        '--columns', type=int, metavar='N',
        help='sounds that the pictures are decoded under at once (default: as in training)',
    )  # fmt: skip
    parser.add_argument(
        '--picture', type=int, metavar='PIXELS',
        help='side of the pictures that the networks see (default: their own, 256 and 352)',
    )  # fmt: skip
    parser.add_argument(
        '--recompute', action='store_true',
        help='both decode again for the gradients: less memory, more time',
    )  # fmt: skip
    parser.add_argument(
        '--steps', type=int, default=5, metavar='N', help='timed steps of each kind (default 5)'
    )
    add_device(parser)
    parser.add_argument(
        '--precision', choices=('auto', 'float32', 'bfloat16'), default='auto',
        help='of the networks; default: bfloat16 with CUDA, else float32',
    )  # fmt: skip
    add_threads(parser)
    add_json(parser, 'also write all figures here')
    others = parser.add_subparsers(dest='what', metavar='extract, loader')
    cutting = others.add_parser(
        'extract',
        help='instead: segments per second that cs3-train extract cuts, beside a plain loop',
    )
    cutting.add_argument(
        '--seconds', type=float, default=300.0, metavar='S',
        help='length of each of the two videos that are made for it (default 300)',
    )  # fmt: skip
    cutting.add_argument(
        '--height', type=int, default=1080, metavar='PIXELS', help='of the videos (default 1080)'
    )
    cutting.add_argument(
        '--gop', type=int, default=250, metavar='N',
        help='pictures from one keyframe to the next (default 250, as x264)',
    )  # fmt: skip
    add_workers(cutting, 'processes of the extraction')
    add_json(cutting, 'also write all figures here')
    loading = others.add_parser(
        'loader', help='instead: pairs per second that the loader gives a training step'
    )
    loading.add_argument(
        '--shards', type=Path, metavar='DIR',
        help='as cs3-train extract leaves them (default: of a video that is made for it)',
    )  # fmt: skip
    add_workers(loading, 'processes of the loader')
    loading.add_argument(
        '--batches', type=int, default=60, metavar='N', help='that are taken (default 60)'
    )
    loading.add_argument(
        '--pairs', type=int, default=BATCH, metavar='B', help=f'in a batch (default {BATCH})'
    )
    loading.add_argument(
        '--step-s', type=float, default=0.1, metavar='S',
        help='time of the step that is to be fed, seconds (default 0.1)',
    )  # fmt: skip
    add_json(loading, 'also write all figures here')


def run(options: argparse.Namespace) -> int:
    """Measure one size after the other, then print the table.

    Raises:
        ValueError: an option is out of its range, or as ``throughput.compare``.
    """
    if options.what == 'extract':
        return _run_extraction(options)
    if options.what == 'loader':
        return _run_loader(options)
    for name, least in (('steps', 1), ('batch', 2), ('columns', 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f'--{name} {value}: expected at least {least}')
    from cs3_ros.files.jsonfile import prepare_json, write_json
    from cs3_ros.runtime import Runtime, RuntimeConfig, machine_name
    from cs3_training.bench.throughput import SECONDS, compare

    prepare_json(options.json, options.force)
    runtime = Runtime(RuntimeConfig(options.device, options.precision, options.threads))
    if runtime.on_gpu:
        import torch

        torch.set_float32_matmul_precision('high')  # TF32, as the recipe
    found: list[Comparison] = []
    for size in dict.fromkeys(options.sizes):
        batch = options.batch or (BATCH if runtime.on_gpu or size != 'full' else CPU_BATCH)
        found.append(
            compare(
                size,
                batch,
                options.steps,
                runtime,
                options.columns,
                options.recompute,
                options.picture,
            )
        )
    facts = {
        'machine': machine_name(runtime.device),
        'precision': str(runtime.dtype).removeprefix('torch.'),
        'seconds': SECONDS,
        'steps': options.steps,
    }
    print(as_text(facts, found))
    write_json(options.json, {**facts, 'sizes': [asdict(comparison) for comparison in found]})
    return 0


def _run_extraction(options: argparse.Namespace) -> int:
    for name, least in (('seconds', 10), ('height', 64), ('gop', 1)):
        if getattr(options, name) < least:
            raise ValueError(f'--{name} {getattr(options, name)}: expected at least {least}')
    import torch

    from cs3_ros.files.jsonfile import prepare_json, write_json
    from cs3_ros.runtime import machine_name
    from cs3_training.bench.extraction import as_json, as_text, measure

    prepare_json(options.json, options.force)
    measured = measure(options.seconds, options.height, options.gop, options.workers)
    machine = machine_name(torch.device('cpu'))
    print(as_text(measured, machine))
    write_json(options.json, as_json(measured, machine))
    return 0


def _run_loader(options: argparse.Namespace) -> int:
    for name, least in (('batches', 1), ('pairs', 2), ('step_s', 1e-3)):
        if getattr(options, name) < least:
            option = name.replace('_', '-')
            raise ValueError(f'--{option} {getattr(options, name)}: expected at least {least}')
    import torch

    from cs3_ros.files.jsonfile import prepare_json, write_json
    from cs3_ros.runtime import machine_name
    from cs3_training.bench.loader import as_json, as_text, measure

    prepare_json(options.json, options.force)
    loaded = measure(
        options.shards, options.pairs, options.workers, options.batches, options.step_s
    )
    machine = machine_name(torch.device('cpu'))
    print(as_text(loaded, machine))
    write_json(options.json, as_json(loaded, machine))
    return 0


def as_text(facts: dict[str, Any], found: Sequence[Comparison]) -> str:
    """The table in Markdown, with what it was measured on."""
    lines = [
        f'{facts["machine"]}, {facts["precision"]}, random weights, {facts["seconds"]:g} s of '
        f'sound, median of {facts["steps"]} steps of each kind in turns',
        '',
        '| networks | batch B | picture is encoded | encodings in a step | images/s | s/step '
        '| peak GiB | loss |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for one in found:
        for kind, speed in one.speeds.items():
            lines.append(
                f'| {one.size} | {one.batch} | {_WORDS[kind]} | {speed.encodings} '
                f'| {speed.images_per_s:.3g} | {one.batch / speed.images_per_s:.3g} '
                f'| {speed.memory_gib:.2f} | {speed.loss:.5f} |'
            )
    for one in found:
        lines += [
            '',
            f'{one.size}: {one.ratio:.1f} x the images/s at B = {one.batch}, pictures of '
            f'{one.picture} x {one.picture}, '
            f'{one.million_parameters:.0f} million parameters, {one.columns} sounds decoded at '
            f'once, maps {"computed again for" if one.recompute else "kept for"} the gradients, '
            f'which differ by {one.gradient_difference:.1e} of their norm.',
        ]
    lines += ['', 'Encodings are B + B and B x B + B: every masked picture is encoded once more.']
    return '\n'.join(lines)
