"""Fine-tunes a published detection transformer to hands and held objects.

It begins with RT-DETRv2 or D-FINE of a local folder, trained on COCO; only what names the classes
is new. The folder of the run is in the end what the bundle's ``hands: {type: detr}`` loads.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.ops import box_convert
from transformers import AutoConfig, AutoModelForObjectDetection

from cs3_ros.collision import Image
from cs3_ros.config import from_mapping, setting
from cs3_ros.files.atomic import replacing, write_text
from cs3_ros.files.images import load_image
from cs3_ros.files.yamlfile import read_yaml
from cs3_ros.hands.detr import MODEL_TYPES, Preprocessing, best_boxes
from cs3_ros.networks.sizes import check_description
from cs3_training.hands.figures import figures
from cs3_training.hands.labels import LABELS, MOST_BOXES, LabelledPicture
from cs3_training.loop import Epochs, LoopConfig, TrainingLoop, batches

CHECKPOINT = 'model.safetensors'
"""Of the run's folder; beside it lie config.json and preprocessor_config.json."""
NEW = ('class_embed', 'enc_score_head', 'denoising_class_embed')
"""Parts whose weights depend on the classes and are drawn anew."""
LEAST_SHARE = 0.3
"""Share of a box that has to be left in a cut-out, else it is not asked for."""

Boxes = NDArray[np.float32]
"""[n, 4], corners in units of the picture."""


@dataclass(frozen=True)
class FitConfig(LoopConfig):
    """How the detector is fine-tuned; the values are usual for RT-DETR, the paper has none."""

    steps: int = setting(20_000, 'Steps of the optimiser.', minimum=1)
    batch: int = setting(16, 'Pictures in a step, over all processes.', minimum=2)
    weight_decay: float = setting(1e-4, 'Weight decay of Adam, added to gradients.', minimum=0.0)
    warm_up: int = setting(500, 'Steps in which the learning rates rise from zero.', minimum=0)
    schedule: str = setting(
        'cosine', 'What the learning rates do afterwards.', choices=('constant', 'cosine')
    )
    clip_norm: float = setting(0.1, 'Largest norm of the gradient.', minimum=1e-6)
    lr: float = setting(1e-4, 'Learning rate of encoder and decoder.', minimum=0.0)
    lr_backbone: float = setting(1e-5, 'Learning rate of the backbone.', minimum=0.0)
    mirror: bool = setting(True, 'Mirror half of the pictures; left and right change places.')
    least_crop: float = setting(
        0.5, 'Smallest side of a random cut-out, share of the picture.', minimum=0.1, maximum=1.0
    )
    judged: int = setting(500, 'Pictures of the validation that are looked at.', minimum=1)


def load_fit_config(path: Path) -> FitConfig:
    """Read a YAML file of settings; what it does not name is default.

    Raises:
        ValueError: not such a file, an unknown name or a value out of range; says which.
    """
    where = f'settings {str(path)!r}'
    return from_mapping(FitConfig, read_yaml(path, where) or {}, where)


