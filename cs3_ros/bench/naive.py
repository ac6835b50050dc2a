"""The paper's system as a plain composition of public packages, to compare the pipeline with.

What a user writes in an afternoon from the packages' own examples: transformers' CLIPSeg run twice
(frame, then crop), each time with its text; SpeechBrain's BEATs; transformers' RT-DETRv2 with its
image processor; ``SAM2ImagePredictor`` prompted box by box. All in float32, one after the other,
on the same weights. No public package has the audio token: a fixed text stands in for it, and
BEATs' output is not used. So the composition does slightly less than the pipeline.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray

from cs3_ros.bundles.bundle import Bundle
from cs3_ros.bundles.weights import locate
from cs3_ros.collision import AudioClip, Box, Image, Mask
from cs3_ros.networks.sam2_checkpoint import load_sam2

PROMPT = 'A photo of a thing'
STAGES: Mapping[str, tuple[str, str]] = {
    'localiser': ('audio_visual', 'speechbrain'),
    'hands': ('detr', 'transformers'),
    'masker': ('sam2', 'sam2'),
}
"""Stage family -> the type that has a counterpart here, and the package that this comes from."""


def missing(bundle: Bundle) -> list[str]:
    """What keeps the composition from doing what the bundle does; nothing where it can."""
    lacks = []
    for family, (kind, package) in STAGES.items():
        found = bundle.stages.get(family, {}).get('type')
        if found != kind:
            lacks.append(f'a counterpart of {family} {found}')
        elif importlib.util.find_spec(package) is None:
            lacks.append(f'the package {package}')
        elif family == 'localiser' and not bundle.stages[family].get('beats'):
            lacks.append('a file of BEATs alone')
    return lacks


class PlainComposition:
    """Picture, sound and two object boxes in; three masks out.

    Args:
        bundle: one for which ``missing`` finds nothing; its files of weights are loaded.
        device: of torch.
    """

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        from sam2.sam2_image_predictor import SAM2ImagePredictor
        from speechbrain.lobes.models.beats import BEATs
        from transformers import (
            CLIPSegForImageSegmentation,
            CLIPTokenizer,
            RTDetrImageProcessor,
            RTDetrV2ForObjectDetection,
            ViTImageProcessor,
        )

        def path(family: str, setting: str) -> Path:
            return locate(bundle.stages[family][setting], bundle.folder)

        self.device = device
        clipseg, hands = path('localiser', 'clipseg'), path('hands', 'model')
        self.clipseg_processor = ViTImageProcessor.from_pretrained(clipseg, local_files_only=True)
        self.tokenizer = CLIPTokenizer.from_pretrained(clipseg, local_files_only=True)
        self.clipseg = self._ready(
            CLIPSegForImageSegmentation.from_pretrained(clipseg, local_files_only=True)
        )
        self.beats = self._ready(BEATs(str(path('localiser', 'beats'))))
        self.detector_processor = RTDetrImageProcessor.from_pretrained(hands, local_files_only=True)
        self.detector = self._ready(
            RTDetrV2ForObjectDetection.from_pretrained(hands, local_files_only=True)
        )
        self.sam2 = SAM2ImagePredictor(self._ready(_load_sam2(path('masker', 'checkpoint'))))
        # The predictor knows only the sizes for pictures of 1024 pixels; tiny networks have others.
        side = self.sam2.model.image_size
        self.sam2._bb_feat_sizes = [(side // 4,) * 2, (side // 8,) * 2, (side // 16,) * 2]
        self.timings_ms: dict[str, float] = {}

    @torch.inference_mode()
    def __call__(self, image: Image, audio: AudioClip, boxes: Sequence[Box]) -> list[Mask]:
        """One event.

        Args:
            image: RGB uint8 [H, W, 3].
            audio: its sound.
            boxes: what the detector is taken to have found, since with random weights it finds
                nothing; the box of the sounding region is added.

        Returns:
            A bool mask [H, W] per box; ``timings_ms`` holds the time of each step.
        """
        self.timings_ms = {}
        with self._timed('detector'):
            self._detect(image)
        with self._timed('BEATs'):
            self._listen(audio)
        with self._timed('CLIPSeg, frame'):
            heat = self._heat(image)
        with self._timed('CLIPSeg, crop'):
            y, x = np.unravel_index(heat.argmax(), heat.shape)
            height, width = heat.shape[0] // 2, heat.shape[1] // 2
            top = int(np.clip(y - height // 2, 0, heat.shape[0] - height))
            left = int(np.clip(x - width // 2, 0, heat.shape[1] - width))
            crop = self._heat(image[top : top + height, left : left + width])
        rows, columns = np.nonzero(crop >= 0.5 * crop.max())
        sounding = (
            float(left + columns.min()),
            float(top + rows.min()),
            float(left + columns.max() + 1),
            float(top + rows.max() + 1),
        )
        with self._timed('SAM2, picture'):
            self.sam2.set_image(image)
        with self._timed('SAM2, boxes'):
            return [self._mask(box) for box in (*boxes, sounding)]

    def _ready(self, model: torch.nn.Module) -> Any:
        return model.to(self.device).eval()

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        self.timings_ms[step] = (time.perf_counter() - start) * 1e3

    def _detect(self, image: Image) -> Any:
        inputs = self.detector_processor(images=image, return_tensors='pt').to(self.device)
        sizes = [image.shape[:2]]
        outputs = self.detector(**inputs)
        return self.detector_processor.post_process_object_detection(outputs, target_sizes=sizes)

    def _listen(self, audio: AudioClip) -> NDArray[np.float32]:
        samples = torch.from_numpy(audio.samples)
        samples = torchaudio.functional.resample(samples, audio.rate, 16_000)[None].to(self.device)
        found = self.beats.extract_features(samples, torch.ones(1, device=self.device))[0]
        features: NDArray[np.float32] = found.cpu().numpy()
        return features

    def _heat(self, image: Image) -> NDArray[np.float32]:
        """Heat map [H, W] at the size of the picture."""
        text = self.tokenizer([PROMPT], return_tensors='pt').to(self.device)
        pixels = self.clipseg_processor(images=image, return_tensors='pt').to(self.device)
        logits = self.clipseg(**text, **pixels).logits
        side = logits.shape[-1]
        heat = torch.nn.functional.interpolate(
            logits.sigmoid().reshape(1, 1, side, side), image.shape[:2], mode='bilinear'
        )
        values: NDArray[np.float32] = heat[0, 0].cpu().numpy()
        return values

    def _mask(self, box: Box) -> Mask:
        masks, _, _ = self.sam2.predict(box=np.array(box), multimask_output=False)
        mask: Mask = masks[0] > 0
        return mask


def _load_sam2(path: Path) -> Any:
    """The package's own network, as ``build_sam2`` sets it up, with the weights of a file.

    ``build_sam2`` itself knows the official sizes only and wants the weights for videos too.
    """
    from sam2.modeling.position_encoding import PositionEmbeddingSine
    from sam2.modeling.sam2_base import SAM2Base

    ours = load_sam2(path)
    sizes = ours.architecture
    ours.image_encoder.neck.position_encoding = PositionEmbeddingSine(sizes.width)
    model = SAM2Base(
        ours.image_encoder,
        memory_attention=torch.nn.Identity(),
        memory_encoder=torch.nn.Identity(),
        image_size=sizes.image_size,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        iou_prediction_use_sigmoid=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        use_multimask_token_for_obj_ptr=True,
        sam_mask_decoder_extra_args={
            'dynamic_multimask_via_stability': True,
            'dynamic_multimask_stability_delta': 0.05,
            'dynamic_multimask_stability_thresh': 0.98,
        },
    )
    different = model.load_state_dict(ours.state_dict(), strict=False)
    if different.unexpected_keys:
        raise ValueError(f'{path}: unexpected {", ".join(different.unexpected_keys[:3])}')
    return model
