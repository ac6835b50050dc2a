"""``cs3-train evaluate``: the paper's tables for a bundle, on scenes that nobody trained on."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from pathlib import Path

from cs3_ros.files.jsonfile import add_json

RESULTS = 'results.jsonl'
"""In the folder of a report: scores of each scene, kept for the next run."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        'evaluate', help='score a bundle and its variants on held-out scenes'
    )
    parser.add_argument(
        '--bundle', required=True, metavar='BUNDLE', help='name of a bundle or path of its YAML'
    )
    parser.add_argument(
        '--scenes', type=_count, default=2000, metavar='N', help='how many (default 2000)'
    )
    parser.add_argument(
        '--split', choices=('test', 'validation'), default='test',
        help='whose seeds (default test); neither is used in training, but checkpoint and '
        'thresholds of nano were chosen on the first 400 of validation',
    )  # fmt: skip
    parser.add_argument(
        '--waits', nargs='+', type=_seconds, default=(), metavar='S',
        help='also score AV and Full with so many seconds of sound after the onset, print the '
        'curve and draw it into waits.svg of --report, such as 0.1 0.15 0.25 0.5 1.0 '
        "(all other rows: the bundle's own)",
    )  # fmt: skip
    add_json(
        parser,
        'write {row: {miou, auc, ci, n, over}} here, in percent; the curve of --waits as waits',
    )
    parser.add_argument(
        '--report', type=Path, metavar='DIR',
        help='write report.html with pictures and summary.json into this folder',
    )  # fmt: skip
    parser.add_argument(
        '--results', type=Path, metavar='FILE',
        help='scores of each scene as JSON lines; a run that was ended goes on from there '
        '(default DIR/results.jsonl of --report, else none)',
    )  # fmt: skip
    parser.add_argument(
        '--gate', choices=('orderings', 'acceptance'),
        help='exit with 1 where rows are not in their order, or not as good as they have to be',
    )  # fmt: skip
    parser.add_argument(
        '--workers', type=_count, default=len(os.sched_getaffinity(0)), metavar='N',
        help='processes, each with one thread (default: one for each core)',
    )  # fmt: skip
    parser.add_argument(
        '--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='of the networks'
    )


def run(options: argparse.Namespace) -> int:
    """Evaluate; 1 where the gate stays shut."""
    from cs3_ros.files.jsonfile import prepare_json, write_json
    from cs3_ros.files.output_folder import OutputFolder
    from cs3_training.evaluation.report import write_curve, write_report
    from cs3_training.evaluation.runner import Job, run
    from cs3_training.evaluation.tables import GATES, as_json, as_text, rows_as_json, tabulate

    prepare_json(options.json, options.force)
    path = options.results
    with ExitStack() as stack:
        output = None
        if options.report:
            path = path or options.report / RESULTS
            names = (r'report\.html', r'summary\.json', r'waits\.svg')
            output = stack.enter_context(
                OutputFolder(
                    options.report, 'evaluate', names, force=options.force, kept=(RESULTS,)
                )
            )
        waits = tuple(sorted(set(options.waits)))
        job = Job(options.bundle, options.split, options.device, waits=waits)
        results = run(job, options.scenes, options.workers, path)
        tables = tabulate(results)
        print(f'bundle {options.bundle}, {len(results)} synthetic scenes, split {options.split}')
        print(as_text(tables))
        write_json(options.json, rows_as_json(tables))
        if output is not None:
            with output.replacing('summary.json') as part:
                write_json(part, as_json(tables))
            if tables.waits:
                with output.replacing('waits.svg') as part:
                    write_curve(part, tables.waits)
            with output.replacing('report.html') as part:
                write_report(part, job, results, tables)
            print(options.report / 'report.html')
    if not options.gate:
        return 0
    checks = GATES[options.gate](tables)
    print()
    for check in checks:
        print(f'{check.what:45}{check.found:28}{"ok" if check.good else "NOT OK"}')
    return 0 if all(check.good for check in checks) else 1


def _seconds(text: str) -> float:
    from cs3_ros.trigger.assembler import SHORTEST_S

    value = float(text)
    if not SHORTEST_S <= value <= 10:
        raise argparse.ArgumentTypeError(f'{text}: expected {SHORTEST_S:g} to 10 seconds')
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text}: expected 1 or more')
    return value
