"""Everything that needs a GPU, in one call: tests, benchmarks, a profile, training steps.

    python3 tools/gpu.py --out gpu_out

Needs Python 3.11 or newer and the packages of the networks, but neither an installation of this
package nor ROS nor a network; what is missing is named and its step skipped. ``--carry`` collects
in ``.gpu_carry`` what a machine with torch often lacks: take the folder along. Each step is a
process with a time of its own; ``gpu.json`` and ``gpu.md`` are written after each, so that what was
measured is there whenever this ends. ``--dry`` runs the same on a CPU with tiny networks.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from gpu_carry import carried, carry, commit
from gpu_page import page

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = ('torch', 'torchaudio', 'torchvision', 'transformers', 'safetensors', 'cv2', 'PIL')
NETWORKS += ('numpy', 'yaml', 'tqdm', 'sam2', 'hydra', 'omegaconf', 'antlr4', 'iopath')
TESTING = ('pytest', 'pluggy', 'iniconfig', 'hypothesis')
SIZES = ('base_plus', 'tiny', 'large', 'small')
"""Of SAM 2, the one of the bundles first: time may end before the others."""
TAIL = 30
"""Lines of its output that are kept of a step."""


@dataclass(frozen=True)
class Step:
    """One process."""

    name: str
    """For ``--only``."""
    title: str
    """For the page."""
    seconds: float
    """Time that it may take."""
    command: tuple[str, ...]
    """Arguments of Python; {result} is the file that it leaves."""
    needs: tuple[str, ...] = ()
    """What it imports."""


def steps(dry: bool) -> list[Step]:
    """What is run, the most important first."""
    pipeline = ['-m', 'cs3_ros.cli', 'bench', 'pipeline', '--bundle', 'cs3', '--random-weights']
    trainer = ['-m', 'cs3_training.cli', 'bench', '--json', '{result}']
    tests = ['-m', 'pytest', '-m', 'gpu', '-q', '-p', 'no:cacheprovider', '--junitxml={result}']
    tests += ['--continue-on-collection-errors', '--durations=5']
    if dry:
        pipeline += ['--device', 'cpu', '--networks', 'tiny', '--size', '96x64']
        trainer += ['--device', 'cpu', '--sizes', 'tiny', '--batch', '2', '--steps', '1']
        tests += ['test/test_runtime.py']
        sizes, events, faster = ('tiny',), '1', ('none', 'graphs')
    else:
        pipeline += ['--device', 'cuda']
        trainer += ['--device', 'cuda', '--sizes', 'full', 'nano', '--batch', '32']
        files = sorted((ROOT / 'test').rglob('test_*.py'))
        marked = [path for path in files if '\n@pytest.mark.gpu\n' in path.read_text('utf-8')]
        tests += [str(path.relative_to(ROOT)) for path in marked]
        sizes, events, faster = SIZES, '30', ('none', 'graphs', 'compile', 'both')

    def measured(name: str, title: str, seconds: float, size: str, *more: str) -> Step:
        command = (*pipeline, '--json', '{result}', '--sam2', size, *more)
        return Step(name, title, seconds, command, NETWORKS)

    every = ('--events', events, '--no-naive', '--accelerate', *faster)
    of_size = [
        measured(f'pipeline-{size}', f'Events, SAM 2.1 {size}', 150.0, size, *every)
        for size in sizes
    ]
    one = ('--events', '1', '--no-naive', '--profile', '--accelerate', 'none', 'graphs')
    return [
        Step('tests', 'Tests marked gpu', 120.0, tuple(tests), (*NETWORKS, *TESTING)),
        of_size[0],
        measured('profile', 'Launches and waits of an event', 60.0, sizes[0], *one),
        Step('trainer', 'Training steps', 90.0, tuple(trainer), NETWORKS),
        *of_size[1:],
        measured('naive', 'Beside the plain composition', 60.0, sizes[0], '--events', events),
    ]


class Report:
    """What is known so far, on disk at any moment."""

    def __init__(self, out: Path, dry: bool) -> None:
        self.out, self._began = out, time.monotonic()
        out.mkdir(parents=True, exist_ok=True)
        self.data: dict[str, Any] = {
            'format': 'cs3 gpu 1',
            'dry': dry,
            'commit': commit(),
            'started': time.strftime('%Y-%m-%d %H:%M:%S %Z'),
            'seconds': 0.0,
            'machine': {},
            'steps': {},
        }

    def write(self) -> None:
        """Both files, each whole or as it was."""
        self.data['seconds'] = round(time.monotonic() - self._began, 1)
        texts = {'gpu.json': json.dumps(self.data, indent=1) + '\n', 'gpu.md': page(self.data)}
        for name, text in texts.items():
            unfinished = self.out / f'{name}.part'
            unfinished.write_text(text, 'utf-8')
            os.replace(unfinished, self.out / name)


def run(todo: Sequence[Step], report: Report, minutes: float, environment: dict[str, str]) -> int:
    """Run the steps one after the other; how many have failed, run out of time or been skipped."""
    end = time.monotonic() + 60 * minutes
    found = report.data['steps']
    lacking = set(report.data['machine'].get('lacking', ()))
    for step in todo:
        found[step.name] = {'title': step.title, 'status': 'waiting'}
    for step in todo:
        own = found[step.name]
        missing = [name for name in step.needs if name in lacking]
        left = end - time.monotonic()
        if missing or left < 5:
            own['status'] = 'skipped'
            own['reason'] = (
                f'missing here: {", ".join(missing)}; install it, or collect it with '
                'python3 tools/gpu.py --carry where it is installed'
                if missing
                else f'no time left of {minutes:g} minutes'
            )
        else:
            own['status'] = 'running'
            report.write()
            print(f'{step.name}: ', end='', flush=True)
            own.update(_run_one(step, min(step.seconds, left), environment))
            print(f'{own["status"]}, {own["seconds"]} s', flush=True)
        report.write()
    return sum(one['status'] != 'done' for one in found.values())


def _run_one(step: Step, seconds: float, environment: dict[str, str]) -> dict[str, Any]:
    """Status, exit code, seconds, last lines and result of one process."""
    with tempfile.TemporaryDirectory(prefix='cs3_gpu_') as folder:
        result, log = Path(folder, 'result'), Path(folder, 'log')
        command = [sys.executable, *(part.format(result=result) for part in step.command)]
        began = time.monotonic()
        with log.open('wb') as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
            status = 'timed out'
            try:
                process.wait(seconds)
                status = 'failed' if process.returncode else 'done'
            except subprocess.TimeoutExpired:
                pass
            finally:  # also where this process itself is ended
                _end(process)
        text = log.read_text('utf-8', errors='replace')
        return {
            'status': status,
            'exit': process.returncode,
            'seconds': round(time.monotonic() - began, 1),
            'command': ' '.join(['python3', *step.command]),
            'tail': text.replace('\r', '\n').splitlines()[-TAIL:],
            'result': _result(result),
        }


def _result(path: Path) -> Any:
    """What a step has left: JSON, or JUnit's XML as counts; None where it left nothing whole."""
    try:
        text = path.read_text('utf-8')
        return json.loads(text) if text.startswith(('{', '[')) else _junit(text)
    except (OSError, ValueError, ElementTree.ParseError):
        return None


