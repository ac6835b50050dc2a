"""``cs3-train curate``: candidates in new video, and the head that tells collisions from others."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cs3_ros.files.output_folder import add_force, claim
from cs3_training.options import add_device, add_workers

CLAP = 'clap-htsat-unfused'
BEATS = 'beats/BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt'
"""What ``cs3 fetch zero_shot`` and ``cs3 fetch cs3`` bring, below the home folder."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and what it does."""
    parser = commands.add_parser('curate', help='find collisions in unlabelled video')
    what = parser.add_subparsers(dest='what', required=True, metavar='WHAT')
    one = what.add_parser(
        'candidates', help='windows of 3 s in which something collides, by the sound; goes on'
    )
    one.add_argument(
        '--videos', type=Path, required=True, metavar='DIR', help='folder, searched with all below'
    )
    one.add_argument(
        '--out', type=Path, required=True, metavar='DIR',
        help='folder for train.csv, val.csv, report.json and the account of each video',
    )  # fmt: skip
    one.add_argument(
        '--narrations', type=Path, metavar='FILE',
        help='look where people wrote that something happens: TSV of Ego4DSounds, CSV of '
        'EPIC-KITCHENS-100 or narration.json of Ego4D (default: the onset detector looks)',
    )  # fmt: skip
    one.add_argument(
        '--metadata', type=Path, metavar='FILE',
        help='ego4d.json: videos of social scenarios are left out',
    )  # fmt: skip
    one.add_argument(
        '--head', type=Path, metavar='FILE',
        help='head.safetensors of curate head (default: CLAP, zero-shot)',
    )  # fmt: skip
    one.add_argument(
        '--clap', default=CLAP, metavar='DIR',
        help=f'CLAP, beside or in CS3_HOME (default {CLAP}, of cs3 fetch zero_shot)',
    )  # fmt: skip
    one.add_argument(
        '--set', action='append', default=[], metavar='NAME=VALUE',
        help='a setting of what is a candidate: minimum_rms_dbfs, apart_s, or onset.NAME of the '
        'onset detector',
    )  # fmt: skip
    one.add_argument(
        '--validation', type=float, default=0.1, metavar='SHARE',
        help='share of the videos that go into val.csv (default 0.1)',
    )  # fmt: skip
    add_workers(one, 'threads that listen')
    other = what.add_parser('head', help='train the classes of EPIC-SOUNDS on BEATs; goes on')
    other.add_argument(
        '--out', type=Path, required=True, metavar='DIR',
        help='folder of the run; DIR/head.safetensors will be the checkpoint',
    )  # fmt: skip
    other.add_argument(
        '--shards', type=Path, required=True, metavar='DIR',
        help='of extract epic with EPIC_Sounds_train.csv',
    )  # fmt: skip
    other.add_argument(
        '--validation', type=Path, metavar='DIR',
        help='of EPIC_Sounds_validation.csv; chooses the checkpoint (default: the last one)',
    )  # fmt: skip
    other.add_argument(
        '--beats', default=BEATS, metavar='FILE',
        help=f'BEATs, beside or in CS3_HOME (default {BEATS}, of cs3 fetch cs3)',
    )  # fmt: skip
    other.add_argument(
        '--settings', type=Path, metavar='YAML', help='settings of HeadConfig that differ'
    )
    for each in (one, other):
        add_device(each)
        add_force(each, replaces=False)


def run(options: argparse.Namespace) -> int:
    """Do what is asked for; 0 when it is done, 1 where nothing was found."""
    return candidates(options) if options.what == 'candidates' else head(options)


