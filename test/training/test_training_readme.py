"""``cs3-train`` as the documents call it, and how it starts and fails."""

import needs

needs.training()

import re
import subprocess
import sys

import pytest
from documents import ROOT, commands

from cs3_training import cli

HEAVY = ('torch', 'transformers', 'cv2', 'numpy')


@pytest.mark.parametrize('command', commands('cs3-train'))
def test_documented_commands_parse(command: str) -> None:
    try:
        options = cli.make_parser().parse_args(command.split()[1:])
    except SystemExit as end:
        assert end.code == 0 and command.endswith('--help'), command
    else:
        assert options.command == command.split()[1]


def test_the_page_begins_with_how_to_train() -> None:
    lines = (ROOT / 'training' / 'README.md').read_text('utf-8').splitlines()
    first = [line.split()[:2] for line in lines[1:6] if line.startswith('    ')]
    assert first == [['cs3-train', 'nano'], ['cs3-train', 'train']]
    head, _, *rows = [line.strip('| ').split(' | ') for line in lines[4:10] if '|' in line]
    assert head == ['command', 'needs', 'takes', 'leaves']
    assert [row[0] for row in rows] == ['`nano`', '`train`']


def test_documented_python_imports_what_is_there() -> None:
    text = (ROOT / 'training' / 'README.md').read_text('utf-8')
    lines = [
        line
        for block in re.findall(r'```python\n(.*?)```', text, re.S)
        for line in block.splitlines()
        if line.startswith(('from ', 'import '))
    ]
    assert len(lines) > 4
    exec('\n'.join(lines), {})


def test_every_command_is_documented() -> None:
    called = {command.split()[1] for command in commands('cs3-train')}
    assert called >= set(cli.COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    """In a process of its own: this one has imported all of it."""
    script = f"""
import sys
from cs3_training import cli
for words in ([], *([name] for name in cli.COMMANDS)):
    try:
        cli.main([*words, '--help'])
    except SystemExit:
        pass
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.splitlines()[-1] == '[]'


@pytest.mark.parametrize(
    'error', [FloatingPointError('the loss is nan'), ValueError('no scenes'), OSError('disk full')]
)
def test_a_failure_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(options: object) -> int:
        raise error

    monkeypatch.setattr('cs3_training.bench.command.run', run)
    assert cli.main(['bench']) == 1
    assert capsys.readouterr().err == f'cs3-train bench: {error}\n'
