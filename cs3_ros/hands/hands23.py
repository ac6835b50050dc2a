"""Hands and held objects by Hands23, the detector that the CS3 paper uses, run in this process.

Hands23 (Cheng, Shan et al., NeurIPS 2023; method.md B1, B2) is built on detectron2 and lives in its
authors' own repository. ``hands23_json.py`` takes what their demo wrote instead, and needs neither.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cs3_ros.collision import Box, Frame, HandObject, Side
from cs3_ros.config import require, setting, validate
from cs3_ros.hands.hands23_results import CONTACTS, Hands23Hand, held
from cs3_ros.networks.checkpoints import read_torch
from cs3_ros.runtime import Runtime

_REPOSITORY = 'https://github.com/EvaCheng-cty/hands23_detector'
_NETWORK = 'faster_rcnn_X_101_32x8d_FPN_3x_Hands23.yaml'
_HAND, _FIRST, _SECOND = range(3)


@dataclass(frozen=True)
class Hands23Config:
    """Settings of ``Hands23Hands``; thresholds are the authors' defaults."""

    repository: str = setting('', f'Folder of a checkout of {_REPOSITORY}.', weights=True)
    checkpoint: str = setting(
        '', "The authors' model_hands23.pth, which the repository's README links.", weights=True
    )
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

    Args:
        config: names the repository and the checkpoint; thresholds.
        runtime: what it runs on, a GPU.

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
        """At most one HandObject per side, right first, in pixels of ``frames[index]``.

        Raises:
            ValueError: the event frame cannot be decoded.
        """
        image = frames[index].image
        with self._stream.work():
            seen = self._predictor(np.ascontiguousarray(image[..., ::-1]))['instances']  # BGR
            columns = [
                seen.pred_boxes.tensor,  # [N, 4]
                seen.scores.reshape(-1, 1),  # [N] -> [N, 1]
                seen.pred_classes.reshape(-1, 1),  # [N] -> [N, 1]
                seen.pred_dz[:, 4:9],  # [N, ...] -> [N, 5]
            ]
            table = torch.cat([column.float() for column in columns], 1)  # [N, 4 + 1 + 1 + 5]
            rows = self._runtime.to_host(table)
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

    def scored_box(row: int) -> tuple[Box, float]:
        x0, y0, x1, y1 = boxes[row].tolist()
        # The demo rounds, too: hands of the same score are then ranked by their boxes.
        return (x0, y0, x1, y1), round(float(scores[row]), 2)

    def partner(row: int, of_class: int) -> int | None:
        # detectron2 drops empty boxes after the pairing, so a row number may be of another class.
        other = int(relations[row, 0])
        return other if 0 <= other < len(classes) and classes[other] == of_class else None

    hands = []
    for row in np.flatnonzero(classes == _HAND).tolist():
        box, score = scored_box(row)
        side: Side = 'right' if relations[row, 1] == 1 else 'left'
        found: list[Any] = []
        first = partner(row, _FIRST)
        if first is not None:
            found += scored_box(first)
            second = partner(first, _SECOND)
            if second is not None:
                found += scored_box(second)
        hands.append(Hands23Hand(side, score, box, CONTACTS[int(relations[row, 4])], *found))
    return tuple(hands)


def _load(config: Hands23Config, runtime: Runtime) -> Any:
    """detectron2's predictor with the authors' heads, weights and thresholds."""
    require(config, 'repository', 'checkpoint')
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
    state = read_torch(config.checkpoint)
    # Versions of detectron2 differ in the constants they keep; no weight may be missing.
    lacking = predictor.model.load_state_dict(state.get('model', state), strict=False).missing_keys
    if lacking:
        raise ValueError(
            f'checkpoint = {config.checkpoint!r} lacks {len(lacking)} weights of Hands23, first '
            f'{lacking[0]}; expected model_hands23.pth'
        )
    return predictor
