"""The four stages in their order, with stages that only record what they are given."""

import contextlib
import threading
from dataclasses import replace

import needs
import numpy as np
import pytest
from fakes import BoxMasker

from cs3_ros.collision import (
    AudioClip,
    CollisionClip,
    Frame,
    HandObject,
    Localisation,
    Onset,
    Verdict,
)
from cs3_ros.pipeline import Pipeline
from cs3_ros.verification import VerificationConfig

SIZE = (40, 60)
HULL = np.array([[0, 0], [4, 0], [4, 4]], np.float32)


class Hands:
    """Gives the hands it was made with."""

    def __init__(self, *hands):
        self.hands, self.seen = hands, []

    def detect(self, frames, index):
        self.seen.append((len(frames), index))
        return self.hands


class Localiser:
    """Hears every sound in the same box, or nowhere."""

    def __init__(self, box=None):
        self.box, self.calls = box, []

    def encode(self, frames, index):
        self.calls.append(('encode', index))
        return 'state'

    def locate(self, encoded, audio):
        self.calls.append(('locate', encoded, audio.samples.size))
        return self.box and Localisation(np.full(SIZE, 0.5, np.float32), self.box, 0.7)


class Masker(BoxMasker):
    """Remembers the prompts."""

    def __init__(self):
        super().__init__()
        self.encoded, self.prompts = 0, []

    def encode(self, image):
        self.encoded += 1
        return super().encode(image)

    def segment(self, encoded, prompts):
        self.prompts += prompts
        return super().segment(encoded, prompts)


def hand(side, box=None, points=0, hull=HULL, score=0.9):
    grip = np.zeros((points, 2), np.float32)
    return HandObject(side, score, (0, 0, 4, 4), hull, grip, box)


def clip():
    frames = tuple(Frame.from_rgb(n + 1, np.zeros((*SIZE, 3), np.uint8)) for n in range(3))
    audio = AudioClip(1, 8000, np.zeros(80, np.float32), np.ones(80, bool))
    return CollisionClip(Onset(2, -1.0, 30.0), frames, 1, audio)


@needs.with_opencv
def test_a_collision_carries_its_provenance():
    hands = Hands(hand('left', (30, 10, 40, 20)), hand('right', (10, 10, 29, 20), score=0.8))
    localiser, given = Localiser((50, 30, 60, 40)), clip()
    result = Pipeline('test', Masker(), hands, localiser)(given)
    assert [c.label for c in result.candidates] == ['right_hand', 'left_hand', 'audio_visual']
    assert [c.score for c in result.candidates] == [0.8, 0.9, 0.7]
    assert [c.label for c in result.objects] == ['right_hand', 'left_hand']
    assert (result.onset, result.frame, result.bundle) == (given.onset, given.frame, 'test')
    assert result.verdict.rule == 'closest_pair' and result.hands == hands.hands
    assert result.heat_map.shape == SIZE
    assert set(result.timings_ms) == {
        *('decode', 'hands', 'localiser_encode', 'masker_encode'),
        *('localiser_locate', 'masks', 'verify'),
    }
    assert all(milliseconds >= 0 for milliseconds in result.timings_ms.values())


class Verifier:
    """Takes the last candidate, and says so."""

    def __init__(self):
        self.calls = []

    def encode(self, frame):
        self.calls.append(('encode', frame.stamp_ns))
        return 'seen'

    def verify(self, encoded, audio, candidates, config):
        self.calls.append((encoded, audio.samples.size, config.beta))
        return Verdict((replace(candidates[-1], sounding=0.8),), 'mine', None)


def test_another_strategy_sees_the_frame_first_and_hears_the_sound_last():
    verifier, given = Verifier(), clip()
    config = VerificationConfig(beta=7.0)
    hands, localiser = Hands(hand('right', (10, 10, 29, 20))), Localiser((50, 30, 60, 40))
    pipeline = Pipeline('test', Masker(), hands, localiser, config, verifier)
    prepared = pipeline.prepare(given.frames, given.event_index)
    assert verifier.calls == [('encode', given.frame.stamp_ns)]
    result = pipeline.finish(prepared, given)
    assert verifier.calls[1:] == [('seen', 80, 7.0)]
    assert [(one.label, one.sounding) for one in result.objects] == [('audio_visual', 0.8)]
    assert 'verifier_encode' in result.timings_ms and result.verdict.rule == 'mine'