def _junit(text: str) -> dict[str, Any]:
    """Names of the tests by what became of them, with the message of those that did not pass."""
    cases: dict[str, list[Any]] = {'passed': [], 'failed': [], 'skipped': []}
    for case in ElementTree.fromstring(text).iter('testcase'):
        name = f'{case.get("classname")}.{case.get("name")}'
        told = next((part for part in case if part.tag in ('failure', 'error', 'skipped')), None)
        if told is None:
            cases['passed'].append(name)
            continue
        kind = 'skipped' if told.tag == 'skipped' else 'failed'
        message = str(told.get('message') or told.text).strip()[:2000]
        cases[kind].append({'name': name, 'message': message})
    return cases


def _die_with_parent() -> None:
    """Linux ends a step when this script is killed, which could not end it itself."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


MACHINE = """
import importlib.util, json, platform, sys
from importlib import metadata

def there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False

found = {'python': platform.python_version(), 'lacking': [n for n in sys.argv[1:] if not there(n)]}
found['versions'] = {}
for name in ('torch', 'numpy', 'transformers', 'triton', 'sam2', 'torchvision', 'pytest'):
    try:
        found['versions'][name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
try:
    import torch
    found['cuda'] = torch.version.cuda
    found['gpu'] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    if found['gpu']:
        found['gpu_gib'] = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
except ImportError as error:
    found['torch_problem'] = str(error)
print(json.dumps(found))
"""


def _machine(todo: Sequence[Step], environment: dict[str, str]) -> dict[str, Any]:
    """What is here: versions, the GPU, and what the steps would miss."""
    names = sorted({name for step in todo for name in step.needs})
    asked = subprocess.run(
        [sys.executable, '-c', MACHINE, *names],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if asked.returncode:
        raise SystemExit(f'gpu: Python itself does not work here: {asked.stderr[-2000:]}')
    found: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    found['cores'] = len(os.sched_getaffinity(0))
    if (tool := shutil.which('nvidia-smi')) is not None:
        call = [tool, '--query-gpu=driver_version', '--format=csv,noheader']
        told = subprocess.run(call, capture_output=True, text=True, timeout=60)
        found['driver'] = told.stdout.strip()
    return found


def _environment() -> dict[str, str]:
    """Of the steps: this checkout and, of what is carried along, what is not installed."""
    paths = [str(ROOT), str(ROOT / 'training'), *carried(), os.environ.get('PYTHONPATH', '')]
    return {
        **os.environ,
        'PYTHONPATH': os.pathsep.join(filter(None, paths)),
        'PYTHONUNBUFFERED': '1',
        'HF_HUB_OFFLINE': '1',
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all done; 1: a step failed, ran out of time or was skipped; 2: there is no GPU."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [step.name for step in steps(False)]
    parser.add_argument('--out', type=Path, default=Path('gpu_out'), help='folder (gpu_out)')
    parser.add_argument('--dry', action='store_true', help='on the CPU, with tiny networks')
    parser.add_argument('--only', action='append', choices=names, help='this step; may be repeated')
    parser.add_argument('--minutes', type=float, default=8.0, help='for all of it (8)')
    parser.add_argument('--carry', action='store_true', help='collect .gpu_carry, run nothing')
    options = parser.parse_args(arguments)
    if options.carry:
        return 0 if carry() else 1
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    todo = [one for one in steps(options.dry) if not options.only or one.name in options.only]
    report, environment = Report(options.out, options.dry), _environment()
    report.data['machine'] = _machine(todo, environment)
    report.write()
    if not options.dry and not report.data['machine'].get('gpu'):
        print('gpu: torch sees no GPU here; --dry tries everything out on the CPU', file=sys.stderr)
        return 2
    open_ends = run(todo, report, options.minutes, environment)
    print(f'{options.out / "gpu.json"}, {options.out / "gpu.md"}')
    return 1 if open_ends else 0


if __name__ == '__main__':
    sys.exit(main())
