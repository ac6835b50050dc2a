"""``cs3-train evaluate``: the paper's tables for a bundle, on a manifest or on synthetic scenes."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from cs3_ros.files.jsonfile import add_json
from cs3_training.options import add_device, add_workers, positive

RESULTS = 'results.jsonl'
"""In the folder of a report: scores of each scene, kept for the next run."""
FEW = 30
"""So many frames are printed one by one."""
TOLD = 5
"""So many frames that were left out are printed; the report has all."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        'evaluate',
        help='score a bundle and its variants on annotated frames, or on held-out synthetic scenes',
    )
    parser.add_argument(
        '--bundle', required=True, metavar='BUNDLE', help='name of a bundle or path of its YAML'
    )
    parser.add_argument(
        '--data', type=Path, metavar='MANIFEST',
        help='annotated frames of videos, as cs3-train manifest and cs3-train annotate write them '
        '(default: scenes of the synthetic world)',
    )  # fmt: skip
    parser.add_argument(
        '--hands', type=Path, metavar='FILE',
        help='hands that cs3-train hands found in MANIFEST; the detector of the bundle stays idle',
    )  # fmt: skip
    parser.add_argument(
        '--predictions', type=_named_folder, action='append', default=[], metavar='NAME=DIR',
        help='a further row: masks of another method in DIR, ID_1.png and ID_2.png or the like; '
        'may be given again',
    )  # fmt: skip
    parser.add_argument(
        '--paper', choices=('epic', 'ego4d'),
        help='whose published figures stand beside (default: as MANIFEST says)',
    )  # fmt: skip
    parser.add_argument(
        '--scenes', type=positive, metavar='N',
        help='how many (default 2000; of MANIFEST all its frames)',
    )  # fmt: skip
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
        '--gate', choices=('orderings', 'acceptance', 'sanity'),
        help='exit with 1 where rows are not in their order, not as good as they have to be, or '
        "Centre is not the paper's",
    )  # fmt: skip
    add_workers(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate; 1 where the gate stays shut."""
    from cs3_ros.files.jsonfile import prepare_json, write_json
    from cs3_ros.files.output_folder import OutputFolder
    from cs3_training.data.manifest import read_manifest
    from cs3_training.evaluation.paper import PUBLISHED, PaperSet
    from cs3_training.evaluation.report import write_curve, write_report
    from cs3_training.evaluation.rows import LeftOut, Result
    from cs3_training.evaluation.runner import Job, outcomes
    from cs3_training.evaluation.tables import GATES, as_json, rows_as_json, tabulate
    from cs3_training.evaluation.text import as_paper_text, as_text, each_as_text

    if (options.hands or options.predictions or options.paper) and not options.data:
        raise ValueError('--hands, --predictions and --paper: expected --data MANIFEST beside them')
    if options.waits and options.data:
        raise ValueError('--waits: expected scenes of the synthetic world, without --data')
    prepare_json(options.json, options.force)
    path, scenes = options.results, options.scenes or 2000
    paper: PaperSet | None = options.paper
    if options.data:
        frames = read_manifest(options.data)
        data_sets = {frame.dataset for frame in frames}
        paper = paper or next((name for name in PUBLISHED if data_sets == {name}), None)
        scenes = min(options.scenes or len(frames), len(frames))
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
        job = Job(
            options.bundle,
            options.split,
            options.device,
            data=str(options.data or ''),
            hands=str(options.hands or ''),
            predictions=tuple(options.predictions),
            waits=tuple(sorted(set(options.waits))),
        )
        found = outcomes(job, scenes, options.workers, path)
        results = [each for each in found if isinstance(each, Result)]
        left_out = [each for each in found if isinstance(each, LeftOut)]
        for each in left_out[:TOLD]:
            print(f'left out: {each.id}: {each.reason}')
        if len(left_out) > TOLD:
            print(f'and {len(left_out) - TOLD} more')
        if not results:
            raise ValueError(f'{options.data}: not one of {scenes} frames could be scored')
        tables = tabulate(results, paper)
        if options.data:
            print(f'bundle {options.bundle}, {len(results)} of {scenes} frames of {options.data}')
            print(as_paper_text(tables), end='\n\n')
            if len(results) <= FEW:
                print(each_as_text(results), end='\n\n')
        else:
            print(
                f'bundle {options.bundle}, {len(results)} synthetic scenes, split {options.split}'
            )
        print(as_text(tables))
        write_json(options.json, rows_as_json(tables))
        if output is not None:
            with output.replacing('summary.json') as part:
                write_json(part, as_json(tables) | {'left_out': [asdict(e) for e in left_out]})
            if tables.waits:
                with output.replacing('waits.svg') as part:
                    write_curve(part, tables.waits)
            with output.replacing('report.html') as part:
                write_report(part, job, results, tables, left_out=left_out)
            print(options.report / 'report.html')
    # what the paper printed of Centre is told without being asked for
    gate = options.gate or ('sanity' if tables.paper else None)
    if gate is None:
        return 0
    checks = GATES[gate](tables)
    print()
    for check in checks:
        print(f'{check.what:45}{check.found:28}{"ok" if check.good else "NOT OK"}')
    return 1 if options.gate and not all(check.good for check in checks) else 0


def _named_folder(text: str) -> tuple[str, str]:
    name, sign, folder = text.partition('=')
    if not (name.strip() and sign and folder):
        raise argparse.ArgumentTypeError(f'{text}: expected NAME=DIR')
    return name.strip(), folder


def _seconds(text: str) -> float:
    from cs3_ros.trigger.assembler import SHORTEST_S

    value = float(text)
    if not SHORTEST_S <= value <= 10:
        raise argparse.ArgumentTypeError(f'{text}: expected {SHORTEST_S:g} to 10 seconds')
    return value
