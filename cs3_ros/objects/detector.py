"""Objects by any detector of transformers (DETR, RT-DETRv2, D-FINE, YOLOS, ...) in a folder.

The picture is prepared and the outputs are read by the folder's own image processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoImageProcessor

from cs3_ros.collision import Image, Proposal
from cs3_ros.config import require, setting, validate
from cs3_ros.networks.detector_folder import load_detector, read_description
from cs3_ros.networks.sizes import check_description
from cs3_ros.objects.selection import select
from cs3_ros.runtime import Runtime


@dataclass(frozen=True)
class DetectorConfig:
    """Settings of ``DetectorObjects``."""

    model: str = setting(
        '',
        'Folder with config.json, preprocessor_config.json and model.safetensors of a detector of '
        'transformers.',
        weights=True,
    )
    min_score: float = setting(
        0.1,
        'Score from which on an object is proposed, in [0, 1].',
        minimum=0.001,
        maximum=1.0,
    )
    max_iou: float = setting(
        0.45, 'Of two boxes with a larger IoU the surer one stays.', minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        validate(self)


class DetectorObjects:
    """ObjectProposer on a detector of transformers, in float32.

    Args:
        config: names the folder.
        runtime: what it runs on.

    Raises:
        ValueError: none is named, or it is no such detector.
        OSError: a file is missing.
    """

    def __init__(self, config: DetectorConfig, runtime: Runtime) -> None:
        require(config, 'model')
        folder = Path(config.model)
        described = read_description(folder)
        preparation = folder / 'preprocessor_config.json'
        if not preparation.is_file():
            raise FileNotFoundError(f'{preparation}: expected the description of the input')
        check_description(preparation)
        self.config = config
        self._processor = AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        if not hasattr(self._processor, 'post_process_object_detection'):
            raise ValueError(f'{preparation}: expected the image processor of an object detector')
        network = load_detector(folder, described)
        self._network = network.eval().requires_grad_(False).to(runtime.device)
        self._names = {int(k): str(v) for k, v in (described.id2label or {}).items()}
        self._runtime = runtime
        self._stream = runtime.stream()

    def propose(self, image: Image) -> tuple[Proposal, ...]:
        """Objects on a picture, surest first.

        Args:
            image: RGB uint8 [H, W, 3].
        """
        height, width = image.shape[:2]
        inputs = self._processor(images=image, return_tensors='pt')
        with self._stream.work():
            seen = self._network(
                **{name: self._runtime.to_device(value) for name, value in inputs.items()}
            )
            (found,) = self._processor.post_process_object_detection(
                seen, threshold=self.config.min_score, target_sizes=[(height, width)]
            )
            labels = found['labels'][:, None].float()  # [N] -> [N, 1]
            table = torch.cat([found['boxes'], found['scores'][:, None], labels], 1)  # [N, 6]
            rows = np.asarray(self._runtime.to_host(table))
        return select(
            rows[:, :4],
            rows[:, 4],
            [self._names.get(int(k), str(int(k))) for k in rows[:, 5]],
            (height, width),
            self.config.min_score,
            self.config.max_iou,
        )
