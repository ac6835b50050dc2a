import pytest
import yaml

from cs3_ros.bundles.bundle import BundleError, load_bundle
from cs3_ros.files.yamlfile import load_yaml
from cs3_ros.localisers.vocabulary import parse_vocabulary

LAUGHS = 'a: &a [x, x]\n' + ''.join(
    f'{b}: &{b} [*{a}, *{a}]\n' for a, b in zip('abc', 'bcd', strict=True)
)
DEEP = '[' * 100_000


def test_plain_values_are_read():
    assert load_yaml('{a: [1, no, 2.5, text], b: null}') == {
        'a': [1, False, 2.5, 'text'],
        'b': None,
    }


@pytest.mark.parametrize(
    'text, told', [(LAUGHS, r'alias \*a: .*written out'), (DEEP, 'too deeply')]
)
def test_what_would_fill_the_memory_is_refused(tmp_path, text, told):
    with pytest.raises(yaml.YAMLError, match=told):
        load_yaml(text)
    path = tmp_path / 'bundle.yaml'
    path.write_text(f'name: mine\nclip: {{}}\n{text}')
    with pytest.raises(BundleError, match=r'(?s)bundle.yaml.* not valid YAML'):
        load_bundle(str(path))
    with pytest.raises(ValueError, match='^here is not valid YAML'):
        parse_vocabulary(text, 'here')


def test_python_objects_are_refused():
    with pytest.raises(yaml.YAMLError, match='could not determine a constructor'):
        load_yaml('!!python/object/apply:os.abort []')