def test_prepare_needs_no_sound_and_finish_encodes_no_picture():
    masker, localiser, given = Masker(), Localiser((0, 0, 9, 9)), clip()
    pipeline = Pipeline('test', masker, Hands(), localiser)
    prepared = pipeline.prepare(given.frames, given.event_index)
    assert pipeline.hands.seen == [(3, 1)] and localiser.calls == [('encode', 1)]
    assert masker.encoded == 1 and not masker.prompts
    once, twice = pipeline.finish(prepared, given), pipeline.finish(prepared, given)
    assert masker.encoded == 1 and localiser.calls[1:] == [('locate', 'state', 80)] * 2
    assert np.array_equal(once.label_image(), twice.label_image())
    assert 'masks' not in prepared.timings_ms, 'the prepared half is not written to'


@needs.with_opencv
def test_prompts_come_in_order_of_priority_without_the_hands():
    masker = Masker()
    hands = Hands(hand('left', (1, 1, 9, 9)), hand('right', (20, 1, 29, 9), points=2))
    Pipeline('test', masker, hands, Localiser((40, 1, 49, 9)))(clip())
    assert [prompt.box[0] for prompt in masker.prompts] == [20, 1, 40]
    assert [len(prompt.positive_points) for prompt in masker.prompts] == [2, 0, 0]
    assert all(len(prompt.exclude) == 2 for prompt in masker.prompts)


def test_hands_that_hold_nothing_make_no_candidate():
    masker = Masker()
    hands = Hands(hand('right'), hand('left', (1, 1, 9, 9), hull=HULL[:0]))
    result = Pipeline('test', masker, hands)(clip())
    assert [c.label for c in result.candidates] == ['left_hand'] and len(result.hands) == 2
    assert [len(prompt.exclude) for prompt in masker.prompts] == [1], 'a hull needs three corners'


@pytest.mark.parametrize(
    'hands, localiser', [(Hands(), None), (None, Localiser()), (Hands(), Localiser())]
)
def test_nothing_found_is_an_answer_too(hands, localiser):
    masker = Masker()
    result = Pipeline('test', masker, hands, localiser)(clip())
    assert result.objects == () and result.verdict.rule == 'none' and result.heat_map is None
    assert not masker.prompts and not result.label_image().any()


@needs.with_opencv
def test_thresholds_may_change_between_events():
    hands = Hands(hand('right', (0, 0, 10, 10)), hand('left', (20, 0, 30, 10)))
    pipeline = Pipeline('test', Masker(), hands, verification=VerificationConfig(beta=1.0))
    assert len(pipeline(clip()).objects) == 1
    pipeline.verification = VerificationConfig(beta=300.0)
    assert len(pipeline(clip()).objects) == 2


def test_a_pipeline_without_any_source_of_candidates_is_refused():
    with pytest.raises(ValueError, match="'empty': expected hands, a localiser or both"):
        Pipeline('empty', Masker())


def test_a_broken_picture_is_reported():
    def broken(payload):
        raise ValueError('truncated JPEG')

    frames = (Frame(1, b'', broken),)
    with pytest.raises(ValueError, match='truncated'):
        Pipeline('test', Masker(), Hands()).prepare(frames, 0)


class FullOnce:
    """A stage whose GPU memory is full on the first calls."""

    def __init__(self, stage, name, times):
        self._stage, self._name, self.left = stage, name, times

    def __getattr__(self, name):
        if name != self._name:
            return getattr(self._stage, name)

        def call(*arguments):
            if self.left:
                self.left -= 1
                torch = pytest.importorskip('torch')
                raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')
            return getattr(self._stage, name)(*arguments)

        return call


