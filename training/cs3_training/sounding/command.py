"""``cs3-train sounding``: which object sounded, from the command line. Heavy imports wait."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cs3_ros.files.jsonfile import add_json
from cs3_ros.files.output_folder import add_force, claim
from cs3_training.options import add_device, add_threads


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser('sounding', help='learn which object sounded (Clink! Chop! Thud!)')
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    train = actions.add_parser('train', help='train the network, stage after stage')
    train.add_argument(
        '--out', type=Path, required=True, metavar='DIR',
        help='folder of the run, continued where one lies there; DIR/STAGE/sounding.safetensors '
        'will be the checkpoint of a stage',
    )  # fmt: skip
    data = train.add_mutually_exclusive_group(required=True)
    data.add_argument(
        '--scenes', type=Path, metavar='DIR',
        help='scenes to learn from, as cs3-train synth make leaves them',
    )  # fmt: skip
    data.add_argument(
        '--clips', type=Path, metavar='DIR/NAME',
        help='clips in the released layout: DIR/NAME.csv, DIR/NAME_clips, DIR/NAME_masks',
    )  # fmt: skip
    train.add_argument(
        '--masks', choices=('held', 'colliding'), default='held',
        help='objects of --scenes: those in hands, as a detector finds them (default), or those '
        'that collide, which no detector knows',
    )  # fmt: skip
    train.add_argument(
        '--validation', type=Path, metavar='DIR',
        help='other scenes, whose masks choose the checkpoint (default: the last one is kept)',
    )  # fmt: skip
    train.add_argument(
        '--judged', type=int, default=300, metavar='N',
        help='how many of --validation are looked at each time (default 300)',
    )  # fmt: skip
    train.add_argument(
        '--settings', type=Path, metavar='YAML', help='settings that differ from the paper'
    )
    train.add_argument(
        '--stages', nargs='+', metavar='STAGE',
        help='only these (default all): slots align refine detect',
    )  # fmt: skip
    train.add_argument(
        '--without', nargs='+', choices=('slots', 'masks'), default=(), metavar='PART',
        help="the paper's comparisons: without slots the patches of the vision tower are pooled, "
        'without masks the whole picture (default: with both)',
    )  # fmt: skip
    train.add_argument(
        '--start', type=Path, metavar='FILE',
        help='checkpoint that the first of --stages begins with (default: that of the stage '
        'before it in --out)',
    )  # fmt: skip
    train.add_argument(
        '--vision', type=Path, required=True, metavar='DIR',
        help='vision tower: facebook/dino-vitb16, or a CLIPSeg',
    )  # fmt: skip
    train.add_argument(
        '--text', type=Path, metavar='DIR',
        help='text tower with its tokenizer: openai/clip-vit-base-patch32, or a CLIPSeg (default: '
        'the folder of --vision)',
    )  # fmt: skip
    train.add_argument(
        '--ast', type=Path, metavar='DIR',
        help='what the sound tower ast begins with: an AST, or facebook/deit-base-distilled-'
        'patch16-384 as in the paper (default: random weights)',
    )  # fmt: skip
    train.add_argument(
        '--beats', type=Path, metavar='FILE',
        help='for the sound tower beats: the official file, or an audio_visual.safetensors',
    )  # fmt: skip
    train.add_argument(
        '--freeze', nargs='?', const='', metavar='DIR',
        help='with --scenes: run the frozen towers once and keep what they leave in DIR (default '
        'OUT/frozen), which several runs may share: 64 KB a scene for nano, several times faster',
    )  # fmt: skip
    add_device(train)
    add_threads(train, 'CPU threads of each process')
    add_force(train, replaces=False)
    score = actions.add_parser(
        'evaluate', help='sounding object detection and sounding action discovery on scenes'
    )
    score.add_argument(
        '--checkpoint', type=Path, nargs='+', required=True, metavar='FILE',
        help='sounding.safetensors of one run or of several to compare',
    )  # fmt: skip
    score.add_argument(
        '--vision', type=Path, required=True, metavar='DIR', help='vision tower of all of them'
    )
    score.add_argument(
        '--beats', type=Path, metavar='FILE', help='where a checkpoint has none, as in train'
    )
    score.add_argument(
        '--text',
        type=Path,
        metavar='DIR',
        help='text tower that all of them learned with: discovery by what is done, too',
    )
    score.add_argument(
        '--freeze', type=Path, metavar='DIR',
        help='run the frozen towers once and keep what they leave there, as in train; all have '
        'them in common',
    )  # fmt: skip
    score.add_argument(
        '--scenes', type=Path, required=True, metavar='DIR',
        help='scenes that nobody learned from; discovery needs some made with synth make --silent',
    )  # fmt: skip
    score.add_argument(
        '--exclude-background', action='store_true',
        help='leave what no mask covers out of the choice; in the released protocol it takes part',
    )  # fmt: skip
    choose = actions.add_parser(
        'calibrate', help='choose the numbers of the strategy sounding on validation scenes'
    )
    choose.add_argument(
        '--bundle', required=True, metavar='YAML', help='a bundle with verifier: {type: sounding}'
    )
    choose.add_argument(
        '--first', type=int, default=1000, metavar='N',
        help='first scene of the split validation, even (default 1000)',
    )  # fmt: skip
    choose.add_argument(
        '--scenes', type=int, default=600, metavar='N', help='how many, even (default 600)'
    )
    ship = actions.add_parser('ship', help='copy a bundle and let it choose by sound')
    ship.add_argument('--bundle', required=True, metavar='NAME', help='such as nano')
    ship.add_argument(
        '--checkpoint', type=Path, required=True, metavar='FILE',
        help='sounding.safetensors, trained with the towers of this bundle',
    )  # fmt: skip
    ship.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='folder of the copy, not there yet'
    )
    for number in ('gap', 'reach', 'lead'):
        ship.add_argument(
            f'--{number}', type=float, required=True, metavar='N', help='as calibrate prints it'
        )
    for one in (score, choose):
        add_device(one)
        add_threads(one)
        add_json(one, 'write the figures here, too')
    masks = actions.add_parser(
        'masks', help='make masks of what hands hold, through clips that have none'
    )
    masks.add_argument(
        '--clips', type=Path, required=True, metavar='DIR/NAME',
        help='DIR/NAME.csv and DIR/NAME_clips; DIR/NAME_masks gets an .npz for each clip, and '
        'those that lie there are passed over',
    )  # fmt: skip
    masks.add_argument(
        '--bundle', default='cs3', metavar='NAME',
        help='whose detector of hands is taken (default cs3)',
    )  # fmt: skip
    masks.add_argument(
        '--sam2', type=Path, required=True, metavar='FILE', help='official checkpoint of SAM 2.1'
    )
    masks.add_argument(
        '--size', choices=('tiny', 'small', 'base_plus', 'large'), default='large',
        help='of that checkpoint (default large)',
    )  # fmt: skip
    masks.add_argument(
        '--pool', type=int, default=15, metavar='N',
        help='most distractors of a clip (default 15; 0 looks for none)',
    )  # fmt: skip
    add_device(masks)


def run(options: argparse.Namespace) -> int:
    """Run the action.

    Raises:
        ValueError: as that action.
    """
    actions = {
        'masks': _masks,
        'train': _train,
        'evaluate': _evaluate,
        'calibrate': _calibrate,
        'ship': _ship,
    }
    return actions[options.action](options)


def _evaluate(options: argparse.Namespace) -> int:
    """Print the table.

    Raises:
        ValueError: there are no such scenes, or a checkpoint does not fit the towers.
    """
    from dataclasses import asdict

    from cs3_ros.files.jsonfile import prepare_json, write_json
    from cs3_ros.localisers.sounding import load_beats_of
    from cs3_ros.networks.sounding_checkpoint import load_sounding
    from cs3_ros.networks.towers import TextIds, load_text, load_vision
    from cs3_ros.runtime import Runtime, RuntimeConfig
    from cs3_training.sounding.evaluate import as_text, evaluate
    from cs3_training.synth.store import open_scenes

    prepare_json(options.json, options.force)
    device = Runtime(RuntimeConfig(options.device, 'float32', options.threads)).device
    scenes = open_scenes(options.scenes)
    vision, text, ids = load_vision(options.vision), None, None
    if options.text is not None:
        text = load_text(options.text)
        ids = TextIds(options.text, text.length)
    networks = {}
    for path in options.checkpoint:
        beats = load_beats_of(options.beats) if options.beats else None
        networks[str(path)] = load_sounding(path, vision, beats, text).to(device)
    frozen = _left_by(options, networks, scenes, device)
    rows = evaluate(networks, scenes, options.exclude_background, frozen, ids)
    print(f'{options.scenes}: {len(scenes)} scenes, {int(scenes.sounding.sum())} actions sound')
    print(as_text(rows))
    write_json(options.json, {name: asdict(row) for name, row in rows.items()})
    return 0


def _left_by(options: argparse.Namespace, networks: Any, scenes: Any, device: Any) -> Any:
    """What the towers that all networks of ``evaluate`` have in common leave of the scenes.

    Raises:
        ValueError: they hear other windows, or have sound towers of their own.
    """
    if options.freeze is None:
        return None
    from cs3_ros.bundles.weights import digest_of
    from cs3_ros.networks.checkpoints import read_safetensors
    from cs3_training.sounding.frozen import freeze

    for path in options.checkpoint:
        if not any(name.startswith('head.') for name in read_safetensors(path)[0]):
            raise ValueError(f'--freeze: {path} has a sound tower of its own; leave it out')
    windows = {network.window for network in networks.values()}
    if len(windows) > 1:
        raise ValueError(f'--freeze: the checkpoints hear {windows}; evaluate them one by one')
    about = {
        'vision': digest_of(options.vision / 'model.safetensors'),
        'beats': digest_of(options.beats),
    }
    return freeze(scenes, next(iter(networks.values())), options.freeze, about, True, device)


def _calibrate(options: argparse.Namespace) -> int:
    """Print the numbers and what they are worth.

    Raises:
        ValueError: the bundle has no such strategy, or no scenes are asked for.
    """
    from dataclasses import asdict

    from cs3_ros.bundles.bundle import load_bundle
    from cs3_ros.files.jsonfile import prepare_json, write_json
    from cs3_ros.runtime import RuntimeConfig
    from cs3_training.evaluation.samples import SyntheticSamples
    from cs3_training.evaluation.tables import words_of
    from cs3_training.sounding.calibrate import calibrate

    if options.first < 0 or options.scenes < 2 or options.first % 2 or options.scenes % 2:
        raise ValueError(
            f'--first {options.first} --scenes {options.scenes}: expected even numbers, at least '
            'two scenes: neighbours lend each other their sounds'
        )
    prepare_json(options.json, options.force)
    bundle = load_bundle(options.bundle)
    pipeline = bundle.build(runtime=RuntimeConfig(options.device, threads=options.threads))
    samples = SyntheticSamples('validation', bundle.clip)
    indices = range(options.first, options.first + options.scenes)
    found = calibrate(pipeline, samples, indices)
    for name, value in asdict(found.chosen).items():
        print(f'{name}: {value:g}')
    print(f'contact {found.contact:.2f}, sounding {found.sounding:.2f} mIoU')
    print(f'gain {words_of(found.gain)}, of it by the sound {words_of(found.by_sound)}')
    write_json(options.json, asdict(found))
    return 0


def _ship(options: argparse.Namespace) -> int:
    """Write the bundle.

    Raises:
        ValueError: a number is out of its range, or bundle and checkpoint do not fit.
        OSError: the folder is there.
    """
    from cs3_ros.verifiers.sounding import Weighing
    from cs3_training.sounding.ship import add_strategy

    by = Weighing(options.gap, options.reach, options.lead)
    print(add_strategy(options.bundle, options.checkpoint, by, options.out))
    return 0


def _masks(options: argparse.Namespace) -> int:
    """Make masks; 1 where some clips could not be read.

    Raises:
        ValueError: the table, the bundle or the checkpoint is not such, or the folder holds masks
            that were made otherwise.
    """
    from cs3_ros.bundles.bundle import load_bundle
    from cs3_ros.bundles.weights import digest_of
    from cs3_ros.runtime import RuntimeConfig, choose_device
    from cs3_training.sounding.clip_masks import ClipMasksConfig, mask_clips
    from cs3_training.sounding.clips import read_table
    from cs3_training.sounding.propagation import Sam2Propagator

    config = ClipMasksConfig(pool=options.pool)
    folder, name = options.clips.parent, options.clips.name
    rows = read_table(folder, name)
    about = {'bundle': options.bundle, 'size': options.size, 'sam2': digest_of(options.sam2)}
    propagator = Sam2Propagator(options.size, options.sam2, choose_device(options.device))
    hands = load_bundle(options.bundle).build(runtime=RuntimeConfig(options.device)).hands
    if hands is None:
        raise ValueError(f'bundle {options.bundle} has no detector of hands: name another')
    unread = mask_clips(rows, hands, propagator, folder / f'{name}_masks', config, about)
    print(f'{folder / f"{name}_masks"}: {len(rows) - unread} of {len(rows)} clips')
    return 1 if unread else 0


def _train(options: argparse.Namespace) -> int:
    """Train to the last step of the last stage; 0 when it is reached.

    Raises:
        ValueError: an option is out of its range, weights are not there, the scenes that judge are
            those to learn from, or the folder belongs to another run.
    """
    if options.judged < 1:
        raise ValueError(f'--judged {options.judged}: expected 1 or more')
    from cs3_ros.runtime import Runtime, RuntimeConfig
    from cs3_training.processes import process_group, rank, wait_for_all
    from cs3_training.sounding.config import STAGES, SoundingConfig, load_config
    from cs3_training.sounding.train import train_stages

    runtime = Runtime(RuntimeConfig(options.device, 'float32', options.threads))
    with process_group(runtime.on_gpu):
        config = load_config(options.settings) if options.settings else SoundingConfig()
        config = config.without(options.without)
        clips, judge = _data(options, config)
        towers = _towers(options, config)
        stages = options.stages or STAGES[not config.network.use_slots :]  # the first: slots
        if rank() == 0 and not list(options.out.glob('*/state.pt')):  # which are checked
            claim(options.out, 'sounding train', force=options.force)
        wait_for_all()  # the others would fill the folder that is claimed
        frozen = _frozen(options, config, clips, towers, runtime.device)
        last = train_stages(
            config, clips, towers, options.out, stages, options.start, judge, runtime.device, frozen
        )
        if rank() == 0:
            print(last)
    return 0


def _data(options: argparse.Namespace, config: Any) -> tuple[Any, Any]:
    """The set to learn from, and what judges."""
    from cs3_training.sounding.clips import ClipSet
    from cs3_training.sounding.data import SceneSet
    from cs3_training.sounding.validation import DetectionScore
    from cs3_training.synth.store import open_judges, open_scenes

    clips: Any
    if options.clips is not None:
        clips = ClipSet(options.clips.parent, options.clips.name, config.samples.frame_step)
        if clips.missing:
            print(f'{clips.missing} clips of {options.clips} are not there and left out')
    else:
        clips = SceneSet(open_scenes(options.scenes), options.masks, config.samples.others > 0)
    if options.validation is None:
        return clips, None
    return clips, DetectionScore(open_judges(options.validation, clips.digest), options.judged)


def _frozen(options: argparse.Namespace, config: Any, clips: Any, towers: Any, device: Any) -> Any:
    """What frozen towers leave of the scenes, where that is asked for."""
    if options.freeze is None:
        return None
    from cs3_training.processes import rank, wait_for_all
    from cs3_training.sounding.frozen import freeze
    from cs3_training.sounding.model import assemble

    if options.scenes is None:
        raise ValueError('--freeze: clips have many pictures; give it with --scenes')
    parts = towers.vision, towers.beats, towers.text, config.samples.window, towers.ast
    network = assemble(config.network, *parts)
    sounds = not config.network.train_sound
    if rank():
        wait_for_all()  # the first process computes, the others open what it left
    about = {
        name: towers.about[name] for name in ('vision', 'beats', 'ast') if name in towers.about
    }
    folder = Path(options.freeze or options.out / 'frozen')
    found = freeze(clips.scenes, network, folder, about, sounds, device)
    if not rank():
        wait_for_all()
    return found


def _towers(options: argparse.Namespace, config: Any) -> Any:
    """The pretrained towers, with the digests of their files."""
    from cs3_ros.bundles.weights import digest_of
    from cs3_ros.localisers.sounding import load_beats_of
    from cs3_ros.networks.sound_towers import load_ast
    from cs3_ros.networks.towers import TextIds, load_text, load_vision
    from cs3_training.sounding.train import Towers

    text = options.text or options.vision
    needs_beats = config.network.sound == 'beats'
    if needs_beats and options.beats is None:
        raise ValueError('sound: beats in the settings needs --beats FILE')
    towers = load_vision(options.vision), load_text(text)
    about = {
        'vision': digest_of(options.vision / 'model.safetensors'),
        'text': digest_of(text / 'model.safetensors'),
    }
    beats = None
    if needs_beats:
        beats, about['beats'] = load_beats_of(options.beats), digest_of(options.beats)
    ast = None
    if options.ast is not None:
        ast = load_ast(options.ast, config.network.ast_sizes())
        about['ast'] = digest_of(options.ast / 'model.safetensors')
    return Towers(*towers, beats, TextIds(text, config.samples.text_length), about, ast)
