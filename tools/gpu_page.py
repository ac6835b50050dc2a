"""The page of ``gpu.py``: what its JSON holds, as tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def page(data: dict[str, Any]) -> str:
    """Everything that is known, whatever is missing.

    Args:
        data: as ``gpu.json`` has it, at any moment of the run.
    """
    machine = data['machine']
    versions = ', '.join(f'{name} {v}' for name, v in machine.get('versions', {}).items())
    gpu = machine.get('gpu') or 'no GPU'
    memory = f', {machine["gpu_gib"]} GiB' if 'gpu_gib' in machine else ''
    lines = [
        '# GPU in one call' + (': dry run on the CPU, tiny networks' if data['dry'] else ''),
        '',
        f'{gpu}{memory}, driver {machine.get("driver", "none")}, CUDA {machine.get("cuda")}, '
        f'{machine.get("cores")} cores; Python {machine.get("python")}, {versions}.',
        f'Commit {data["commit"]}, {data["started"]}, {data["seconds"]} s.',
        '',
        *_table(
            ('step', 'status', 's', 'exit', 'why'),
            (
                (
                    one['title'],
                    one['status'],
                    one.get('seconds', ''),
                    one.get('exit', ''),
                    one.get('reason') or (one['status'] in ('failed', 'timed out') and _last(one)),
                )
                for one in data['steps'].values()
            ),
        ),
    ]
    results = {name: one.get('result') for name, one in data['steps'].items()}
    events = {name: found for name, found in results.items() if _has(found, 'variants')}
    lines += _events({k: found for k, found in events.items() if k.startswith('pipeline')})
    lines += _naive(events.get('naive'))
    lines += _profile([one for found in events.values() for one in found['variants']])
    lines += _trainer(results.get('trainer'))
    lines += _tests(results.get('tests'))
    return '\n'.join(lines) + '\n'


def _events(found: dict[str, Any]) -> list[str]:
    """Every size of SAM 2 with and without what makes it faster."""
    if not found:
        return []
    rows, failed = [], []
    for result in found.values():
        for one in result['variants']:
            if 'failed' in one:
                failed.append(f'{result["masker"]}, {one["accelerate"]}: {one["failed"]}')
                continue
            times, alike = one['milliseconds']['ours'], one['agreement']
            rows.append(
                (
                    result['masker'],
                    one['accelerate'],
                    *(f'{times[half][p]:.2f}' for half in ('prepare', 'finish') for p in _P),
                    f'{one["speedup"]["prepare"]:.2f}',
                    f'{one["speedup"]["finish"]:.2f}',
                    f'{one["build_s"]:.0f}',
                    f'{one["peak_memory_gib"]["ours"]:.2f}',
                    f'{alike["least_mask_iou"]:.3f}',
                    one['not_accelerated'],
                )
            )
    first = next(iter(found.values()))
    head = ('masker', 'accelerate', 'prepare p50 ms', 'p95', 'finish p50 ms', 'p95')
    head += ('x prepare', 'x finish', 'built in s', 'GiB', 'least IoU', 'not accelerated')
    return [
        '',
        '## Events',
        '',
        f'{first["networks"]}, {first["size"]}, {first["precision"]}, {first["audio_s"]:g} s of '
        f'sound, 3 boxes; x and IoU: beside the first line of each size.',
        '',
        *_table(head, rows),
        *(['', *failed] if failed else []),
    ]


def _naive(found: Any) -> list[str]:
    """The same events by a plain composition of the packages."""
    if found is None:
        return []
    ratio = found['ratio']
    told = (
        f'{ratio["both"]:.1f} x the time in all, {ratio["finish"]:.1f} x the wait after the sound.'
        if ratio
        else f'None: {", ".join(found["naive_lacks"])}.'
    )
    return ['', '## Plain composition of the packages', '', told]


_P = ('p50', 'p95')


def _profile(variants: list[dict[str, Any]]) -> list[str]:
    keys = ('launches', 'graph_launches', 'kernels', 'waits', 'copies_to_host', 'device_ms')
    rows = [
        (one['accelerate'], half, *(_number(one['profile'][half][key]) for key in keys))
        for one in variants
        for half in ('prepare', 'finish')
        if 'profile' in one
    ]
    head = ('accelerate', 'half', *(key.replace('_', ' ') for key in keys))
    return ['', '## Launches and waits of one event', '', *_table(head, rows)] if rows else []


def _trainer(found: Any) -> list[str]:
    if not _has(found, 'sizes'):
        return []
    rows = [
        (
            one['size'],
            one['batch'],
            kind,
            f'{speed["images_per_s"]:.1f}',
            f'{speed["memory_gib"]:.2f}',
            f'{one["ratio"]:.1f}' if kind == 'once' else '',
        )
        for one in found['sizes']
        for kind, speed in one['speeds'].items()
    ]
    head = ('networks', 'batch', 'a picture is encoded', 'images/s', 'GiB', 'x')
    return ['', '## Training steps', '', found['precision'] + '.', '', *_table(head, rows)]


def _tests(found: Any) -> list[str]:
    if not _has(found, 'passed'):
        return []
    counts = ', '.join(f'{len(names)} {kind}' for kind, names in found.items())
    told = [
        f'- {kind}: {one["name"]}: {one["message"].splitlines()[0]}'
        for kind in ('failed', 'skipped')
        for one in found[kind]
    ]
    return ['', '## Tests', '', counts + '.', *(['', *told] if told else [])]


def _table(head: tuple[Any, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    texts = [' | '.join(_cell(cell) for cell in row) for row in (head, *rows)]
    return [f'| {texts[0]} |', f'|{"---|" * len(head)}', *(f'| {text} |' for text in texts[1:])]


def _cell(value: Any) -> str:
    return (
        str('' if value is None or value is False else value).replace('|', '/').replace('\n', ' ')
    )


def _number(value: float) -> str:
    return f'{value:.2f}' if isinstance(value, float) else str(value)


def _last(one: dict[str, Any]) -> str:
    return next((line for line in reversed(one.get('tail', [])) if line.strip()), '')


def _has(found: Any, key: str) -> bool:
    return isinstance(found, dict) and key in found
