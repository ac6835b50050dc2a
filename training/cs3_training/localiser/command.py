"""``cs3-train train``: the weakly supervised training from the command line. Heavy imports wait."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cs3_ros.files.output_folder import add_force, claim
from cs3_training.options import add_device, add_threads

if TYPE_CHECKING:
    from cs3_training.localiser.model import CollisionSegmenter
    from cs3_training.localiser.train import Pairs, TrainConfig

CLIPSEG = 'clipseg-rd64-refined'
BEATS = 'beats/BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt'
"""What ``cs3 fetch cs3`` brings, below the home folder."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        'train', help='train the localiser of the bundle cs3 on pictures and their sounds'
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR',
        help='folder of the run, continued where one lies there; DIR/audio_visual.safetensors '
        'will be the checkpoint',
    )  # fmt: skip
    learned = parser.add_mutually_exclusive_group(required=True)
    learned.add_argument(
        '--scenes', type=Path, metavar='DIR',
        help='pictures and sounds to learn from, as cs3-train synth make leaves them',
    )  # fmt: skip
    learned.add_argument(
        '--shards', type=Path, metavar='DIR',
        help='instead: those of real videos, as cs3-train extract leaves them',
    )  # fmt: skip
    parser.add_argument(
        '--validation', type=Path, metavar='DIR',
        help='other scenes, whose masks choose the checkpoint (default: the last one is kept)',
    )  # fmt: skip
    parser.add_argument(
        '--judged', type=int, default=300, metavar='N',
        help='how many of --validation are looked at each time (default 300)',
    )  # fmt: skip
    parser.add_argument(
        '--settings', type=Path, metavar='YAML', help='settings that differ from those of CS3'
    )
    parser.add_argument(
        '--init', metavar='FILE',
        help='checkpoint to start from, beside or in CS3_HOME: audio_visual.safetensors of a run, '
        'or acl/Param_best.pth of cs3 fetch acl (default: a random audio token)',
    )  # fmt: skip
    parser.add_argument(
        '--clipseg', default=CLIPSEG, metavar='DIR',
        help=f'CLIPSeg, beside or in CS3_HOME (default {CLIPSEG}, of cs3 fetch cs3)',
    )  # fmt: skip
    parser.add_argument(
        '--beats', default=BEATS, metavar='FILE',
        help=f'BEATs, beside or in CS3_HOME (default {BEATS}, of cs3 fetch cs3)',
    )  # fmt: skip
    add_device(parser)
    add_threads(parser, 'CPU threads of each process')
    parser.add_argument(
        '--plan', action='store_true',
        help='train nothing: print memory, time per step, disk and days, from a short probe, and '
        'exit with 1 where it cannot run; with torchrun, too',
    )  # fmt: skip
    add_force(parser, replaces=False)


def run(options: argparse.Namespace) -> int:
    """Train to the last step; 0 when it is reached.

    Raises:
        ValueError: an option is out of its range, weights are not there, the scenes that judge are
            those to learn from, or the folder belongs to another run.
    """
    if options.judged < 1:
        raise ValueError(f'--judged {options.judged}: expected 1 or more')
    from cs3_ros.bundles.weights import digest_of, locate
    from cs3_ros.networks.audio_visual import load_checkpoint
    from cs3_ros.networks.beats import load_beats
    from cs3_ros.runtime import Runtime, RuntimeConfig
    from cs3_training.data.pairs import ShardPairs
    from cs3_training.localiser.model import assemble
    from cs3_training.localiser.train import CHECKPOINT, TrainConfig, Trainer, load_config
    from cs3_training.localiser.validation import HeatMapScore
    from cs3_training.processes import process_group, rank
    from cs3_training.synth.store import open_judges, open_scenes

    runtime = Runtime(RuntimeConfig(options.device, 'float32', options.threads))
    with process_group(runtime.on_gpu):
        config = load_config(options.settings) if options.settings else TrainConfig()
        shards, validate = options.shards, None
        pairs = ShardPairs(shards) if shards else open_scenes(options.scenes)
        about = {'data': pairs.digest}
        token = mask = tuned = None
        if options.init:
            start = locate(options.init, Path.cwd())
            found = load_checkpoint(start)
            token, mask, tuned = found.audio_token, found.mask, found.beats
            about['init'] = digest_of(start)
        clipseg, beats = (locate(path, Path.cwd()) for path in (options.clipseg, options.beats))
        needed = [(clipseg, '--clipseg')] + ([] if tuned else [(beats, '--beats')])
        for path, option in needed:
            if not path.exists():
                raise ValueError(f'{path}: not there; cs3 fetch cs3 brings it, or set {option}')
        about['clipseg'] = digest_of(clipseg / 'model.safetensors')
        if tuned is None:
            about['beats'] = digest_of(beats)
        model = assemble(
            clipseg, tuned or load_beats(beats), token, mask, config.train_beats, config.seed
        ).to(runtime.device)
        if options.validation:
            judges = open_judges(options.validation, pairs.digest)
            validate = HeatMapScore(judges, options.judged)
            about['validation_data'] = f'{options.judged} of {judges.digest}'
        if options.plan:
            return _plan(model, pairs, config, options)
        if rank() == 0 and not (options.out / 'state.pt').exists():  # which is checked on its own
            claim(options.out, 'train', force=options.force)
        trainer = Trainer(model, pairs, config, options.out, validate, about)
        trainer.run()
        if rank() == 0:
            print(options.out / CHECKPOINT)
    return 0


def _plan(
    model: CollisionSegmenter, pairs: Pairs, config: TrainConfig, options: argparse.Namespace
) -> int:
    """Print what the training would take; 1 where it cannot run."""
    from cs3_training.localiser.plan import probe
    from cs3_training.localiser.train import Trainer
    from cs3_training.processes import rank

    data = options.shards or options.scenes
    with TemporaryDirectory(prefix='cs3_plan_') as folder:
        found = probe(Trainer(model, pairs, config, Path(folder)), options.out, data)
    if rank() == 0:
        print(found.as_text())
    return 1 if found.problems else 0
