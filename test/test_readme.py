"""The documents tell the truth: their commands parse, their files, targets and links exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import needs
import pytest
from documents import DOCUMENTS, ROOT, anchors, commands

from cs3_ros import cli
from cs3_ros.bench import command as bench
from cs3_ros.files.yamlfile import read_yaml
from cs3_ros.settings import parameter_names


@pytest.mark.parametrize('command', commands('cs3'))
def test_cs3_commands_parse(command: str) -> None:
    arguments = shlex.split(command.partition(' --ros-args')[0])[1:]
    if arguments[0] == 'bench':
        if arguments[1] in ('lite', 'live'):
            needs.opencv()
        bench.make_parser(arguments[1]).parse_args(arguments[2:])
    else:
        cli.make_parser().parse_args(arguments)


@pytest.mark.parametrize('command', commands('make'))
def test_make_targets_exist(command: str) -> None:
    target = command.split()[1]
    assert re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(), re.M)


@pytest.mark.parametrize('command', commands('ros2'))
def test_what_ros2_is_given_exists(command: str) -> None:
    _, verb, package, file = command.split()[:4]
    if package == 'set':
        name = command.split()[4]
        transitions = ('configure', 'activate', 'deactivate', 'cleanup')
        assert file == '/cs3/cs3'
        assert name in {'lifecycle': transitions, 'param': parameter_names()}[verb]
        return
    words = command.split()
    match verb, package:
        case 'run', 'cs3_ros':
            assert f"'{file} = cs3_ros.launcher:" in (ROOT / 'setup.py').read_text('utf-8')
        case 'bag', 'record':
            profile = ROOT / 'config' / words[words.index('--qos-profile-overrides-path') + 1]
            topics = words[words.index('--topics') + 1 :]
            assert set(topics) <= set(read_yaml(profile, 'QoS overrides'))
        case 'security', 'create_keystore':  # the other commands of SROS2 stand in loops of a shell
            assert len(words) == 4
        case 'param', 'list':
            assert file == '/cs3/cs3'
        case 'topic', ('echo' | 'info'):
            allowed = (ROOT / 'config' / 'sros2' / 'cs3.policy.xml').read_text('utf-8')
            assert f'<topic>{words[-1].removeprefix("/cs3/")}</topic>' in allowed
        case _:
            assert (verb, package) == ('launch', 'cs3_ros')
            assert (ROOT / 'launch' / file).is_file()


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: f'{path.parent.name}/{path.name}')
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r'\]\((?!https?:)([^)\s]+)\)', document.read_text('utf-8')):
        name, _, anchor = target.partition('#')
        file = document.parent / name if name else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_anchors_are_written_as_on_github(tmp_path: Path) -> None:
    text = '# From `a_b` to C: two-way (v2)\n\n```bash\n# no heading\n```\n\n### Runs\n'
    (tmp_path / 'a.md').write_text(text)
    assert anchors(tmp_path / 'a.md') == {'from-a_b-to-c-two-way-v2', 'runs'}
