"""``cs3-train hands``: labels, training and detections of hands. Heavy imports wait."""

from __future__ import annotations

import argparse
from pathlib import Path

from cs3_ros.files.output_folder import add_force, claim
from cs3_training.options import add_device, add_threads

TOLD = 5
"""So many of a list are printed."""
START = 'rtdetr_v2_r50vd'
"""Folder of RT-DETRv2 trained on COCO."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        'hands', help='train the detector of hands and held objects, or run one beforehand'
    )
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    convert = actions.add_parser(
        'convert', help='labels of VISOR, Hands23 or EgoHOS as the detection set of four labels'
    )
    convert.add_argument('source', choices=('visor', 'hands23', 'egohos'), help='whose labels')
    convert.add_argument(
        '--labels', type=Path, required=True, metavar='DIR',
        help='JSON files of VISOR, text files of Hands23 (allMergedTxt) or pictures of EgoHOS',
    )  # fmt: skip
    convert.add_argument(
        '--pictures', type=Path, required=True, metavar='DIR', help='the labelled pictures'
    )
    convert.add_argument(
        '--names', type=Path, metavar='FILE',
        help='take only the pictures that this text file names, one a line (a split of Hands23)',
    )  # fmt: skip
    convert.add_argument(
        '--out', type=Path, required=True, metavar='FILE', help='JSON lines, replaced if there'
    )
    fit = actions.add_parser('fit', help='fine-tune RT-DETRv2; goes on if cut off')
    fit.add_argument(
        '--out', type=Path, required=True, metavar='DIR',
        help='folder of the run, and in the end the one that a bundle names: '
        'hands: {type: detr, model: DIR}',
    )  # fmt: skip
    fit.add_argument(
        '--labels', type=Path, required=True, nargs='+', metavar='FILE', help='to learn from'
    )
    fit.add_argument(
        '--validation', type=Path, nargs='+', metavar='FILE',
        help='others, which choose the checkpoint and the thresholds (default: the last is kept)',
    )  # fmt: skip
    fit.add_argument(
        '--start', type=Path, default=Path(START), metavar='DIR',
        help=f'RT-DETRv2 or D-FINE trained on COCO, in transformers format (default {START})',
    )  # fmt: skip
    fit.add_argument('--settings', type=Path, metavar='YAML', help='settings that differ')
    add_device(fit)
    add_threads(fit)
    add_force(fit, replaces=False)
    detect = actions.add_parser(
        'detect', help='find the hands on the frames of a manifest, for cs3-train evaluate --hands'
    )
    detect.add_argument('--data', type=Path, required=True, metavar='MANIFEST', help='which frames')
    found = detect.add_mutually_exclusive_group(required=True)
    found.add_argument('--bundle', metavar='BUNDLE', help='whose detector looks')
    found.add_argument(
        '--hands23', type=Path, metavar='JSON',
        help='take what the demo of Hands23 found on the pictures of cs3-train manifest pictures',
    )  # fmt: skip
    detect.add_argument('--out', type=Path, required=True, metavar='FILE', help='JSON lines')
    add_device(detect)


def run(options: argparse.Namespace) -> int:
    """Do what is asked for."""
    return {'convert': _convert, 'fit': _fit, 'detect': _detect}[options.action](options)


def _convert(options: argparse.Namespace) -> int:
    from collections import Counter

    from cs3_training.hands import convert
    from cs3_training.hands.labels import write_labels

    convert_from = {
        'visor': convert.from_visor,
        'hands23': convert.from_hands23,
        'egohos': convert.from_egohos,
    }[options.source]
    made = convert_from(options.labels, options.pictures)
    pictures = made.pictures
    if options.names:
        names = set(options.names.read_text('utf-8').split())
        pictures = [each for each in pictures if each.picture.name in names]
    write_labels(options.out, pictures)
    counts = Counter(label for each in pictures for label, _ in each.boxes)
    print(f'{len(pictures)} pictures in {options.out}')
    print(', '.join(f'{label}: {counts[label]}' for label in sorted(counts)) or 'no boxes')
    if made.missing:
        print(f'{len(made.missing)} pictures are not there: {", ".join(made.missing[:TOLD])}')
    return 0


def _fit(options: argparse.Namespace) -> int:
    from cs3_ros.bundles.weights import digest_of
    from cs3_ros.runtime import Runtime, RuntimeConfig
    from cs3_training.hands.fit import CHECKPOINT, FitConfig, HandsFit, begin_with, load_fit_config
    from cs3_training.hands.labels import LabelledPicture, read_labels
    from cs3_training.processes import process_group, rank

    def read(paths: list[Path]) -> list[LabelledPicture]:
        pictures = [each for path in paths for each in read_labels(path)]
        there = [each for each in pictures if each.picture.is_file()]
        if not there:
            raise ValueError(f'{paths[0]}: not one of its {len(pictures)} pictures is there')
        if rank() == 0 and len(there) < len(pictures):
            print(f'{len(pictures) - len(there)} of {len(pictures)} pictures are not there')
        return there

    runtime = Runtime(RuntimeConfig(options.device, 'float32', options.threads))
    with process_group(runtime.on_gpu):
        config = load_fit_config(options.settings) if options.settings else FitConfig()
        pictures = read(options.labels)
        validation = read(options.validation) if options.validation else None
        if validation and {each.picture.resolve() for each in pictures} & {
            each.picture.resolve() for each in validation
        }:
            raise ValueError('--validation holds pictures of --labels: expected others')
        network = begin_with(options.start, config.seed).to(runtime.device)
        about = {
            'start': digest_of(options.start / CHECKPOINT),
            'data': ' '.join(digest_of(path) for path in options.labels),
            'validation_data': ' '.join(digest_of(path) for path in options.validation or ()),
        }
        if rank() == 0 and not (options.out / 'state.pt').exists():  # which is checked on its own
            claim(options.out, 'hands fit', force=options.force)
        fit = HandsFit(network, options.start, pictures, validation, config, options.out, about)
        fit.run()
        if rank() == 0:
            for name, figure in fit.told.items():
                print(f'{name:24}{figure:6.3f}')
            print(options.out / CHECKPOINT)
    return 0


def _detect(options: argparse.Namespace) -> int:
    from cs3_training.data.detections import write_detections
    from cs3_training.hands.detect import Detector, from_hands23

    if options.bundle:
        detector = Detector(options.data, options.bundle, options.device)
        count = write_detections(options.out, options.bundle, False, detector.found())
        left_out = detector.left_out
    else:
        found, left_out = from_hands23(options.hands23, options.data)
        count = write_detections(options.out, 'hands23', True, found.items())
    print(f'hands of {count} frames in {options.out}')
    for line in left_out[:TOLD]:
        print(f'left out: {line}')
    if len(left_out) > TOLD:
        print(f'and {len(left_out) - TOLD} more')
    return 0 if count else 1
