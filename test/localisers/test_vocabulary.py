import csv

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from shared_data import shared_data

from cs3_ros.localisers.vocabulary import Phrase, read_vocabulary

GOOD = """
object_prompt: 'a photo of {}'
collisions:
  metal-ceramic:
    a spoon hits a bowl: [a spoon, a bowl]
  paper-only:
    paper   is crumpled: [paper]
"""


@pytest.fixture(scope='module')
def read(tmp_path_factory):
    """Reads a text as a file of one's own."""
    path = tmp_path_factory.mktemp('vocabulary') / 'mine.yaml'

    def read(text):
        path.write_text(text, 'utf-8', 'surrogatepass')
        try:
            return read_vocabulary(str(path))
        except ValueError as error:
            assert str(error).startswith(f'vocabulary {path}')
            raise

    return read


def test_every_phrase_has_a_sound_and_its_things_in_the_words_of_the_prompt(read):
    assert read(GOOD) == (
        Phrase('metal-ceramic', 'a spoon hits a bowl', ('a photo of a spoon', 'a photo of a bowl')),
        Phrase('paper-only', 'paper is crumpled', ('a photo of paper',)),
    )


def test_without_a_prompt_the_things_are_taken_as_they_are(read):
    (phrase,) = read('collisions: {any: {a knock: [a door]}}')
    assert phrase.objects == ('a door',)


def test_the_shipped_vocabulary_covers_the_24_classes():
    phrases = read_vocabulary()
    assert 100 <= len(phrases) <= 200
    headings = {phrase.materials for phrase in phrases}
    assert len(headings) == 24
    assert all(phrase.objects[0].startswith('a photo of ') for phrase in phrases)


def test_the_headings_are_those_of_the_annotations():
    path = shared_data('cs3_annotations') / 'epic_train_filtered.csv'
    with open(path, newline='') as file:
        classes = {row['class'] for row in csv.DictReader(file)}
    assert {f'{phrase.materials}-collision' for phrase in read_vocabulary()} == classes


@pytest.mark.parametrize(
    'text, names',
    [
        ('[]', ['expected a mapping']),
        ('', ['expected a mapping']),
        ('collisions: {', ['not valid YAML']),
        ('object_prompt: {}\ncollisions: {}', ['object_prompt', 'expected a text']),
        ("object_prompt: 'a photo'\ncollisions: {a: {b: [c]}}", ['object_prompt', 'a photo']),
        ("object_prompt: '{} {}'\ncollisions: {a: {b: [c]}}", ['object_prompt', 'once']),
        ("object_prompt: '{}'", ['missing collisions']),
        ('collisions: {}', ['collisions', 'at least one']),
        ('collisions: {a: {b: [c]}}\nphrases: {}', ['unknown key(s) phrases']),
        ('collisions: {metal-only: {}}', ["'metal-only'", 'at least one']),
        ('collisions: {metal-only: [a, b]}', ["'metal-only'", "['a', 'b']"]),
        ('collisions: {a: {a bang: []}}', ["'a bang'", 'at least 1']),
        ('collisions: {a: {a bang: a door}}', ["'a bang'", "'a door'"]),
        ('collisions: {a: {a bang: [a door, {}]}}', ["'a bang'", '{}']),
        ("collisions: {a: {a bang: [a door, ' ']}}", ["'a bang'", "' '"]),
        ('collisions: {a: {a bang: [a door, a door]}}', ["'a bang'", 'twice']),
        ("collisions: {a: {' ': [a door]}}", ["' '", 'expected a text']),
        ('collisions: {a: {bang: [b]}, c: {bang: [d]}}', ["'c', 'bang'", "under 'a'"]),
        ('collisions: {a: {bang: [b], bang: [d]}}', ["'bang' is given twice", 'line 1']),
        ('collisions: {a: {b: [c]}, a: {d: [e]}}', ["'a' is given twice"]),
        ('collisions: {a: !!python/object/apply:os.abort []}', ["'a'", 'mapping']),
    ],
)
def test_a_broken_vocabulary_is_refused_with_its_entry(read, text, names):
    with pytest.raises(ValueError) as refused:
        read(text)
    assert [name for name in names if name not in str(refused.value)] == []


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / 'none.yaml', tmp_path):
        with pytest.raises(ValueError, match=str(path)):
            read_vocabulary(str(path))
    (tmp_path / 'bytes.yaml').write_bytes(b'\xff\xfe\xfa')
    with pytest.raises(ValueError, match='bytes.yaml'):
        read_vocabulary(str(tmp_path / 'bytes.yaml'))


word = st.text('abcdefghijklmnopqrstuvwxyz0123456789:#-[]{}\'"!&*', min_size=1, max_size=12)


things = st.sets(word, min_size=1, max_size=3)


@given(st.dictionaries(word, st.dictionaries(word, things, min_size=1, max_size=3), max_size=3))
def test_what_yaml_writes_is_read_back(read, headings):
    sounds = [sound for entries in headings.values() for sound in entries]
    text = yaml.safe_dump(
        {
            'collisions': {
                heading: {sound: sorted(things) for sound, things in entries.items()}
                for heading, entries in headings.items()
            }
        },
        sort_keys=False,
    )
    if not headings or len(set(sounds)) < len(sounds):
        with pytest.raises(ValueError):
            read(text)
        return
    expected = tuple(
        Phrase(heading, sound, tuple(sorted(things)))
        for heading, entries in headings.items()
        for sound, things in entries.items()
    )
    assert read(text) == expected


@given(st.one_of(st.text(), st.text('collisins: {}[]ab,\n-"\'!&*|>', max_size=40)))
def test_any_text_is_read_or_refused(read, text):
    try:
        phrases = read(text)
    except ValueError:
        return
    assert phrases
