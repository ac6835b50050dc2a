import json
import logging

import needs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import shared_data

from cs3_ros.collision import NS_PER_S, Frame
from cs3_ros.hands.hands23_json import Hands23Json, Hands23JsonConfig
from cs3_ros.hands.hands23_results import (
    CONTACTS,
    Hands23Hand,
    held,
    image_number,
    parse_results,
    read_results,
)

SHAPE = (480, 640, 3)


def entry(**changes):
    """One hand as the demo writes it: what is a number is a string."""
    return {
        'hand_id': 0,
        'hand_bbox': ['10.5', '200.0', '110.5', '300.0'],
        'contact_state': 'object_contact',
        'hand_side': 'right_hand',
        'obj_bbox': ['80.0', '150.0', '180.0', '250.0'],
        'obj_touch': 'tool_,_used',
        'obj_touch_scores': {'tool_,_used': '0.99'},
        'second_obj_bbox': ['150.0', '140.0', '250.0', '240.0'],
        'grasp': 'Pow-Pris',
        'grasp_scores': {'Pow-Pris': '0.98'},
        'hand_pred_score': '0.99',
        'obj_pred_score': '0.8',
        'sec_obj_pred_score': '0.4',
        **changes,
    }


EMPTY = {'obj_bbox': None, 'obj_touch': 'None', 'obj_pred_score': 'None'}
NO_SECOND = {'second_obj_bbox': None, 'sec_obj_pred_score': 'None'}


def results(**images):
    """Content of a result.json: name of an image -> its hands."""
    named = [{'file_name': name, 'predictions': hands} for name, hands in images.items()]
    return {'save_dir': 'results/', 'images': named}


def hand(**changes):
    values = {
        'side': 'right',
        'score': 0.9,
        'box': (10.0, 200.0, 110.0, 300.0),
        'contact': 'object_contact',
        'object_box': (80.0, 150.0, 180.0, 250.0),
        'object_score': 0.8,
        **changes,
    }
    return Hands23Hand(**values)


# --- the demo's file ------------------------------------------------------------------------------


def test_a_hand_is_read_as_the_demo_writes_it():
    (one,) = parse_results(results(a=[entry()]))['a']
    assert one == Hands23Hand(
        side='right',
        score=0.99,
        box=(10.5, 200.0, 110.5, 300.0),
        contact='object_contact',
        object_box=(80.0, 150.0, 180.0, 250.0),
        object_score=0.8,
        second_box=(150.0, 140.0, 250.0, 240.0),
        second_score=0.4,
    )


@pytest.mark.parametrize('absent', [None, 'None'])
def test_what_the_demo_did_not_find_is_none(absent):
    empty = entry(obj_bbox=absent, second_obj_bbox=absent, obj_pred_score='None')
    (one,) = parse_results(results(a=[empty]))['a']
    assert one.object_box is one.object_score is one.second_box is one.second_score is None


def test_numbers_may_be_numbers():
    numbers = entry(hand_bbox=[10, 200.0, '110', 300], hand_pred_score=1)
    (one,) = parse_results(results(a=[numbers]))['a']
    assert one.box == (10.0, 200.0, 110.0, 300.0) and one.score == 1.0


@pytest.mark.parametrize(
    ('changes', 'named'),
    [
        ({'hand_side': 'right'}, "hand_side = 'right'"),
        ({'hand_side': ['right_hand']}, 'hand_side'),
        ({'contact_state': 'contact'}, "contact_state = 'contact'"),
        ({'hand_bbox': None}, 'hand_bbox = None'),
        ({'hand_bbox': ['1', '2', '3']}, 'hand_bbox'),
        ({'hand_bbox': ['5', '2', '3', '4']}, 'hand_bbox'),
        ({'hand_bbox': ['1', '2', '3', 'nan']}, 'hand_bbox = nan'),
        ({'hand_pred_score': True}, 'hand_pred_score = True'),
        ({'hand_pred_score': 'None'}, "hand_pred_score = 'None'"),
        ({'hand_pred_score': '99'}, 'hand_pred_score = 99.0'),
        ({'obj_bbox': 'somewhere'}, "obj_bbox = 'somewhere'"),
        ({'obj_pred_score': 'None'}, "obj_pred_score = 'None'"),
        ({'sec_obj_pred_score': None}, 'sec_obj_pred_score = None'),
    ],
)
def test_other_values_are_refused_and_named(changes, named):
    with pytest.raises(ValueError, match='img, hand 1') as raised:
        parse_results(results(img=[entry(), entry(**changes)]))
    assert named in str(raised.value)


@pytest.mark.parametrize(
    'data', [[], {}, {'images': {}}, {'images': [1]}, {'images': [{'file_name': 'a'}]}]
)
def test_another_file_is_refused(data):
    with pytest.raises(ValueError, match='expected'):
        parse_results(data)


def test_an_image_that_comes_twice_is_refused():
    data = results(a=[])
    data['images'] *= 2
    with pytest.raises(ValueError, match=r"images\[1\].file_name = 'a'"):
        parse_results(data)


