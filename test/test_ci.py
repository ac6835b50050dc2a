"""CI does what README.md says, with versions that are fixed, and counts the tests that ran."""

import re
import subprocess
import sys

import pytest
import yaml
from documents import ROOT, code_blocks

CI = ROOT / '.github' / 'workflows' / 'ci.yml'


@pytest.fixture
def jobs():
    return yaml.safe_load(CI.read_text('utf-8'))['jobs']


def test_the_robots_job_runs_the_commands_of_the_readme(jobs):
    (block,) = [b.text for b in code_blocks(ROOT / 'README.md') if 'colcon build' in b.text]
    done = ' && '.join(step.get('run', '') for step in jobs['jazzy']['steps'])
    commands = [c.strip() for c in re.split('&&|\n', re.sub('#.*', '', block))]
    own = [c for c in commands if re.match('python3 -m|pip|source (.venv|install)|touch', c)]
    assert len(own) == 6
    assert [command for command in own if command not in done] == []


def test_versions_are_fixed(jobs):
    for job in jobs.values():
        assert job['runs-on'] == 'ubuntu-24.04'
        for step in job['steps']:
            assert re.fullmatch(r'[\w/-]+@v\d+\.\d+\.\d+', step.get('uses', 'a/b@v1.2.3'))
            for line in re.findall(r'pip install.*', step.get('run', '')):
                assert '-c ' in line and 'requirements/constraints.txt' in line
    assert jobs['wheels']['strategy']['matrix']['python'] == ['3.11', '3.12']


@pytest.mark.parametrize('least, status', [(2, 0), (3, 1)])
def test_tests_that_ran_are_counted(tmp_path, least, status):
    cases = '<testcase name="a"/><testcase name="b"><system-out/></testcase>'
    for result in ('skipped', 'failure', 'error'):
        cases += f'<testcase name="{result}"><{result}/></testcase>'
    report = tmp_path / 'pytest.xml'
    report.write_text(f'<testsuites><testsuite tests="5">{cases}</testsuite></testsuites>')
    command = [sys.executable, str(ROOT / 'tools' / 'count_tests.py'), str(report)]
    done = subprocess.run([*command, '--least', str(least)], capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stdout.startswith('2 tests passed')
