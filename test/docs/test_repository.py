"""The files that a visitor meets first: citation, forms, hooks; and nothing leads outside."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import ROOT, text_files

from cs3_ros import cli

FORMS = ('bug.yml', 'feature.yml')
CLIPS = '../shared/data/real_clips'
"""The optional folder of clips, the only thing outside that is named."""
LEADING_OUT = {
    'cs3_ros/bench/__init__.py': CLIPS,
    'docs/benchmarks.md': CLIPS,
    'Makefile': '../shared',
}


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text('utf-8'))


def test_text_files_are_as_the_hook_wants_them() -> None:
    config = load('.pre-commit-config.yaml')
    names = [str(path.relative_to(ROOT)) for path in text_files()]
    names = [name for name in names if not re.search(config['exclude'], name)]
    done = subprocess.run(
        [sys.executable, 'tools/check_text.py', *names], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, '')


def test_the_hook_finds_what_is_wrong(tmp_path: Path) -> None:
    problems = runpy.run_path(str(ROOT / 'tools' / 'check_text.py'))['problems']
    for name, text, expected in (
        ('a.py', 'x = 1 \n', 'a.py:1: ends with a space'),
        ('a.md', 'text', 'one line end'),
        ('b.md', 'text\n\n', 'one line end'),
        ('a.yaml', 'a: [1\n', 'a.yaml: while parsing'),
    ):
        (tmp_path / name).write_text(text)
        (problem,) = problems(tmp_path / name)
        assert expected in problem
    (tmp_path / 'good.yaml').write_text('a: 1\n')
    assert list(problems(tmp_path / 'good.yaml')) == []


def test_hooks_need_nothing_but_the_environment() -> None:
    """A hook runs what make setup installs, with its pinned version, or a file of ours."""
    setup = (ROOT / 'setup.py').read_text('utf-8')
    (repository,) = load('.pre-commit-config.yaml')['repos']
    assert repository['repo'] == 'local'
    for hook in repository['hooks']:
        assert hook['language'] == 'system'
        program, *words = shlex.split(hook['entry'])
        name = program.removeprefix('.venv/bin/')
        assert (ROOT / words[0]).is_file() if name == 'python' else f"'{name}>=" in setup, hook


def test_the_citation_is_of_this_version() -> None:
    citation = load('CITATION.cff')
    changelog = (ROOT / 'CHANGELOG.rst').read_text('utf-8')
    newest = re.search(r'^(\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)$', changelog, re.M)
    assert newest is not None
    assert (citation['version'], citation['date-released']) == newest.groups()
    assert date.fromisoformat(citation['date-released'])
    setup = (ROOT / 'setup.py').read_text('utf-8')
    assert f"version='{citation['version']}'" in setup
    assert f"license='{citation['license']}'" in setup
    assert f"maintainer='{citation['authors'][0]['name']}'" in setup


def test_the_papers_are_cited_as_the_method_names_them() -> None:
    method = (ROOT / 'docs' / 'method.md').read_text('utf-8')
    papers = load('CITATION.cff')['references']
    assert len(papers) == 2
    for paper in papers:
        number = paper['url'].rpartition('/')[2]
        assert paper['identifiers'][0]['value'] == f'arXiv:{number}' and number in method
        assert paper['title'].replace(' --', '') in method
        assert all(author['family-names'] and author['given-names'] for author in paper['authors'])


@pytest.mark.parametrize('form', FORMS)
def test_a_form_is_one_that_github_shows(form: str) -> None:
    content = load(f'.github/ISSUE_TEMPLATE/{form}')
    assert {'name', 'description', 'body'} <= set(content)
    fields = [field for field in content['body'] if field['type'] != 'markdown']
    identifiers = [field['id'] for field in fields]
    assert len(set(identifiers)) == len(identifiers) > 0
    for field in fields:
        assert field['type'] in ('input', 'textarea', 'dropdown', 'checkboxes')
        assert field['attributes']['label']
        assert set(field) <= {'type', 'id', 'attributes', 'validations'}
        assert bool(field['attributes'].get('options')) == (
            field['type'] in ('dropdown', 'checkboxes')
        )


def test_the_report_of_a_bug_has_what_the_doctor_says() -> None:
    text = (ROOT / '.github' / 'ISSUE_TEMPLATE' / 'bug.yml').read_text('utf-8')
    (doctor,) = (f for f in yaml.safe_load(text)['body'] if f.get('id') == 'doctor')
    assert doctor['validations'] == {'required': True}
    calls = [call for call in re.findall(r'`(cs3 [^`]+)`', text) if call != 'cs3 doctor']
    assert 'cs3 doctor --json doctor.json' in calls
    for call in calls:
        options = cli.make_parser().parse_args(shlex.split(call)[1:])
        assert options.command == call.split()[1]


def test_nothing_refers_to_what_is_outside() -> None:
    """Neither to folders of a machine nor up out of the repository, but for the clips."""
    found = {}
    for path in text_files():
        name = str(path.relative_to(ROOT))
        if path.suffix in ('.json', '.txt') or name.startswith('test/'):
            continue  # vocabularies and pins; tests make up paths of all kinds
        text = path.read_text('utf-8')
        for up in re.findall(r'(?<![\w./])(?:\.\./)+[\w./-]*', text):
            target = (path.parent / up).resolve()
            if not (target.exists() and target.is_relative_to(ROOT.resolve())):
                found[name] = up
        for absolute in re.findall(r'(?<![\w.:/])/(?:work|root|tmp|srv|data)/[\w./-]*', text):
            found[name] = absolute
        for folder in re.findall(r'(?<![\w./])shared/\w[\w./-]*', text):
            found[name] = folder
    assert found == LEADING_OUT


def test_tests_reach_the_clips_in_one_place() -> None:
    named = r"""shared['"]? ?/ ?['"]?data|shared/\w"""
    files = [
        path.relative_to(ROOT).as_posix()
        for path in text_files()
        if path.is_relative_to(ROOT / 'test') and re.search(named, path.read_text('utf-8'))
    ]
    assert files == ['test/docs/test_repository.py', 'test/shared_data.py']
