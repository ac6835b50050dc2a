"""What SECURITY.md promises of sockets and pickles, asked of a real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import needs
from documents import ROOT

WATCHED = """
import json, sys

seen = []


def watch(event, arguments):
    if event.startswith('socket.') or event == 'pickle.find_class':
        seen.append([event, repr(arguments)[:200]])


from cs3_ros import cli

sys.addaudithook(watch)
status = [
    cli.main(['run', sys.argv[1], '--bundle', bundle, '--out', bundle, '--no-overlay'])
    for bundle in sys.argv[2:]
]
assert not seen, seen
import pickle, socket

socket.socket().close()
pickle.loads(pickle.dumps(sys.exit))
print(json.dumps([status, [event for event, _ in seen]]))
"""
"""Two runs under a hook that sees every socket and every global that is unpickled."""


def test_a_run_opens_no_socket_and_unpickles_nothing(short_clip: Path, tmp_path: Path) -> None:
    needs.hands()
    needs.networks()
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        [sys.executable, '-c', WATCHED, str(short_clip), 'lite', 'nano'],
        cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': paths, 'OMP_WAIT_POLICY': 'passive'},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    status, events = json.loads(done.stdout.splitlines()[-1])
    assert status == [0, 0]
    assert events == ['socket.__new__', 'pickle.find_class'], 'the hook sees nothing'
    assert len(json.loads((tmp_path / 'lite' / 'events.json').read_text('utf-8'))) == 1
