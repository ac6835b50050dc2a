"""CLIPSeg: one encoding of a picture, any number of conditions decoded from it.

The weights and the modules are those of transformers' ``CLIPSegForImageSegmentation`` (Lueddecke
and Ecker, CVPR 2022; method.md A4); only the order of the computation is ours. Everything is
differentiable; nothing is computed under ``no_grad``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTokenizer

from cs3_ros.files.fields import expect, mapping
from cs3_ros.files.jsonfile import read_json
from cs3_ros.networks.sizes import check_description, check_parameters

MAX_SIZE = 4096
"""Largest side of pictures that a folder may ask for, pixels."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of the pictures that CLIP was trained on, RGB in [0, 1]."""
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Their standard deviation."""
IMAGE_SIZE = 352
"""Side of CLIPSeg's pictures where its folder has no preprocessor_config.json, pixels."""


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What the vision tower leaves for the decoder; B pictures of h x w patches of width D."""

    activations: tuple[Tensor, ...]
    """Outputs of the blocks that the decoder reads, each [B, 1 + h*w, D], the first is CLS."""
    deepest: Tensor
    """Tokens [B, 1 + h*w, D] from which ``dense_features`` goes on."""
    grid: tuple[int, int]
    """h and w."""


class ClipSeg(nn.Module):
    """CLIP's towers and CLIPSeg's decoder.

    Args:
        model: the transformers model; stays the owner of all parameters, as ``.model``.
        image_size: side of the square pictures that ``normalise`` makes, pixels.

    Raises:
        ValueError: the model's settings do not fit together.
    """

    def __init__(self, model: CLIPSegForImageSegmentation, image_size: int = IMAGE_SIZE) -> None:
        super().__init__()
        config: Any = model.config  # transformers leaves the types of its settings open
        vision = config.vision_config
        self.extract_layers: tuple[int, ...] = tuple(config.extract_layers)
        blocks, patch = vision.num_hidden_layers, vision.patch_size
        if image_size <= 0 or image_size % patch:
            raise ValueError(
                f'CLIPSeg image size {image_size}: expected a multiple of its patches, {patch} '
                'pixels; correct preprocessor_config.json'
            )
        if not self.extract_layers or not all(0 <= k < blocks for k in self.extract_layers):
            raise ValueError(
                f'CLIPSeg extract_layers {self.extract_layers}: expected blocks in '
                f'[0, {blocks - 1}]; correct config.json'
            )
        if not 0 <= config.conditional_layer < len(self.extract_layers):
            raise ValueError(
                f'CLIPSeg conditional_layer {config.conditional_layer}: expected a decoder layer '
                f'in [0, {len(self.extract_layers) - 1}]; correct config.json'
            )
        self.model: Any = model
        self.image_size = image_size
        self._used_blocks = max(self.extract_layers) + 1
        # The dense features replace the last block, so they start at its input at the latest.
        self._deepest = min(self._used_blocks, blocks - 1)
        self._positions: dict[tuple[int, int], tuple[Any, Tensor]] = {}

    @classmethod
    def from_folder(cls, folder: str | Path) -> ClipSeg:
        """Load a transformers folder: float32, in evaluation mode.

        Args:
            folder: holds config.json and model.safetensors; the side of the pictures is taken
                from preprocessor_config.json where there is one, else it is ``IMAGE_SIZE``.

        Raises:
            ValueError: not such a folder, one that describes a network of absurd size or lacks
                weights; names the file and the fix.
        """
        where = Path(folder)
        if not (where / 'config.json').is_file():
            raise ValueError(
                f'CLIPSeg folder {where}: no config.json; expected the files of '
                'CIDAS/clipseg-rd64-refined (config.json, model.safetensors, vocab.json, ...)'
            )
        try:
            check_description(where / 'config.json')
            described = CLIPSegConfig.from_pretrained(where, local_files_only=True)
            check_parameters(functools.partial(_described, described), where)
            loaded: Any = CLIPSegForImageSegmentation.from_pretrained(
                where,
                local_files_only=True,
                use_safetensors=True,  # never a pickle
                attn_implementation='sdpa',  # else config.json may name code of a hub
                dtype=torch.float32,
                output_loading_info=True,
            )
        except Exception as error:  # transformers and safetensors raise errors of many kinds
            raise ValueError(
                f'CLIPSeg folder {where}: {error}; bring its files again, weights as '
                'model.safetensors'
            ) from error
        model, info = loaded
        if lacking := sorted({str(key) for key in info['missing_keys']}):
            raise ValueError(
                f'CLIPSeg folder {where}: model.safetensors lacks {len(lacking)} tensors, first '
                f'{lacking[0]}; expected the weights of CLIPSegForImageSegmentation'
            )
        return cls(model, _image_size(where / 'preprocessor_config.json')).eval()

    @property
    def projection_dim(self) -> int:
        """P, the width of a condition."""
        return int(self.model.config.projection_dim)

    @property
    def text_width(self) -> int:
        """E, the width of a word of the text tower."""
        return int(self.model.config.text_config.hidden_size)

    @property
    def logit_size(self) -> int:
        """S', side of the logits of pictures of ``image_size``."""
        size = self.image_size // int(self.model.config.vision_config.patch_size)
        body, last = _head(self.model.decoder)
        for part in (*body, last):
            if isinstance(part, nn.ConvTranspose2d):
                size *= part.stride[0]
        return size

    def normalise(self, images: Tensor) -> Tensor:
        """Squash pictures to the network's square (method.md A4, G11).

        Args:
            images: uint8 RGB [B, H, W, 3] on any device.

        Returns:
            float32 [B, 3, S, S] with CLIP's statistics: bicubic, with antialias.
        """
        x = images.permute(0, 3, 1, 2).float()  # [B, H, W, 3] -> [B, 3, H, W]
        size = (self.image_size, self.image_size)
        x = F.interpolate(x, size, mode='bicubic', antialias=True)  # [B, 3, S, S]
        scale, shift = _statistics(images.device)
        return x.clamp(0, 255) * scale + shift

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """Run the vision tower as far as the decoder needs it.

        Args:
            pixels: normalised [B, 3, S, S], S a multiple of the patch size.
        """
        x, grid = self._embed(pixels)  # [B, 3, S, S] -> [B, 1 + h*w, D]
        tokens = [x]
        for block in self.model.clip.vision_model.encoder.layers[: self._used_blocks]:
            tokens.append(block(tokens[-1], None))  # [B, 1 + h*w, D]
        activations = tuple(tokens[layer + 1] for layer in self.extract_layers)
        return ImageFeatures(activations, tokens[self._deepest], grid)

    def decode(self, features: ImageFeatures, conditions: Tensor) -> Tensor:
        """Every picture under every condition.

        Args:
            features: of B pictures.
            conditions: [C, P], not normalised (method.md A3).

        Returns:
            float32 logits [B, C, S', S']; S' is S for patches of 16 pixels, and for any size of
            patch with the simple head.
        """
        decoder = self.model.decoder
        conditions = conditions.to(decoder.film_mul.weight.dtype)
        multiply = decoder.film_mul(conditions)[None, :, None]  # [C, P] -> [1, C, 1, R]
        add = decoder.film_add(conditions)[None, :, None]  # [C, P] -> [1, C, 1, R]
        x: Tensor | None = None  # [B, 1, 1 + h*w, R], from the conditional layer on [B, C, ...]
        deepest_first = zip(
            reversed(features.activations), decoder.layers, decoder.reduces, strict=True
        )
        for index, (activation, layer, reduce) in enumerate(deepest_first):
            reduced = reduce(activation)[:, None]  # [B, 1 + h*w, D] -> [B, 1, 1 + h*w, R]
            x = reduced if x is None else reduced + x
            if index == decoder.conditional_layer:
                x = multiply * x + add  # [B, 1, 1 + h*w, R] -> [B, C, 1 + h*w, R]
            batch = x.shape[:2]
            x = layer(x.flatten(0, 1), None)  # [B, C, 1 + h*w, R] -> [B*C, 1 + h*w, R]
            x = x.unflatten(0, batch)  # [B, C, 1 + h*w, R]
        assert x is not None  # extract_layers is not empty
        x = x[:, :, 1:].flatten(0, 1)  # [B, C, 1 + h*w, R] -> [B*C, h*w, R]
        x = x.unflatten(1, features.grid).permute(0, 3, 1, 2)  # [B*C, R, h, w]
        body, last = _head(decoder)
        for part in body:
            x = part(x)  # [B*C, R, h, w] -> [B*C, R/2, h*p, w*p], p a quarter of the patch size
        # In float32: the bias would eat the last bits of bfloat16 logits.
        with torch.autocast(x.device.type, enabled=False):
            logits = F.conv_transpose2d(
                x.float(), last.weight.float(), last.bias.float(), stride=last.stride
            )  # [B*C, 1, S', S']
        return logits[:, 0].unflatten(0, batch)  # [B, C, S', S']

    def dense_features(self, features: ImageFeatures) -> Tensor:
        """CLIP's embedding of every patch, [B, P, h, w] (MaskCLIP; method.md A5).

        In the last block attention is replaced by the values of the token itself.
        """
        vision = self.model.clip.vision_model
        *middle, last = vision.encoder.layers[self._deepest :]
        x = features.deepest  # [B, 1 + h*w, D]
        for block in middle:
            x = block(x, None)
        x = x[:, 1:]  # [B, 1 + h*w, D] -> [B, h*w, D]: from here on tokens do not see each other
        x = x + last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(x)))
        x = x + last.mlp(last.layer_norm2(x))
        x = self.model.clip.visual_projection(vision.post_layernorm(x))  # [B, h*w, P]
        return x.unflatten(1, features.grid).permute(0, 3, 1, 2)  # [B, P, h, w]

    def embed_image(self, pixels: Tensor) -> Tensor:
        """CLIP's embedding of whole pictures: normalised [B, 3, S, S] -> [B, P]."""
        vision = self.model.clip.vision_model
        x, _ = self._embed(pixels)  # [B, 3, S, S] -> [B, 1 + h*w, D]
        for block in vision.encoder.layers:
            x = block(x, None)
        pooled = vision.post_layernorm(x[:, 0])  # [B, 1 + h*w, D] -> [B, D]
        return self.model.clip.visual_projection(pooled)  # [B, D] -> [B, P]

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """CLIP's embedding of texts: token ids and their mask [B, L] -> [B, P]."""
        clip = self.model.clip
        output = clip.text_model(input_ids=input_ids, attention_mask=attention_mask)
        return clip.text_projection(output.pooler_output)  # [B, Wt] -> [B, P]

    def _embed(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens [B, 1 + h*w, D] that enter the first block, and the grid (h, w)."""
        embeddings = self.model.clip.vision_model.embeddings
        patches = embeddings.patch_embedding(
            pixels.to(embeddings.patch_embedding.weight.dtype)
        )  # [B, 3, S, S] -> [B, D, h, w]
        grid = (patches.shape[-2], patches.shape[-1])
        patches = patches.flatten(2).transpose(1, 2)  # [B, D, h, w] -> [B, h*w, D]
        first = embeddings.class_embedding.expand(len(patches), 1, -1)  # [D] -> [B, 1, D]
        x = torch.cat([first, patches], 1)  # [B, 1 + h*w, D]
        x = x + self._position_embedding(grid)
        return self.model.clip.vision_model.pre_layrnorm(x), grid

    def _position_embedding(self, grid: tuple[int, int]) -> Tensor:
        """[1 + h*w, D]; interpolated once per size while the weights are frozen."""
        weight = self.model.clip.vision_model.embeddings.position_embedding.weight
        if weight.requires_grad or torch.compiler.is_compiling():  # which cannot ask for versions
            return interpolate_positions(weight, grid)
        version = None if weight.is_inference() else weight._version
        state = (weight.data_ptr(), weight.dtype, weight.device, version)
        known = self._positions.get(grid)
        if known is None or known[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                known = self._positions[grid] = (state, interpolate_positions(weight, grid))
        return known[1]


def _described(config: CLIPSegConfig) -> nn.Module:
    return CLIPSegForImageSegmentation._from_config(config, attn_implementation='sdpa')


def interpolate_positions(weight: Tensor, grid: tuple[int, int]) -> Tensor:
    """CLIP's position embedding for another grid of patches, bicubic (method.md A4).

    Args:
        weight: [1 + n*n, D], the first row belongs to CLS and stays.
        grid: (h, w).

    Returns:
        [1 + h*w, D] in the number format of ``weight``.
    """
    side = round((len(weight) - 1) ** 0.5)
    if grid == (side, side):
        return weight
    table = weight[1:].float().unflatten(0, (side, side))  # [1 + n*n, D] -> [n, n, D]
    table = table.permute(2, 0, 1)[None]  # [n, n, D] -> [1, D, n, n]
    table = F.interpolate(table, grid, mode='bicubic', align_corners=False)  # [1, D, h, w]
    table = table[0].flatten(1).T.to(weight.dtype)  # [1, D, h, w] -> [h*w, D]
    return torch.cat([weight[:1], table])  # [1 + h*w, D]


def reset_decoder(model: CLIPSegForImageSegmentation, generator: torch.Generator) -> None:
    """Give the decoder weights that can be trained and compared.

    transformers fills them with N(0, 1), from which nothing learns. Here FiLM starts as nearly the
    identity, and the logits start near -2.5.

    Args:
        model: changed in place, on the CPU.
        generator: source of the random numbers.
    """
    decoder: Any = model.decoder
    for linear in decoder.reduces:
        nn.init.xavier_uniform_(linear.weight, generator=generator)
        nn.init.zeros_(linear.bias)
    for film, bias in ((decoder.film_mul, 1.0), (decoder.film_add, 0.0)):
        nn.init.normal_(film.weight, std=0.09, generator=generator)
        nn.init.constant_(film.bias, bias)
    body, last = _head(decoder)
    if body:  # convolution, ReLU, transposed convolution, ReLU
        convolution, _, middle, _ = body
        nn.init.xavier_uniform_(convolution.weight, generator=generator)
        nn.init.zeros_(convolution.bias)
        std = (2 / middle.in_channels) ** 0.5  # kernel = stride: a pixel sums over channels only
        nn.init.normal_(middle.weight, std=std, generator=generator)
        nn.init.zeros_(middle.bias)
    nn.init.normal_(last.weight, std=0.03, generator=generator)
    nn.init.constant_(last.bias, -2.5)


def load_tokenizer(folder: str | Path) -> CLIPTokenizer:
    """CLIP's tokenizer from a transformers folder that holds vocab.json and merges.txt.

    Raises:
        ValueError: the files are not there or not such; names the folder and the fix.
    """
    for name in ('vocab.json', 'merges.txt'):  # without them transformers makes an empty one
        if not (Path(folder) / name).is_file():
            raise ValueError(
                f'tokenizer in {folder}: no {name}; bring that of CIDAS/clipseg-rd64-refined'
            )
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise errors of many kinds
        raise ValueError(
            f'tokenizer in {folder}: {error}; bring its vocab.json and merges.txt again'
        ) from error


def _head(decoder: Any) -> tuple[list[Any], Any]:
    """The parts that make logits of the tokens: all before the last, and the last."""
    head = decoder.transposed_convolution
    *body, last = head if isinstance(head, nn.Sequential) else [head]
    return body, last


def _image_size(path: Path) -> int:
    """Side of the pictures from a preprocessor_config.json, in either of its two forms."""
    if not path.is_file():
        return IMAGE_SIZE
    size = mapping(read_json(path, f'{path}'), f'{path}', others=None).get('size')
    side: Any = size.get('height', size.get('shortest_edge')) if isinstance(size, dict) else size
    good = type(side) is int and 1 <= side <= MAX_SIZE
    wanted = f'{{"height": {IMAGE_SIZE}, "width": {IMAGE_SIZE}}}, up to {MAX_SIZE}'
    expect(good, f'{path}: size', size, wanted)
    return int(side)


@functools.cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Scale and shift [3, 1, 1] that take bytes to CLIP's statistics; a copy per device."""
    with torch.inference_mode(False):
        std = torch.tensor(CLIP_STD)[:, None, None]  # [3] -> [3, 1, 1]
        mean = torch.tensor(CLIP_MEAN)[:, None, None]  # [3] -> [3, 1, 1]
        return (1 / (255 * std)).to(device), (-mean / std).to(device)
