"""What the demo's subscriber makes of the messages, and of a run that went wrong."""

from __future__ import annotations

import needs

needs.ros()

import math
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cs3_ros.ros import spectator
from cs3_ros.ros.processes import Child
from cs3_ros.ros.spectator import Answer, events_of, play

MASKS = [np.full((2, 3), value, np.uint8) for value in range(3)]


def answer(onset_ns: int, frame_ns: int) -> Answer:
    return Answer(onset_ns, frame_ns, ('right_hand',), 9.0)


def test_two_events_on_one_frame_keep_their_own_masks() -> None:
    """The worker answers in the order in which events become ready, not in that of the onsets."""
    heard_s = {10: 1.0, 20: 2.0, 30: 3.0, 40: 4.0}
    answers = [answer(20, 500), answer(10, 500), answer(40, 600)]
    events = events_of(heard_s, answers, list(zip((500, 500, 600), MASKS, strict=True)))
    assert [event.onset_ns for event in events] == [10, 20, 30, 40]
    assert events[0].label_image is MASKS[1] and events[1].label_image is MASKS[0]
    assert events[3].label_image is MASKS[2] and events[3].frame_ns == 600
    assert events[2].label_image is None and math.isnan(events[2].answered_s)
    assert [event.heard_s for event in events] == [1.0, 2.0, 3.0, 4.0]
    assert events[0].labels == ('right_hand',) and events[0].answered_s == 9.0


def test_an_answer_without_its_onset_is_an_event() -> None:
    (event,) = events_of({}, [answer(10, 500)], [(500, MASKS[0])])
    assert (event.onset_ns, event.heard_s) == (10, 9.0)


@pytest.mark.parametrize(
    'masks', [[], [(500, MASKS[0]), (500, MASKS[1])], [(600, MASKS[0])]], ids=['0', '2', 'other']
)
def test_masks_that_were_lost_are_told(masks) -> None:
    with pytest.raises(RuntimeError, match='messages were lost'):
        events_of({10: 1.0}, [answer(10, 500)], masks)


NEVER = math.inf
BAG_END_S = 10.0


class Stage:
    """Processes and a spectator that follow a script, on a clock that only ``spin_until`` moves.

    Args:
        folder: for what the processes wrote.
        ends: when node and player end, seconds, and their exit status.
        finished_s: when the last onset is answered.
    """

    def __init__(self, folder: Path, ends: dict[str, tuple[float, int]], finished_s: float) -> None:
        self.now_s = 0.0
        self._folder, self._ends, self._finished_s = folder, ends, finished_s

    @contextmanager
    def children(self):
        yield lambda module, *arguments: self.child('player' if 'play' in arguments else 'node')

    def child(self, name: str) -> Child:
        end_s, status = self._ends[name]
        child = Child.__new__(Child)
        child.name, child._log = name, self._folder / name
        child._log.write_text(f'words of the {name}')
        child._process = SimpleNamespace(
            poll=lambda: status if self.now_s >= end_s else None,
            wait=lambda timeout_s: status,
            returncode=status,
        )
        return child

    def spectator(self) -> object:
        stage = self

        class Spectator:
            active = True
            heard_s = {10: 1.0}
            answers = masks = ()
            overlays = heat_maps = timings_ms = counts = {}

            @property
            def finished(self) -> bool:
                return stage.now_s >= stage._finished_s

            def destroy_node(self) -> None:
                pass

        return Spectator()

    def spin_until(self, node: object, condition: Callable[[], object], timeout_s: float) -> bool:
        end_s = min(self.now_s + timeout_s, 1000.0)
        while not condition() and self.now_s < end_s:
            self.now_s += 0.5
        return bool(condition())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    """Plays on a ``Stage``; by default everything goes well."""

    def played(
        node: tuple[float, int] = (NEVER, 0),
        player: tuple[float, int] = (BAG_END_S, 0),
        finished_s: float = BAG_END_S + 3,
    ) -> Stage:
        stage = Stage(tmp_path, {'node': node, 'player': player}, finished_s)
        for name in ('own_domain', 'ros'):
            monkeypatch.setattr(spectator, name, nullcontext)
        monkeypatch.setattr(spectator, 'children', stage.children)
        monkeypatch.setattr(spectator, '_Spectator', stage.spectator)
        monkeypatch.setattr(spectator, 'spin_until', stage.spin_until)
        stage.events = play(tmp_path / 'bag', 'lite').events
        return stage

    return played


def test_a_run_that_went_well_waits_for_its_answers(run) -> None:
    stage = run()
    assert [event.onset_ns for event in stage.events] == [10] and stage.now_s == BAG_END_S + 3


@pytest.mark.parametrize(
    'failure, message',
    [
        (dict(node=(4.0, -9)), r'node ended \(-9\):\nwords of the node'),
        (dict(node=(4.0, 1), player=(NEVER, 0)), r'node ended \(1\)'),
        (dict(node=(BAG_END_S + 1, 1), finished_s=0.0), r'node ended \(1\)'),
        (dict(node=(BAG_END_S + 5, 1), finished_s=NEVER), r'node ended \(1\)'),
        (dict(player=(2.0, 1)), r'player ended \(1\):\nwords of the player'),
        (dict(finished_s=NEVER), r'within 60 s of the end of the bag: (.|\n)*words of the node'),
    ],
    ids=['killed', 'first', 'closing', 'answering', 'player', 'slow'],
)
def test_a_run_that_failed_is_no_finished_demo(run, failure, message) -> None:
    with pytest.raises(RuntimeError, match=message):
        run(**failure)
