"""The localiser of the CS3 paper: the sound, as a word of a prompt, conditions CLIPSeg.

BEATs -> audio token -> CLIP's text tower -> CLIPSeg (method.md A1, A2, A3, A4). What training
leaves is a checkpoint that ``networks/audio_visual.py`` reads: audio token, scale and bias of the
mask and, where it was fine-tuned, BEATs. One of ACL-SSL, which has the same networks, does as well.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

from torch import Tensor

from cs3_ros.collision import AudioClip
from cs3_ros.config import require, setting
from cs3_ros.localisers.conditioned import ConditionedLocaliser
from cs3_ros.localisers.heat_map import HeatMapConfig
from cs3_ros.networks.audio_token import AudioToken, embed_prompt, prompt_ids
from cs3_ros.networks.audio_visual import check_fit, load_checkpoint
from cs3_ros.networks.beats import MIN_SAMPLES, RATE, beats_fbank, load_beats, whole_patches
from cs3_ros.networks.clipseg import ClipSeg, load_tokenizer
from cs3_ros.networks.sound import waveform
from cs3_ros.runtime import Runtime


@dataclass(frozen=True)
class AudioVisualConfig(HeatMapConfig):
    """Settings of ``AudioVisualLocaliser``."""

    clipseg: str = setting('', 'Folder of CIDAS/clipseg-rd64-refined.', weights=True)
    beats: str = setting(
        '', 'Official BEATs file; not read where the checkpoint has BEATs.', weights=True
    )
    checkpoint: str = setting(
        '',
        'Checkpoint: audio_visual.safetensors of the training, or Param_best.pth of ACL-SSL.',
        weights=True,
    )


class AudioVisualLocaliser(ConditionedLocaliser):
    """Localiser that was trained to find what made a sound.

    Args:
        config: names the weights.
        runtime: what the networks run on.

    Attributes:
        audio_token: projection and pooling of BEATs' outputs.

    Raises:
        ValueError: weights are not named, damaged, or do not belong together.
        OSError: a file cannot be read.
    """

    def __init__(self, config: AudioVisualConfig, runtime: Runtime) -> None:
        require(config, 'clipseg', 'checkpoint')
        checkpoint = load_checkpoint(config.checkpoint)
        if checkpoint.beats is None and not config.beats:
            raise ValueError(
                f'{config.checkpoint} has no BEATs weights and the bundle names none; set beats to '
                'the path of the official file BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt'
            )
        beats = checkpoint.beats or load_beats(config.beats)
        clipseg = ClipSeg.from_folder(config.clipseg)
        check_fit(checkpoint.audio_token.config, beats.config, clipseg.text_width)
        super().__init__(clipseg, runtime, config, checkpoint.mask.offset.item())
        self.config = config
        self._beats = runtime.module_to_device(beats)
        self.audio_token = runtime.module_to_device(checkpoint.audio_token)
        self._samples = round(checkpoint.sound_s * RATE)
        ids = prompt_ids(load_tokenizer(config.clipseg), checkpoint.audio_token.config)  # [L]
        with self._stream.work():
            self._prompt = runtime.to_device(ids)

    def with_audio_token(self, audio_token: AudioToken) -> AudioVisualLocaliser:
        """The same networks with another projection of the sound.

        Args:
            audio_token: of the same configuration.
        """
        other = copy(self)
        other.audio_token = self.runtime.module_to_device(audio_token)
        other._record()
        return other

    def hear(self, audio: AudioClip) -> Tensor:
        """The samples that BEATs makes patches of, [1, N].

        Short sounds are zero-padded; where the checkpoint was trained on one length, to that.
        """
        samples = waveform(audio, RATE, max(MIN_SAMPLES, self._samples))  # [N]
        sound = self.runtime.to_device(samples[: self._samples or None])  # [N]
        return whole_patches(sound[None])  # [N] -> [1, N]

    def understand(self, heard: Tensor) -> Tensor:
        """The prompt with the sound as its missing word, [1, P]."""
        token_config, clip = self.audio_token.config, self.clipseg.model.clip
        fbank = beats_fbank(heard)  # [1, N] -> [1, T, 128]
        token = self.audio_token(self._beats(fbank, token_config.blocks))  # [1, T, 128] -> [1, E]
        return embed_prompt(
            clip.text_model, clip.text_projection, self._prompt, token, token_config.position
        )  # [1, P]
