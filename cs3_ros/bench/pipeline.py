"""Speed of any bundle with networks of full size, beside a plain composition of public packages.

``cs3 bench pipeline --bundle cs3 --random-weights`` needs no download: it writes random weights in
the official formats to a temporary folder and loads them as it would real ones. An event is a
random picture of which a part moves, a synthetic impact as long as the bundle asks for, and three
boxes: random detectors find nothing, so the detector runs and two fixed boxes take the place of
what it found; the localiser's is the third. ``prepare`` is what runs before the sound is there,
``finish`` what the user then waits for; each is timed until the device has nothing left to do.
``processor`` is the time that all threads of the CPU took for both: other work on the machine
disturbs it less. Decoding the picture and loading are not in it. The plain composition
(``cs3_ros.bench.naive``) answers every event after the pipeline, in the same process; it can do
nothing before the sound. A bundle with a ``verifier`` of its own answers every event by contact
alone, too, with the same networks.

Stage times: ``host`` is how long the pipeline's own call took, on CUDA mostly the time to launch;
``alone`` is a second pass that waits for the device before and after every stage. ``operations``
are the aten operations that a stage dispatches, ``kernels`` those of them that are no mere views:
on CUDA each is a launch or more.

``--accelerate none graphs compile both`` measures the same weights with what the parameters
``runtime.compile`` and ``runtime.cuda_graphs`` turn on, one after the other, and says whether heat
map and masks of an event stay what they were. ``--json`` is written after each.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cs3_ros.bench.pipeline_run import PipelineRun
from cs3_ros.bundles.bundle import Bundle, BundleError, load_bundle
from cs3_ros.files.jsonfile import add_json, prepare_json, write_json
from cs3_ros.runtime import Runtime, RuntimeConfig, machine_name

MASKERS = ('grabcut', 'edgetam', 'sam2')
SAM2_SIZES = ('tiny', 'small', 'base_plus', 'large')
ACCELERATIONS = ('none', 'graphs', 'compile', 'both')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``cs3 bench pipeline``."""
    add_network_arguments(parser)
    parser.add_argument('--events', type=int, default=20, help='events to measure')
    parser.add_argument('--masker', choices=MASKERS, help="this one in place of the bundle's")
    parser.add_argument(
        '--side', type=int, default=0, help='side of the square that SAM 2.1 sees, pixels'
    )
    parser.add_argument(
        '--no-naive', action='store_true', help='leave the plain composition of packages out'
    )
    parser.add_argument(
        '--accelerate',
        nargs='+',
        choices=ACCELERATIONS,
        default=['none'],
        help='measure with these, one after the other; the first is what others are compared with',
    )
    parser.add_argument(
        '--compiler',
        choices=('inductor', 'eager'),
        default='inductor',
        help='what compile and both set runtime.compile to',
    )
    parser.add_argument(
        '--profile', action='store_true', help='also count launches and waits of one event'
    )
    add_json(parser, 'also write all figures to this file')


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose the networks and what they run on."""
    parser.add_argument('--bundle', default='cs3', help='bundle name or .yaml path')
    parser.add_argument(
        '--device', default='auto', choices=('auto', 'cpu', 'cuda'), help='where networks run'
    )
    parser.add_argument(
        '--precision',
        default='auto',
        choices=('auto', 'float32', 'bfloat16', 'float16'),
        help='number format of the networks',
    )
    parser.add_argument(
        '--random-weights', action='store_true', help='no files of weights are needed'
    )
    parser.add_argument(
        '--sam2', default='base_plus', choices=SAM2_SIZES, help='size of the random SAM 2.1'
    )
    parser.add_argument(
        '--networks',
        default='full',
        choices=('full', 'tiny'),
        help='size of the random networks; tiny ones only try out the benchmark',
    )
    parser.add_argument('--size', default='1280x720', help='width x height of the picture, pixels')


@contextmanager
def weights_of(options: argparse.Namespace, bundle: Bundle) -> Iterator[None]:
    """Inside, the bundle finds what it loads: random weights where they were asked for."""
    if not options.random_weights:
        yield
        return
    from cs3_ros.bundles.random_weights import random_home

    log = logging.getLogger('cs3_ros')
    level = log.level
    log.setLevel(logging.ERROR)  # masks of random networks are odd, and would be told one by one
    try:
        with random_home(bundle, options.networks, options.sam2):
            yield
    finally:
        log.setLevel(level)


def main(options: argparse.Namespace) -> int:
    """Print the tables; 130 when interrupted, with what was measured so far."""
    width, height = picture_size(options.size)
    if options.events < 1:
        raise ValueError(f'--events {options.events}: expected at least 1')
    prepare_json(options.json, options.force)
    bundle = with_masker(load_bundle(options.bundle, as_written=options.random_weights), options)
    machine = Runtime(RuntimeConfig(options.device, options.precision))
    head = {
        'bundle': bundle.name,
        'machine': machine_name(machine.device),
        'precision': str(machine.dtype).removeprefix('torch.'),
        'networks': f'random, {options.networks}' if options.random_weights else 'own weights',
        'masker': masker_name(bundle, options),
        'size': options.size,
        'audio_s': bundle.audio_s,
    }
    found: list[dict[str, Any]] = []
    interrupted, reference = False, None
    with weights_of(options, bundle):
        for name in dict.fromkeys(options.accelerate):
            run = PipelineRun(bundle, machine.device, (width, height))
            try:
                run.build(_config(options, name))
            except BundleError as error:
                if not found:  # nothing to compare with
                    raise
                found.append({'accelerate': name, 'failed': str(error)})
                continue
            try:
                run.measure(options.events, not (options.no_naive or found))
            except KeyboardInterrupt:
                interrupted = True
                print('interrupted: what was measured so far')
            reference = reference or run
            found.append({'accelerate': name, **run.result(reference)})
            write_json(options.json, {**head, **found[0], 'variants': found})
            if interrupted:
                break
            if options.profile:
                found[-1]['profile'] = run.profile()
            run.free()
    result = {**head, **found[0], 'variants': found}
    _report(result)
    write_json(options.json, result)
    return 130 if interrupted else 0


def with_masker(bundle: Bundle, options: argparse.Namespace) -> Bundle:
    """The bundle with the masker that the options name."""
    masker = {
        None: dict(bundle.stages['masker']),
        'grabcut': {'type': 'grabcut'},
        'edgetam': {'type': 'edgetam', 'model': 'edgetam'},
        'sam2': {
            'type': 'sam2',
            'checkpoint': 'sam2/sam2.1_hiera_'
            # random ones all have the name that our bundles give
            f'{"base_plus" if options.random_weights else options.sam2}.pt',
        },
    }[options.masker]
    if options.side:
        if masker['type'] != 'sam2':
            raise ValueError(
                f'--side {options.side}: expected the masker sam2, not {masker["type"]}'
            )
        masker['side'] = options.side
    return bundle.with_stage('masker', masker) if options.masker or options.side else bundle


def masker_name(bundle: Bundle, options: argparse.Namespace) -> str:
    """Type, size and side of its masker, as far as they are known."""
    masker = bundle.stages['masker']
    parts = [str(masker['type'])]
    if masker['type'] == 'sam2':
        parts += [
            options.sam2 if options.random_weights else f'({Path(masker["checkpoint"]).name})'
        ]
        parts += [f'at {masker["side"]} pixels'] if masker.get('side') else []
    return ' '.join(parts)


def _config(options: argparse.Namespace, name: str) -> RuntimeConfig:
    """What one of ``ACCELERATIONS`` turns on."""
    return RuntimeConfig(
        options.device,
        options.precision,
        compile=options.compiler if name in ('compile', 'both') else 'none',
        cuda_graphs=name in ('graphs', 'both'),
    )


def picture_size(text: str) -> tuple[int, int]:
    """Width and height from the text of ``--size``."""
    width, _, height = text.partition('x')
    if not (width.isdecimal() and height.isdecimal() and int(width) >= 64 and int(height) >= 64):
        raise ValueError(f'--size {text}: expected WIDTHxHEIGHT of at least 64, like 1280x720')
    return int(width), int(height)


def _report(result: dict[str, Any]) -> None:
    """The tables in Markdown."""
    times = result['milliseconds']
    print(
        f'\n{result["bundle"]} ({result["networks"]}; masks by {result["masker"]}) on '
        f'{result["machine"]}, {result["precision"]}, {result["size"]}, '
        f'{result["audio_s"]:g} s of sound, 3 boxes, {result["events"]} events\n'
    )
    print('| ms | p50 | p95 |\n|---|---|---|')
    titles = ('ours', ''), ('contact', 'by contact alone: '), ('naive', 'plain composition: ')
    for kind, title in titles:
        for name, row in times[kind].items():
            print(f'| {title}{name} | {row["p50"]:.1f} | {row["p95"]:.1f} |')
    print('\n| stage | host p50 | host p95 | alone p50 | alone p95 | operations | kernels |')
    print('|---|---|---|---|---|---|---|')
    for stage, host in times['host'].items():
        alone = times['alone'].get(stage)
        counts = result['operations'].get(stage)
        cells = [f'{host["p50"]:.1f}', f'{host["p95"]:.1f}']
        cells += [f'{alone["p50"]:.1f}', f'{alone["p95"]:.1f}'] if alone else ['', '']
        cells += [f'{counts["operations"]}', f'{counts["kernels"]}'] if counts else ['', '']
        print(f'| {stage} | {" | ".join(cells)} |')
    if len(result['variants']) > 1 or 'profile' in result['variants'][0]:
        print(variants_table(result['variants']))
    memory = ', '.join(f'{when} {gib:.2f} GiB' for when, gib in result['peak_memory_gib'].items())
    print(f'\npeak memory: {memory}')
    if (ratio := result['ratio']) is not None:
        print(
            f'plain composition / ours, p50: {ratio["both"]:.1f} x (prepare and finish), '
            f'{ratio["finish"]:.1f} x (wait after the sound)'
        )
    else:
        print(f'no plain composition: {", ".join(result["naive_lacks"])}')


def variants_table(variants: Sequence[dict[str, Any]]) -> str:
    """What ``--accelerate`` and ``--profile`` found, side by side, in Markdown."""
    lines = [
        '',
        '| accelerate | prepare ms | finish ms | x finish | built in s | least IoU | greatest heat '
        'difference | not accelerated | launches, prepare | launches, finish | waits, finish |',
        f'|{"---|" * 11}',
    ]
    for one in variants:
        if 'failed' in one:
            lines.append(f'| {one["accelerate"]} | {one["failed"]} {"|" * 10}')
            continue
        times, alike = one['milliseconds']['ours'], one['agreement']
        cells = [
            f'{times["prepare"]["p50"]:.1f}',
            f'{times["finish"]["p50"]:.1f}',
            f'{one["speedup"]["finish"]:.2f}',
            f'{one["build_s"]:.1f}',
            f'{alike["least_mask_iou"]:.3f}',
            f'{alike["greatest_heat_difference"]:.4f}',
            f'{one["not_accelerated"]}',
        ]
        profile = one.get('profile')
        cells += (
            [_launches(profile['prepare']), _launches(profile['finish'])]
            + [f'{profile["finish"]["waits"]}']
            if profile
            else [''] * 3
        )
        lines.append(f'| {one["accelerate"]} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def _launches(half: dict[str, Any]) -> str:
    graphs = half['graph_launches']
    return f'{half["launches"]}' + (f' + {graphs} graphs' if graphs else '')
