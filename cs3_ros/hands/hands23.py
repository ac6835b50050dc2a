"""Hands and held objects by Hands23, the detector that the CS3 paper uses (method.md B1, B2).

Hands23 (Cheng, Shan et al., NeurIPS 2023) is built on detectron2 and lives in its authors' own
repository. The usual way is to run their demo on the frames of a recording and to name its
``result.json`` here (``Hands23Json``: needs nothing). ``Hands23Hands`` runs it in this process.
Both give the same ``Hands23Hand`` rows, from which ``held`` picks one hand of each side.
"""

from __future__ import annotations

import importlib
import logging
import pickle
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S, Box, Frame, HandObject, Side
from cs3_ros.config import setting, validate
from cs3_ros.hands.boxes import MIN_OBJECT_AREA, clipped
from cs3_ros.hands.hands23_results import CONTACTS, Hands23Hand, image_number, read_results
from cs3_ros.runtime import Runtime

log = logging.getLogger(__name__)

HOLDING = ('object_contact', 'obj_to_obj_contact')
"""Hands of another contact are ignored."""

_REPOSITORY = 'https://github.com/EvaCheng-cty/hands23_detector'
_NETWORK = 'faster_rcnn_X_101_32x8d_FPN_3x_Hands23.yaml'
_HAND, _FIRST, _SECOND = range(3)


def held(
    hands: Iterable[Hands23Hand],
    shape: tuple[int, ...],
    hand_threshold: float = 0.7,
    object_threshold: float = 0.5,
) -> tuple[HandObject, ...]:
    """One hand of each side with its first object, right first (method.md B2).

    Of the hands of one side that touch an object the highest score wins, then the larger box, then
    the lower one: the wearer's hands come from below. Both hands may hold the same object. Second
    objects are not looked at.

    Args:
        hands: all hands of one picture.
        shape: of the picture, height and width first; boxes are clipped to it.
        hand_threshold: score from which on a hand counts.
        object_threshold: score from which on its object counts.
    """
    best: dict[Side, Hands23Hand] = {}
    for hand in hands:
        if hand.contact in HOLDING and hand.score >= hand_threshold:
            if hand.side not in best or _rank(hand) > _rank(best[hand.side]):
                best[hand.side] = hand
    found = []
    sides: tuple[Side, ...] = ('right', 'left')
    for hand in (best[side] for side in sides if side in best):
        object_box = None
        if hand.object_box is not None and (hand.object_score or 0.0) >= object_threshold:
            object_box = clipped(hand.object_box, shape, MIN_OBJECT_AREA)
        hand_box = clipped(hand.box, shape, 0.0)
        found.append(HandObject(hand.side, hand.score, hand_box, object_box=object_box))
    return tuple(found)


def _rank(hand: Hands23Hand) -> tuple[float, float, float]:
    x0, y0, x1, y1 = hand.box
    return hand.score, (x1 - x0) * (y1 - y0), y1