def begin_with(folder: Path, seed: int) -> nn.Module:
    """The network of a folder, with the four labels in place of its own.

    Args:
        folder: in the format of transformers.
        seed: of the weights that are drawn anew.

    Raises:
        ValueError: another kind of network, or its file lacks weights that do not depend on the
            classes.
        OSError: a file is missing.
    """
    described = folder / 'config.json'
    if not described.is_file():
        raise FileNotFoundError(
            f'{described}: not there; expected a folder of RT-DETRv2, PekingU/rtdetr_v2_r50vd'
        )
    check_description(described)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if config.model_type not in MODEL_TYPES:
        raise ValueError(
            f'{folder}: config.json is of a {config.model_type}; expected one of '
            f'{", ".join(MODEL_TYPES)}'
        )
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {label: row for row, label in enumerate(LABELS)}
    torch.manual_seed(seed)
    network, report = AutoModelForObjectDetection.from_pretrained(
        folder,
        config=config,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    changed = [name if isinstance(name, str) else name[0] for name in report['mismatched_keys']]
    lacking = [*report['missing_keys'], *changed]
    if strange := sorted(name for name in lacking if not any(part in name for part in NEW)):
        raise ValueError(
            f'{folder}: model.safetensors lacks {len(strange)} weights or has others there, '
            f'first {strange[0]}; the two files must come from one network'
        )
    return network


class HandSamples(Dataset[dict[str, Tensor]]):
    """Sample number n of a run, counted over all steps: which picture, and how it is cut."""

    def __init__(
        self, pictures: list[LabelledPicture], config: FitConfig, resize: Preprocessing
    ) -> None:
        self._pictures, self._config, self._resize = pictures, config, resize
        self._epochs = Epochs(len(pictures), config.seed)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Pixels [3, H, W], boxes [M, 4] as centre and size, and labels [M], -1 for none."""
        labelled = self._pictures[self._epochs.index(number)]
        image = load_image(labelled.picture)
        corners, labels = labelled.targets()
        rng = np.random.default_rng([self._config.seed, 1, number])
        image, corners, labels = augment(image, corners, labels, self._config, rng)
        boxes = torch.zeros(MOST_BOXES, 4)
        names = torch.full((MOST_BOXES,), -1)
        boxes[: len(labels)] = box_convert(torch.from_numpy(corners), 'xyxy', 'cxcywh')
        names[: len(labels)] = torch.from_numpy(labels)
        pixels = self._resize(torch.from_numpy(np.ascontiguousarray(image)))[0]  # [3, H, W]
        return {'pixels': pixels, 'boxes': boxes, 'labels': names}


def augment(
    image: Image, corners: Boxes, labels: NDArray[np.int64], config: FitConfig,
    rng: np.random.Generator,
) -> tuple[Image, Boxes, NDArray[np.int64]]:  # fmt: skip
    """A random cut-out, mirrored in half of the cases: then a left hand is a right one.

    Args:
        image: RGB uint8 [H, W, 3].
        corners: boxes [n, 4] in units of the picture.
        labels: [n], places in ``LABELS``.
        config: how much is cut.
        rng: draws.

    Returns:
        The cut-out, and the boxes of which enough is left in it, in its units.
    """
    height, width = image.shape[:2]
    share = rng.uniform(config.least_crop, 1.0, 2)
    rows, columns = (max(round(side), 1) for side in share * (height, width))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    image = image[top : top + rows, left : left + columns]
    corner = np.array([left, top, left, top], np.float32)
    inside = corners * np.array([width, height] * 2, np.float32) - corner
    whole = np.prod(inside[:, 2:] - inside[:, :2], axis=1)
    inside = inside.clip(0, np.array([columns, rows] * 2, np.float32))
    left_over = np.prod(inside[:, 2:] - inside[:, :2], axis=1)
    kept = left_over >= LEAST_SHARE * np.maximum(whole, 1e-6)
    corners = (inside / np.array([columns, rows] * 2, np.float32))[kept].astype(np.float32)
    labels = labels[kept]
    if config.mirror and rng.random() < 0.5:
        image = image[:, ::-1]
        corners = np.stack(
            [1 - corners[:, 2], corners[:, 1], 1 - corners[:, 0], corners[:, 3]], 1
        ).astype(np.float32)  # fmt: skip
        labels = labels ^ 1  # left and right are neighbours in LABELS
    return image, corners, labels


class HandsFit(TrainingLoop[nn.Module]):
    """One run.

    Args:
        network: as ``begin_with`` gives it, on the device where it is trained.
        start: folder that it came from; its preprocessor_config.json is taken over.
        pictures: to learn from; those whose files are not there have been left out.
        validation: other pictures, which choose the checkpoint; None keeps the last.
        config: settings.
        folder: of the run; a run that lies there is continued.
        about: as ``TrainingLoop``.

    Raises:
        ValueError: as ``TrainingLoop``.
    """

    checkpoint = CHECKPOINT

    def __init__(
        self,
        network: Any,
        start: Path,
        pictures: list[LabelledPicture],
        validation: list[LabelledPicture] | None,
        config: FitConfig,
        folder: Path,
        about: Mapping[str, str],
    ) -> None:
        self.config, self._pictures, self._start = config, pictures, start
        self._resize = Preprocessing.from_folder(start)
        self._judges = (validation or [])[: config.judged]
        self.told: dict[str, float] = {}
        backbone = [p for name, p in network.named_parameters() if '.backbone.' in name]
        others = [p for name, p in network.named_parameters() if '.backbone.' not in name]
        groups = ((others, config.lr), (backbone, config.lr_backbone))
        validate = self._score if validation else None
        super().__init__(network, config, folder, groups, validate, about)

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """Pixels [B, 3, H, W], boxes [B, M, 4] and labels [B, M]."""
        samples = HandSamples(self._pictures, self.config, self._resize)
        return batches(samples, self.config, self.step, self.device.type == 'cuda')

    def losses(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network's own losses, the parts of its last layer by name, and their sum."""
        boxes, names = batch['boxes'].to(self.device), batch['labels'].to(self.device)
        asked = [
            {'class_labels': label[label >= 0], 'boxes': box[label >= 0]}
            for label, box in zip(names, boxes, strict=True)
        ]
        pixels = batch['pixels'].to(self.device, non_blocking=True)
        with self.autocast():
            output = module(pixel_values=pixels, labels=asked)
        return {'total': output.loss, **_parts(output.loss_dict)}

    def write_checkpoint(self, path: Path, notes: Mapping[str, str]) -> None:
        """The weights; beside them all else that the folder of a network has."""
        with TemporaryDirectory(dir=path.parent, prefix='.network.') as place:
            network: Any = self.model
            network.save_pretrained(place)
            shutil.copyfile(Path(place, CHECKPOINT), path)
            with replacing(path.parent / 'config.json') as part:
                shutil.copyfile(Path(place, 'config.json'), part)
        prepared = self._start / 'preprocessor_config.json'
        if prepared.is_file():
            with replacing(path.parent / prepared.name) as part:
                shutil.copyfile(prepared, part)
        told = {'notes': dict(notes), 'figures': self.told}
        write_text(path.parent / 'training.json', json.dumps(told, indent=1) + '\n')

    def _score(self, network: Any) -> float:
        """Mean of both average precisions; ``told`` has all figures."""
        found, truth = [], []
        for labelled in self._judges:
            image = torch.from_numpy(np.ascontiguousarray(load_image(labelled.picture)))
            seen = network(pixel_values=self._resize(image.to(self.device)))
            found.append(best_boxes(seen.logits, seen.pred_boxes).cpu().numpy())  # [4, 5]
            truth.append(labelled.targets())
        self.told = figures(found, truth)
        return (self.told['AP50 hands'] + self.told['AP50 held objects']) / 2


def _parts(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The losses of the last layer; those of the others have a number in their names."""
    return {name[5:]: loss for name, loss in losses.items() if not any(c.isdigit() for c in name)}