@pytest.mark.parametrize('text', ['{', '[' * 100_000, '\ud800'])
def test_a_file_that_is_no_json_is_named(tmp_path, text):
    path = tmp_path / 'result.json'
    path.write_bytes(text.encode('utf-8', 'surrogatepass'))
    with pytest.raises(ValueError, match='result.json'):
        read_results(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(changes=st.dictionaries(st.sampled_from(sorted(entry())), json_values, max_size=3))
def test_any_value_is_taken_or_refused_with_a_value_error(changes):
    try:
        (one,) = parse_results(results(a=[entry(**changes)]))['a']
    except ValueError:
        return
    assert one.side in ('left', 'right') and one.contact in CONTACTS
    assert 0 <= one.score <= 1 and np.isfinite(one.box).all()
    assert (one.object_box is None) == (one.object_score is None)


@given(json_values)
def test_any_content_is_taken_or_refused_with_a_value_error(data):
    for content in (data, {'images': data}, {'images': [data]}):
        try:
            parse_results(content)
        except ValueError as error:
            assert 'expected' in str(error)


@pytest.mark.parametrize(
    ('name', 'number'),
    [
        ('000123.jpg', 123),
        ('/000123.jpg', 123),
        ('P01\\P01_101\\frame_0000000140.jpg', 140),
        ('EK_0010_P04_101_frame_0000013113.jpg', 13113),
        ('1000033333333.png', 1000033333333),
        ('12/cover.jpg', None),
    ],
)
def test_an_image_has_the_last_number_of_its_name(name, number):
    assert image_number(name) == number


# --- the rules ------------------------------------------------------------------------------------


@pytest.mark.parametrize('contact', CONTACTS)
def test_only_hands_that_touch_an_object_count(contact):
    found = held([hand(contact=contact)], SHAPE)
    assert bool(found) == (contact in ('object_contact', 'obj_to_obj_contact'))


def test_right_comes_first_and_both_may_hold_the_same():
    right, left = held([hand(side='left'), hand()], SHAPE)
    assert (right.side, left.side) == ('right', 'left')
    assert right.object_box == left.object_box == (80.0, 150.0, 180.0, 250.0)


SMALL, LARGE = (10.0, 10.0, 50.0, 50.0), (10.0, 10.0, 90.0, 90.0)
LOW = (10.0, 300.0, 50.0, 340.0)


@pytest.mark.parametrize(
    ('better', 'worse'),
    [
        (hand(score=0.95, box=SMALL), hand(score=0.9, box=LARGE)),
        (hand(box=LARGE), hand(box=LOW)),
        (hand(box=LOW), hand(box=SMALL)),
    ],
)
def test_of_one_side_the_better_then_the_larger_then_the_lower_hand_counts(better, worse):
    for order in ([better, worse], [worse, better]):
        (found,) = held(order, SHAPE)
        assert found.hand_box == better.box and found.score == better.score


def test_a_better_hand_that_touches_nothing_does_not_hide_one_that_does():
    (found,) = held([hand(score=0.99, contact='no_contact'), hand(score=0.8)], SHAPE)
    assert found.score == 0.8


def test_thresholds_are_those_of_the_authors():
    assert held([hand(score=0.69)], SHAPE) == ()
    assert held([hand(score=0.7)], SHAPE)
    (weak,) = held([hand(object_score=0.49)], SHAPE)
    assert weak.object_box is None and weak.hand_box is not None
    (found,) = held([hand(score=0.55, object_score=0.2)], SHAPE, 0.5, 0.1)
    assert found.object_box is not None


@pytest.mark.parametrize(
    ('box', 'clipped'),
    [
        ((-5.0, -5.0, 20.0, 20.0), (0.0, 0.0, 20.0, 20.0)),
        ((600.0, 400.0, 700.0, 500.0), (600.0, 400.0, 640.0, 480.0)),
        ((0.0, 0.0, 4.0, 4.0), (0.0, 0.0, 4.0, 4.0)),
        ((0.0, 0.0, 4.0, 3.9), None),
        ((700.0, 0.0, 800.0, 100.0), None),
    ],
)
def test_object_boxes_are_clipped_and_specks_are_dropped(box, clipped):
    (found,) = held([hand(object_box=box)], SHAPE)
    assert found.object_box == clipped


# --- frames and images ----------------------------------------------------------------------------


def stage(tmp_path, data, **settings):
    path = tmp_path / 'result.json'
    path.write_text(json.dumps(data))
    return Hands23Json(Hands23JsonConfig(results=str(path), **settings))


def frame(seconds):
    return Frame.from_rgb(round(seconds * NS_PER_S), np.zeros(SHAPE, np.uint8))


def test_an_image_numbered_by_ffmpeg_belongs_to_the_frame_of_its_time(tmp_path):
    images = {f'/{number:06}.jpg': [] for number in range(1, 10)}
    images['/000004.jpg'] = [entry()]
    made = stage(tmp_path, results(**images), fps=29.97)
    # cs3 run starts at 1000 s; the fourth frame comes after three.
    frames = [frame(1000 + k / 29.97) for k in range(6)]
    assert [len(made.detect(frames, k)) for k in range(6)] == [0, 0, 0, 1, 0, 0]
    (found,) = made.detect(frames, 3)
    assert found.side == 'right' and found.object_box == (80.0, 150.0, 180.0, 250.0)


def test_the_numbering_can_be_told(tmp_path):
    data = results(**{'frame_0000000100.jpg': [entry()]})
    made = stage(tmp_path, data, fps=10.0, first=0, origin_s=5.0)
    assert made.detect([frame(15.0)], 0) and not made.detect([frame(15.1)], 0)


def test_without_a_rate_the_number_is_the_stamp(tmp_path):
    data = results(**{'1700000000033333333.png': [entry()]})
    made = stage(tmp_path, data)
    event = Frame.from_rgb(1700000000033333333, np.zeros(SHAPE, np.uint8))
    assert made.detect([event], 0)


def test_a_frame_without_an_image_has_no_hands_and_a_warning_says_so(tmp_path, caplog):
    made = stage(tmp_path, results(**{'000001.jpg': [entry()], '000002.jpg': []}), fps=30.0)
    with caplog.at_level(logging.WARNING):
        assert made.detect([frame(1000 + 1 / 30)], 0) == ()
        assert not caplog.records  # an image without hands is no reason to warn
        assert made.detect([frame(1003.0)], 0) == ()
    (record,) = caplog.records
    assert 'no image 91' in record.getMessage() and '1 to 2' in record.getMessage()


def test_thresholds_of_the_settings_are_used(tmp_path):
    data = results(**{'1.jpg': [entry(hand_pred_score='0.6', obj_pred_score='0.2')]})
    assert stage(tmp_path, data, fps=1.0).detect([frame(1000)], 0) == ()
    low = stage(tmp_path, data, fps=1.0, hand_threshold=0.5, object_threshold=0.1)
    (found,) = low.detect([frame(1000)], 0)
    assert found.object_box is not None


@pytest.mark.parametrize(
    ('names', 'named'),
    [
        (['a/000001.jpg', 'b/000001.jpg'], 'two images of number 1'),
        (['cover.jpg'], "'cover.jpg' has no number"),
    ],
)
def test_images_of_no_or_of_two_recordings_are_refused(tmp_path, names, named):
    with pytest.raises(ValueError, match=named):
        stage(tmp_path, results(**{name: [] for name in names}))


def test_a_file_must_be_named_and_there(tmp_path):
    with pytest.raises(ValueError, match='result.json of the Hands23 demo'):
        Hands23Json(Hands23JsonConfig())
    with pytest.raises(ValueError, match='nowhere.json cannot be read'):
        Hands23Json(Hands23JsonConfig(results=str(tmp_path / 'nowhere.json')))


# --- the real demo --------------------------------------------------------------------------------


def test_the_real_demo_is_read_to_the_last_hand():
    path = shared_data('hands23_demo') / 'example_result' / 'result.json'
    hands = read_results(path)
    assert {image_number(name): len(found) for name, found in hands.items()} == {
        5: 1,
        57750: 2,
        13113: 2,
        5401: 4,
        86975: 2,
    }
    raw = {
        image['file_name']: image['predictions'] for image in json.loads(path.read_text())['images']
    }
    for name, found in hands.items():
        for one, written in zip(found, raw[name], strict=True):
            assert one.side == written['hand_side'].removesuffix('_hand')
            np.testing.assert_allclose(one.box, [float(x) for x in written['hand_bbox']])
            assert (one.second_box is None) == (written['second_obj_bbox'] is None)


@needs.with_opencv
@pytest.mark.parametrize(
    ('number', 'expected'),
    [
        (5, {}),  # a hand that touches nothing
        (57750, {'right': (223, 205, 407, 391), 'left': (223, 205, 407, 391)}),  # one, both hands
        (13113, {'right': (878, 812, 1036, 926), 'left': (584, 821, 813, 1052)}),
        (5401, {'right': (353, 418, 431, 457), 'left': (1010, 361, 1142, 515)}),  # two people
        (86975, {'right': (1182, 429, 1286, 603), 'left': (365, 483, 523, 865)}),
    ],
)
def test_the_rules_choose_from_the_real_demo(number, expected):
    import cv2

    folder = shared_data('hands23_demo')
    made = Hands23Json(Hands23JsonConfig(results=str(folder / 'example_result' / 'result.json')))
    (path,) = (folder / 'example_images').glob(f'*[!1-9]{number}.jpg')
    image = cv2.imread(str(path))[..., ::-1]
    found = made.detect([Frame.from_rgb(number, image)], 0)
    boxes = {one.side: tuple(round(x) for x in one.object_box) for one in found}
    assert boxes == expected


def test_the_stages_share_their_defaults():
    assert held.__defaults__ == (
        Hands23JsonConfig().hand_threshold,
        Hands23JsonConfig().object_threshold,
    )