@needs.with_opencv
@pytest.mark.parametrize(
    'stage, name',
    [('masker', 'encode'), ('masker', 'segment'), ('hands', 'detect'), ('localiser', 'locate')],
)
def test_a_stage_that_ran_out_of_gpu_memory_runs_once_more(stage, name):
    stages = {
        'masker': Masker(),
        'hands': Hands(hand('left', (30, 10, 40, 20))),
        'localiser': Localiser((50, 30, 60, 40)),
    }
    expected = Pipeline('test', **stages)(clip())
    stages[stage] = FullOnce(stages[stage], name, times=1)
    pipeline = Pipeline('test', **stages)
    result = pipeline(clip())
    assert np.array_equal(result.label_image(), expected.label_image())
    assert pipeline.counts['out_of_memory'] == 1
    pipeline(clip())
    assert pipeline.counts['out_of_memory'] == 1


def test_memory_that_stays_full_fails_the_event_and_not_the_next():
    masker = FullOnce(Masker(), 'encode', times=2)
    pipeline = Pipeline('test', masker, Hands(hand('left', (30, 10, 40, 20))))
    with pytest.raises(RuntimeError, match='out of memory'):
        pipeline(clip())
    assert pipeline.counts['out_of_memory'] == 1
    assert len(pipeline(clip()).objects) == 1


def test_another_error_is_not_tried_again():
    def fail(image):
        calls.append(image)
        raise RuntimeError('no')

    calls: list = []
    masker = Masker()
    masker.encode = fail
    with pytest.raises(RuntimeError, match='no'):
        Pipeline('test', masker, Hands())(clip())
    assert len(calls) == 1


def test_points_of_the_hands_themselves_are_negative_points():
    own = np.array([[3, 4], [5, 6]], np.float32)
    held = HandObject('right', 0.9, None, grip_points=own + 9, hand_points=own)
    masker = Masker()
    masker.segment = lambda encoded, prompts: (
        masker.prompts.extend(prompts),
        [np.zeros(SIZE) > 0],
    )[1]
    Pipeline('test', masker, Hands(held))(clip())
    (prompt,) = masker.prompts
    assert prompt.box is None and np.array_equal(prompt.negative_points, own)
    assert np.array_equal(prompt.positive_points, own + 9)


def test_threads_take_turns_at_a_stage():
    """Networks with hooks and graphs serve one at a time; who comes second waits."""
    inside, most, met = [], [], threading.Barrier(2)

    class OneAtATime(Hands):
        def detect(self, frames, index):
            inside.append(1)
            most.append(len(inside))
            with contextlib.suppress(threading.BrokenBarrierError):
                met.wait(0.2)  # two at once would meet here
            inside.pop()
            return ()

    pipeline, given = Pipeline('test', Masker(), OneAtATime()), clip()
    threads = [threading.Thread(target=pipeline, args=(given,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1]


@needs.with_opencv
def test_decide_is_the_half_after_the_localiser():
    localiser, masker = Localiser((5, 5, 20, 20)), Masker()
    pipeline = Pipeline('mine', masker, Hands(hand('right', (20, 5, 40, 20))), localiser)
    one = clip()
    prepared = pipeline.prepare(one.frames, one.event_index)
    whole = pipeline.finish(prepared, one)
    calls = len(localiser.calls)
    elsewhere = Localisation(np.full(SIZE, 0.25, np.float32), (40, 20, 59, 39), 0.3)
    decided = pipeline.decide(prepared, elsewhere, one)
    assert len(localiser.calls) == calls, 'the localiser is not asked'
    assert [c.label for c in decided.candidates] == ['right_hand', 'audio_visual']
    assert decided.candidates[1].score == 0.3 and decided.candidates[1].box == (40, 20, 59, 39)
    assert decided.heat_map is elsewhere.heat_map and whole.heat_map is not elsewhere.heat_map
    assert 'localiser_locate' in whole.timings_ms and 'localiser_locate' not in decided.timings_ms
    assert 'masks' in decided.timings_ms and 'masks' not in prepared.timings_ms


def test_decide_without_a_localisation_leaves_the_hands():
    pipeline = Pipeline('mine', Masker(), Hands(hand('left', (20, 5, 40, 20))), Localiser())
    one = clip()
    decided = pipeline.decide(pipeline.prepare(one.frames, one.event_index), None, one)
    assert [c.label for c in decided.candidates] == ['left_hand'] and decided.heat_map is None