def candidates(options: argparse.Namespace) -> int:
    """``curate candidates``."""
    if not 0 <= options.validation <= 1:
        raise ValueError(f'--validation {options.validation}: expected 0 to 1')
    from cs3_ros.bundles.weights import digest_of, locate
    from cs3_ros.runtime import Runtime, RuntimeConfig
    from cs3_training.curate.classifiers import ClapClassifier, Classifier, HeadClassifier
    from cs3_training.curate.gathering import REPORT, Task, gather
    from cs3_training.curate.narrations import Narration, read_narrations, social_videos
    from cs3_training.data.videos import find_videos

    settings = listening(options.set)
    videos = find_videos(options.videos, None)
    narrations: dict[str, list[Narration]] | None = None
    source = ''
    if options.narrations:
        narrations, source = {}, digest_of(options.narrations)
        for narration in read_narrations(options.narrations):
            if narration.video in videos:
                narrations.setdefault(narration.video, []).append(narration)
        videos = {name: path for name, path in videos.items() if name in narrations}
    if not videos:
        raise ValueError(f'{options.videos}: no videos below it that could be looked through')
    social = social_videos(options.metadata) if options.metadata else set()
    runtime = Runtime(RuntimeConfig(options.device, 'float32'))
    classifier: Classifier
    if options.head:
        weights = options.head
        classifier = HeadClassifier(weights, runtime)
    else:
        folder = locate(options.clap, Path.cwd())
        if not folder.is_dir():
            raise ValueError(
                f'{folder}: not there; cs3 fetch zero_shot brings it, or set --clap, or give the '
                'checkpoint of cs3-train curate head with --head'
            )
        classifier = ClapClassifier(folder, runtime)
        weights = next(
            path for name in ('model.safetensors', 'pytorch_model.bin')
            if (path := folder / name).is_file()
        )  # fmt: skip
    about = f'{type(classifier).__name__} {digest_of(weights)}'
    task = Task(videos, settings, narrations, source, frozenset(social), options.validation)
    report = gather(task, classifier, about, options.out, options.workers, options.force)
    print(as_text(report))
    print(options.out / REPORT)
    return 0 if report['kept'] else 1


def listening(pairs: list[str]) -> Any:
    """The settings of ``--set``.

    Raises:
        ValueError: one of them is none; says which.
    """
    from cs3_ros.config import from_mapping
    from cs3_ros.trigger.onset import OnsetConfig
    from cs3_training.curate.listening import Listening

    own: dict[str, Any] = {}
    onset: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition('=')
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f'--set {pair}: expected NAME=NUMBER') from None
        if name.startswith('onset.'):
            onset[name.removeprefix('onset.')] = number
        else:
            own[name] = number
    own['onset'] = from_mapping(OnsetConfig, onset, '--set onset')
    return from_mapping(Listening, own, '--set')


def as_text(report: Mapping[str, Any]) -> str:
    """The report of ``gather`` in a few lines."""
    looked = ', '.join(f'{report[n]} {n}' for n in ('onsets', 'narrations') if n in report)
    lines = [f'{report["videos"]} videos, {looked or "nothing heard"}: {report["kept"]} candidates']
    dropped = sorted(report['dropped'].items(), key=lambda item: -item[1])
    lines += [f'{count:8d} {reason.replace("_", " ")}' for reason, count in dropped if count]
    if unreadable := report['unreadable']:
        lines.append(f'{len(unreadable)} videos cannot be read, such as {min(unreadable)}')
    lines.append(f'{report["train.csv"]} in train.csv, {report["val.csv"]} in val.csv')
    return '\n'.join(lines)


def head(options: argparse.Namespace) -> int:
    """``curate head``."""
    import torch

    from cs3_ros.bundles.weights import digest_of, locate
    from cs3_ros.networks.beats import load_beats
    from cs3_ros.runtime import Runtime, RuntimeConfig
    from cs3_training.curate.head import SoundClasses, load_head
    from cs3_training.curate.head_training import (
        CHECKPOINT,
        Accuracy,
        HeadConfig,
        HeadTrainer,
        load_config,
    )
    from cs3_training.curate.sounds import LabelledSounds

    config = load_config(options.settings) if options.settings else HeadConfig()
    beats = locate(options.beats, Path.cwd())
    if not beats.is_file():
        raise ValueError(f'{beats}: not there; cs3 fetch cs3 brings it, or set --beats')
    runtime = Runtime(RuntimeConfig(options.device, 'float32'))
    sounds = LabelledSounds(options.shards)
    torch.manual_seed(config.seed)
    model = SoundClasses(load_beats(beats), len(sounds.labels), config.train_beats)
    about = {'data': sounds.digest, 'beats_file': digest_of(beats)}
    accuracy = None
    if options.validation:
        judges = LabelledSounds(options.validation)
        accuracy = Accuracy(judges, sounds.labels)
        about['validation_data'] = judges.digest
    if not (options.out / 'state.pt').exists():  # which is checked on its own
        claim(options.out, 'curate-head', force=options.force)
    model = model.to(runtime.device)
    HeadTrainer(model, sounds, config, options.out, accuracy, about).run()
    print(f'{len(sounds)} sounds of {len(sounds.labels)} classes')
    if accuracy is not None:
        best, _ = load_head(options.out / CHECKPOINT)
        right, collisions = accuracy.judge(best.to(runtime.device))
        print(
            f'validation: {100 * right:.1f} % right, {100 * collisions:.1f} % whether it collides'
        )
    print(options.out / CHECKPOINT)
    return 0
