"""docs/method.md: every citation of it resolves, every default that it states is the code's."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import io
import re
import tokenize
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import DOCUMENTS, ROOT

METHOD = ROOT / 'docs' / 'method.md'
PACKAGES = {'cs3_ros': ROOT / 'cs3_ros', 'cs3_training': ROOT / 'training' / 'cs3_training'}
FOLDERS = (*PACKAGES.values(), ROOT / 'test', ROOT / 'launch', ROOT / 'config')
CODE = sorted(
    path
    for folder in FOLDERS
    for path in folder.rglob('*')
    if path.suffix in ('.py', '.yaml') and path != Path(__file__).resolve()  # it makes some up
)
CITATION = re.compile(r'\bmethod\.md ([A-H]\d{0,2}(?:, [A-H]\d{1,2})*)\b')
STATED = re.compile(r'`(?:(\S+\.yaml) )?([\w.]+)\.(\w+) = ([^`]+)`')


def cited(text: str) -> list[str]:
    """Everything that a text cites of the document, such as A5 and G38."""
    return [place for places in CITATION.findall(text) for place in places.split(', ')]


def places(document: str) -> list[str]:
    """What can be cited: the letter and number of headings, and the rows of open points."""
    return re.findall(r'^#{2,3} ([A-H]\d*)\. ', document, re.M) + re.findall(
        r'^\| (G\d+) \|', document, re.M
    )


def odd_citations(text: str) -> list[str]:
    """What comments and strings of Python cite in another form, as A5 without the name."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    said = [t.string for t in tokens if t.type in (tokenize.COMMENT, tokenize.STRING)]
    rest = [CITATION.sub('', one) for one in said if one != "'method.md'"]  # the file itself
    form = r'(?i:method\.md).*|(?<![\w.\[<>/%-])[A-EGH]\d{1,2}(?![\w.\]-])'
    return [found for one in rest for found in re.findall(form, one)]


@cache
def modules() -> dict[str, list[str]]:
    """Name of every module of both packages -> the classes and functions at its top."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob('*.py'):
            name = '.'.join((package, *path.relative_to(folder).with_suffix('').parts))
            tops = ast.parse(path.read_text('utf-8')).body
            kinds = ast.ClassDef | ast.FunctionDef
            found[name] = [top.name for top in tops if isinstance(top, kinds)]
    return found


def value_of(bundle: str, owner: str, name: str) -> Any:
    """The default of a setting or parameter, a constant, or what a bundle's YAML sets.

    Raises:
        LookupError: there is no such thing, or several; says which.
    """
    if bundle:
        data = yaml.safe_load((ROOT / 'cs3_ros' / 'bundles' / bundle).read_text('utf-8'))
        for key in (*owner.split('.'), name):
            data = data[key]
        return data
    if name.isupper():
        found = [one for one in modules() if f'.{one}'.endswith(f'.{owner}')]
    else:
        found = [one for one, tops in modules().items() if owner in tops]
    if len(found) != 1:
        raise LookupError(f'{owner} is in {found}: expected one module')
    module = importlib.import_module(found[0])
    if name.isupper():
        return vars(module)[name]
    thing = getattr(module, owner)
    if dataclasses.is_dataclass(thing):
        return {field.name: field.default for field in dataclasses.fields(thing)}[name]
    return inspect.signature(thing).parameters[name].default


def wrong_values(document: str) -> list[str]:
    """What the document states and the code does not have so."""
    wrong = []
    for bundle, owner, name, text in STATED.findall(document):
        try:
            found = value_of(bundle, owner, name)
        except LookupError as error:
            wrong.append(f'{owner}.{name}: {error!r}')
            continue
        stated = eval(text, {'__builtins__': {}})  # 2 / 352 is no literal
        if (type(stated), stated) != (type(found), found):
            wrong.append(f'{owner}.{name} = {text}: the code has {found!r}')
    return wrong


def test_every_citation_resolves() -> None:
    known = set(places(METHOD.read_text('utf-8')))
    found = {path: cited(path.read_text('utf-8')) for path in [*CODE, *DOCUMENTS]}
    missing = {path: names for path, names in found.items() if set(names) - known}
    assert not missing
    assert sum(map(len, found.values())) > 40, 'the search finds nothing'


def test_citations_have_one_form() -> None:
    python = [path for path in CODE if path.suffix == '.py']
    odd = {path: odd_citations(path.read_text('utf-8')) for path in python}
    assert not {path: found for path, found in odd.items() if found}


def test_what_does_not_resolve_is_found() -> None:
    known = places(METHOD.read_text('utf-8'))
    assert cited('# as method.md A5, Z9 and (method.md G99, A77)') == ['A5', 'G99', 'A77']
    assert {'A', 'A5', 'C3', 'G38'} <= set(known) and not {'A77', 'G99', 'G0'} & set(known)
    for line in ('# (A5)', '# method.md A5 and C3', "'method.md part A6'", '# Method.md B 3'):
        assert odd_citations(line), line
    assert odd_citations('x = A5  # method.md A5, C3: RGB [A5], F1, A 5 s clip on an H100') == []


def test_every_place_is_there_once_and_open_points_count_up() -> None:
    known = places(METHOD.read_text('utf-8'))
    assert len(set(known)) == len(known)
    points = [place for place in known if re.fullmatch(r'G\d+', place)]
    assert points == [f'G{number}' for number in range(1, 50)]


def test_every_open_point_names_its_switch_or_says_that_there_is_none() -> None:
    rows = re.findall(r'^\| G\d+ \|.*$', METHOD.read_text('utf-8'), re.M)
    for row in rows:
        _, _, _, choice, switch, where, _ = row.split('|')
        assert STATED.search(switch) or switch.strip() == 'no switch', row
        assert choice.strip() and where.strip(), row


def test_files_that_it_names_exist() -> None:
    folders = (ROOT, *PACKAGES.values(), PACKAGES['cs3_training'] / 'localiser')
    for name in set(re.findall(r'`([\w/]+\.(?:py|yaml))`', METHOD.read_text('utf-8'))):
        assert any((folder / name).is_file() for folder in folders), name


def test_the_stated_defaults_are_those_of_the_code() -> None:
    for package in ('torch', 'cs3_training'):
        pytest.importorskip(package)
    document = METHOD.read_text('utf-8')
    assert wrong_values(document) == []
    assert len(STATED.findall(document)) > 80, 'the search finds nothing'


@pytest.mark.parametrize(
    'stated',
    [
        'VerificationConfig.alpha = 0.7',
        'VerificationConfig.gamma = 0.6',
        'NoSuchConfig.alpha = 0.6',
        'verification.TIE_PX = 1',
        'verification.NO_SUCH = 1.0',
        "sample_score.denominator = 'truth'",
        'lite.yaml clip.frames_before_s = 0.4',
        'clipseg.IMAGE_SIZE = 352',  # of two modules
    ],
)
def test_a_wrong_default_is_found(stated: str) -> None:
    assert len(wrong_values(f'so `{stated}` it is')) == 1
    assert wrong_values('`VerificationConfig.alpha = 0.6`, `verification.TIE_PX = 1.0`') == []
