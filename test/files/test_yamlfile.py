"""YAML within bounds: plain values are read; whatever hangs or ends other readers is refused."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cs3_ros.files.yamlfile import MAX_BYTES, MAX_DEPTH, load_yaml, read_yaml


def test_plain_values_are_read():
    assert load_yaml('{a: [1, no, 2.5, text], b: null}') == {
        'a': [1, False, 2.5, 'text'],
        'b': None,
    }


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**90), 10**90) | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


@given(PLAIN)
def test_what_yaml_writes_is_read_back(value):
    class Written(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

    assert load_yaml(yaml.dump(value, Dumper=Written)) == value


@pytest.mark.parametrize(
    'text, message',
    [
        ('a: &a [x]\nb: *a\n', r'(?s)alias \*a: expected it written out.* line 2'),
        ('&a [*a]', r'alias \*a'),
        ('a: &a {x: 1}\nb: {<<: *a}\n', r'alias \*a'),
        ('[' * (MAX_DEPTH + 1), f'nested too deeply: expected at most {MAX_DEPTH}'),
        ('[' * 100_000, 'nested too deeply'),
        ('{a: ' * 100_000, 'nested too deeply'),
        ('- ' * 100_000, 'nested too deeply'),
        ('? ' * 100_000, 'nested too deeply'),
        ('a: 1' + ':1' * 100_000, 'number of 200001 characters: expected at most 100'),
        ('a: ' + '1' * 5000, 'number of 5000 characters'),
        ('#' * (MAX_BYTES + 1), f'{MAX_BYTES + 1} characters: expected at most'),
        ('!!python/object/apply:os.abort []', 'could not determine a constructor'),
        ('a: 2020-13-45', 'a value cannot be read: .*month must be'),
        ('!!timestamp noon', 'a value cannot be read'),
        ('!!int ""', 'a value cannot be read'),
        ('!!bool perhaps', 'a value cannot be read'),
        ('? [a]\n: b', 'unhashable'),
        ('a\n---\nb', 'single document'),
        ('a: \x07', 'special characters are not allowed'),
    ],
    ids=lambda value: value[:20],
)
def test_what_hangs_or_ends_other_readers_is_refused(text, message):
    with pytest.raises(yaml.YAMLError, match=message):
        load_yaml(text)


def test_as_deep_as_it_is_promised():
    value = load_yaml('[' * MAX_DEPTH + 'x' + ']' * MAX_DEPTH)
    for _ in range(MAX_DEPTH):
        (value,) = value
    assert value == 'x'


TEXTS = st.text() | st.text('abc123:-?[]{}&*!|>\'"#%,. \n\t~<', max_size=60)
TAGS = st.sampled_from(['int', 'float', 'bool', 'null', 'timestamp', 'binary', 'omap', 'set'])


@given(TEXTS, TAGS)
def test_any_text_is_read_or_refused(text, tag):
    for given_text in (text, f'!!{tag} {text}'):
        try:
            load_yaml(given_text)
        except yaml.YAMLError:
            pass


def test_a_file_is_named(tmp_path):
    path = tmp_path / 'a.yaml'
    path.write_text('größe: [1]\n', 'utf-8')
    assert read_yaml(path, 'my file') == {'größe': [1]}
    path.write_text('[')
    with pytest.raises(ValueError, match='^my file is not valid YAML: '):
        read_yaml(path, 'my file')
    path.write_bytes(b'\xff\xfe')
    with pytest.raises(ValueError, match='^my file cannot be read: .*codec'):
        read_yaml(path, 'my file')
    path.write_text('é' * (MAX_BYTES // 2 + 1), 'utf-8')
    with pytest.raises(ValueError, match=f'^my file is longer than the {MAX_BYTES} bytes'):
        read_yaml(path, 'my file')
    for other in (tmp_path, tmp_path / 'none.yaml'):
        with pytest.raises(ValueError, match='^my file cannot be read: '):
            read_yaml(other, 'my file')