# --- precomputed ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hands23JsonConfig:
    """Settings of ``Hands23Json``.

    An image belongs to the frame whose number is the last one in its file name. With ``fps`` that
    is a number of a frame, as in ``ffmpeg -i clip.mp4 frames/%06d.jpg`` or EPIC-KITCHENS; without,
    it is the frame's stamp in nanoseconds, which suits bags and uneven frame rates.
    """

    results: str = setting('', 'The result.json of the Hands23 demo.', weights=True)
    fps: float = setting(
        0.0,
        'Images per second of the recording; 0 where file names hold stamps in nanoseconds.',
        minimum=0.0,
        maximum=10_000.0,
    )
    first: int = setting(
        1, 'Number of the image at media time 0; ffmpeg counts from 1.', minimum=0, maximum=10**12
    )
    origin_s: float = setting(
        1000.0,
        'Stamp of media time 0, s; what cs3 run has as --start.',
        minimum=0.0,
        maximum=1e10,
    )
    hand_threshold: float = setting(
        0.7, 'Score in [0, 1] from which on a hand counts.', minimum=0.0, maximum=1.0
    )
    object_threshold: float = setting(
        0.5, 'Score in [0, 1] from which on its object counts.', minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        validate(self)


class Hands23Json:
    """HandDetector that looks up what the Hands23 demo found on the frames of a recording.

    The images must have the size of the frames. A frame without an image has no hands; a warning
    says so.

    Raises:
        ValueError: no file is named, it is not such a file, or two of its images have one number.
        OSError: it cannot be read.
    """

    def __init__(self, config: Hands23JsonConfig) -> None:
        if not config.results:
            raise ValueError(
                'hands of type hands23_json need results: name the result.json of the Hands23 demo'
            )
        self.config = config
        self._path = Path(config.results)
        self._hands: dict[int, tuple[Hands23Hand, ...]] = {}
        for name, hands in read_results(self._path).items():
            number = image_number(name)
            if number is None:
                raise ValueError(f'{self._path}: {name!r} has no number: it belongs to no frame')
            if number in self._hands:
                raise ValueError(
                    f'{self._path}: two images of number {number}, one is {name!r}; '
                    'expected the frames of one recording'
                )
            self._hands[number] = hands

    def detect(self, frames: Sequence[Frame], index: int) -> tuple[HandObject, ...]:
        """At most one HandObject per side, right first, in pixels of ``frames[index]``."""
        frame = frames[index]
        number = self.number(frame.stamp_ns)
        if number not in self._hands:
            log.warning(
                '%s: no image %d for the frame at %.9f s, so it has no hands; %d images there, '
                '%s. Do fps, first and origin_s fit?',
                self._path,
                number,
                frame.stamp_ns / NS_PER_S,
                len(self._hands),
                f'{min(self._hands)} to {max(self._hands)}' if self._hands else 'none',
            )
            return ()
        return held(
            self._hands[number],
            frame.image.shape,
            self.config.hand_threshold,
            self.config.object_threshold,
        )

    def number(self, stamp_ns: int) -> int:
        """Number of the image of the frame with this stamp."""
        if not self.config.fps:
            return stamp_ns
        media_ns = stamp_ns - round(self.config.origin_s * NS_PER_S)
        return self.config.first + round(media_ns / NS_PER_S * self.config.fps)


# --- in this process ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hands23Config:
    """Settings of ``Hands23Hands``; thresholds are the authors' defaults."""

    repository: str = setting('', f'Folder of a checkout of {_REPOSITORY}.', weights=True)
    checkpoint: str = setting('', "The authors' model_hands23.pth.", weights=True)
    hand_threshold: float = setting(
        0.7, 'Score in [0, 1] from which on a hand counts.', minimum=0.0, maximum=1.0
    )
    object_threshold: float = setting(
        0.5, 'Score in [0, 1] from which on a first object counts.', minimum=0.0, maximum=1.0
    )
    second_threshold: float = setting(
        0.3, 'Score in [0, 1] from which on a second object counts.', minimum=0.0, maximum=1.0
    )
    hand_object_threshold: float = setting(
        0.3, 'Probability from which on a hand touches an object.', minimum=0.0, maximum=1.0
    )
    object_object_threshold: float = setting(
        0.7, 'Probability from which on a tool is used on an object.', minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        validate(self)


class Hands23Hands:
    """HandDetector that runs the authors' network on the event frame, on CUDA and in float32.

    Written from the authors' published sources and tested against stand-ins of detectron2 and of
    their repository; neither can be had on the machines this package is developed on.

    Raises:
        ImportError: detectron2 or the repository is missing; says where to get it.
        RuntimeError: there is no GPU: their heads call ``.cuda()``.
        ValueError: a setting names nothing, or the checkpoint is of another network.
    """

    def __init__(self, config: Hands23Config, runtime: Runtime) -> None:
        self.config = config
        self._runtime = runtime
        self._stream = runtime.stream()
        self._predictor = _load(config, runtime)

    def detect(self, frames: Sequence[Frame], index: int) -> tuple[HandObject, ...]:
        """At most one HandObject per side, right first, in pixels of ``frames[index]``."""
        import torch

        image = frames[index].image
        with self._stream.work():
            seen = self._predictor(np.ascontiguousarray(image[..., ::-1]))['instances']  # BGR
            columns = [
                seen.pred_boxes.tensor,
                seen.scores.reshape(-1, 1),
                seen.pred_classes.reshape(-1, 1),
                seen.pred_dz[:, 4:9],
            ]
            # [N, 4 + 1 + 1 + 5]
            rows = self._runtime.to_host(torch.cat([column.float() for column in columns], 1))
        hands = rows_to_hands(rows[:, :4], rows[:, 4], rows[:, 5], rows[:, 6:])
        # The network has applied the thresholds, before scores were rounded.
        return held(hands, image.shape, 0.0, 0.0)


def rows_to_hands(
    boxes: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
    classes: NDArray[Any],
    relations: NDArray[np.floating[Any]],
) -> tuple[Hands23Hand, ...]:
    """The network's output as the rows that its demo writes (method.md B1).

    Args:
        boxes: [N, 4] in pixels of the picture.
        scores: [N] in [0, 1].
        classes: [N], 0 hand, 1 first object, 2 second object.
        relations: [N, 5], columns 4 to 8 of ``pred_dz``: row of the partner or -1, side (1 is
            right), grasp, touch, contact state.
    """

    def place(row: int) -> tuple[Box, float]:
        x0, y0, x1, y1 = boxes[row].tolist()
        # The demo rounds, too: hands of the same score are then ranked by their boxes.
        return (x0, y0, x1, y1), round(float(scores[row]), 2)

    def partner(row: int, of_class: int) -> int | None:
        # detectron2 drops empty boxes after the pairing, so a number may lead astray.
        other = int(relations[row, 0])
        return other if 0 <= other < len(classes) and classes[other] == of_class else None

    hands = []
    for row in np.flatnonzero(classes == _HAND).tolist():
        box, score = place(row)
        side: Side = 'right' if relations[row, 1] == 1 else 'left'
        found: list[Any] = []
        first = partner(row, _FIRST)
        if first is not None:
            found += place(first)
            second = partner(first, _SECOND)
            if second is not None:
                found += place(second)
        hands.append(Hands23Hand(side, score, box, CONTACTS[int(relations[row, 4])], *found))
    return tuple(hands)


def _load(config: Hands23Config, runtime: Runtime) -> Any:
    """detectron2's predictor with the authors' heads, weights and thresholds."""
    import torch

    for name in ('repository', 'checkpoint'):
        if not getattr(config, name):
            raise ValueError(
                f'hands of type hands23 need {name}: a checkout of {_REPOSITORY} and the '
                'model_hands23.pth that its README links'
            )
    if not runtime.on_gpu:
        raise RuntimeError(
            'hands of type hands23 need a GPU: the heads of Hands23 call .cuda(); without one run '
            'its demo elsewhere and use the type hands23_json'
        )
    try:
        from detectron2.config import get_cfg
        from detectron2.engine import DefaultPredictor
    except ImportError as error:
        raise ImportError(
            f'hands of type hands23 need detectron2 ({error}): '
            "pip install 'git+https://github.com/facebookresearch/detectron2.git'"
        ) from error
    sys.path.insert(0, config.repository)
    try:
        importlib.import_module('hodetector.modeling.roi_heads')  # registers the heads
    except ImportError as error:
        raise ImportError(
            f'repository = {config.repository!r} ({error}): expected a checkout of {_REPOSITORY}'
        ) from error
    finally:
        sys.path.remove(config.repository)
    cfg = get_cfg()
    cfg.merge_from_file(str(Path(config.repository) / _NETWORK), allow_unsafe=False)
    cfg.MODEL.DEVICE = str(runtime.device)
    cfg.MODEL.WEIGHTS = ''  # detectron2 would unpickle them
    cfg.HAND, cfg.FIRSTOBJ = config.hand_threshold, config.object_threshold
    cfg.SECONDOBJ = config.second_threshold
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = min(cfg.HAND, cfg.FIRSTOBJ, cfg.SECONDOBJ)
    cfg.HAND_RELA = config.hand_object_threshold
    cfg.OBJ_RELA = config.object_object_threshold
    predictor = DefaultPredictor(cfg)
    try:
        state = torch.load(config.checkpoint, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'checkpoint = {config.checkpoint!r} is no file of weights; it was not run: {error}'
        ) from error
    # Versions of detectron2 differ in the constants they keep; no weight may be missing.
    lacking = predictor.model.load_state_dict(state.get('model', state), strict=False).missing_keys
    if lacking:
        raise ValueError(
            f'checkpoint = {config.checkpoint!r} lacks {len(lacking)} weights of Hands23, first '
            f'{lacking[0]}; expected model_hands23.pth'
        )
    return predictor
