"""The checkpoints of ACL-SSL: heat maps against its forward pass written out, and refusals."""

import needs

needs.networks()

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPSegForImageSegmentation, CLIPTokenizer
from trap import Trap

from cs3_ros.collision import AudioClip, Frame
from cs3_ros.localisers.audio_visual import AudioVisualConfig, AudioVisualLocaliser
from cs3_ros.networks.acl_format import acl_checkpoint, read_acl
from cs3_ros.networks.audio_visual import load_checkpoint, save_checkpoint
from cs3_ros.runtime import Runtime, RuntimeConfig

CLIPSEG = 'clipseg-rd64-refined'
BEATS = 'beats/BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt'
RATE, SIDE, WIDTH, TEXT = 16_000, 64, 32, 32
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Parts(nn.Module):
    """Named parts; the names are those of the official file."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def official_projection() -> Parts:
    def point(width: int, to: int, bias: bool = True) -> nn.Conv1d:
        return nn.Conv1d(width, to, 1, bias=bias)

    unary = Parts(embed=point(TEXT, TEXT), feature_reduce=point(TEXT, 1))
    pair = Parts(embed_X=point(TEXT, TEXT), embed_Y=point(TEXT, TEXT))
    return Parts(
        fc1=nn.Linear(3 * WIDTH, 3 * WIDTH),
        fc2=nn.Linear(3 * WIDTH, TEXT),
        fga=Parts(
            un_models=nn.ModuleList([unary]),
            pp_models=nn.ModuleDict({'0': pair}),
            reduce_potentials=nn.ModuleList([point(2, 1, bias=False)]),
        ),
    )


@pytest.fixture(scope='module')
def projection():
    """Large enough weights for sounds, and the way through the network, to tell in the heat map."""
    torch.manual_seed(3)
    found = official_projection().requires_grad_(False)
    found.fc2.weight.mul_(60)
    found.fga.reduce_potentials[0].weight.copy_(torch.tensor([[[0.2], [30.0]]]))
    return found


@pytest.fixture(scope='module')
def checkpoint(projection, tmp_path_factory):
    path = tmp_path_factory.mktemp('acl') / 'Param_best.pth'
    mask = {'w': torch.tensor(7.0), 'b': torch.tensor(15.0)}
    torch.save({'audio_proj': projection.state_dict(), 'masker_i': mask}, path)
    return path


def token_by_hand(projection, features):
    """Projection and factor graph attention of [1, N, 3 W]; the factors: unary first, then self."""
    fga = projection.fga
    x = projection.fc2(F.gelu(projection.fc1(features)))  # [1, N, E]
    channels = x.transpose(1, 2)  # [1, E, N]
    unary = fga.un_models[0].feature_reduce(F.relu(fga.un_models[0].embed(channels)))  # [1, 1, N]
    one = F.normalize(fga.pp_models['0'].embed_X(channels))  # [1, E, N]
    other = F.normalize(fga.pp_models['0'].embed_Y(channels))  # [1, E, N]
    alike = (one.transpose(1, 2) @ other).mean(2)[:, None]  # [1, N, N] -> [1, 1, N]
    logits = fga.reduce_potentials[0](torch.cat((unary, alike), 1))  # [1, 1, N]
    return (channels * logits.softmax(2)).sum(2)  # [1, E]


def sentence_by_hand(clip, tokenizer, token, position, prompt):
    """CLIP's text tower on a padded prompt into which the token is put before it is cut off."""
    ids = tokenizer(prompt)['input_ids']
    padded = torch.tensor(ids + [0] * (77 - len(ids)))
    text, length = clip.text_model, len(ids) + 1
    words = text.embeddings.token_embedding(padded)  # [77, E]
    words = torch.cat((words[:position], token, words[position:]))[:length]  # [L, E]
    x = (words + text.embeddings.position_embedding.weight[:length])[None]  # [1, L, E]
    causal = torch.full((length, length), -torch.inf).triu(1)[None, None]  # [1, 1, L, L]
    for layer in text.encoder.layers:
        x = layer(x, causal)
    return clip.text_projection(text.final_layer_norm(x)[:, -1])  # [1, P]


def heat_by_hand(
    home, projection, samples, picture, position=4, prompt='A photo of', blocks=(4, 8, 12), pad=True
):
    """ACL-SSL's forward pass at inference: BEATs is SpeechBrain's, CLIPSeg that of transformers."""
    reference = pytest.importorskip('speechbrain.lobes.models.beats')
    beats = reference.BEATs(str(home / BEATS), freeze=False, output_all_hiddens=True).eval()
    sound = torch.from_numpy(samples)[: 10 * RATE]
    if pad:
        sound = F.pad(sound, (0, 10 * RATE - len(sound)))
    hidden = beats.extract_features(sound[None], torch.ones(1))[0]
    features = torch.cat([hidden[block].transpose(0, 1) for block in blocks], 2)  # [1, N, 3 W]
    model = CLIPSegForImageSegmentation.from_pretrained(home / CLIPSEG).eval()
    tokenizer = CLIPTokenizer.from_pretrained(home / CLIPSEG)
    token = token_by_hand(projection, features)
    condition = sentence_by_hand(model.clip, tokenizer, token, position, prompt)
    pixels = (torch.from_numpy(picture) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    pixels = pixels.permute(2, 0, 1)[None]  # [1, 3, S, S]
    logits = model(pixel_values=pixels, conditional_embeddings=condition).logits
    return torch.sigmoid(logits.reshape(SIDE, SIDE) + 15 / 7).numpy()


def localiser(home, checkpoint, **settings):
    runtime = Runtime(RuntimeConfig('cpu', 'float32', threads=1))
    paths = {'clipseg': str(home / CLIPSEG), 'beats': str(home / BEATS)}
    config = AudioVisualConfig(checkpoint=str(checkpoint), **(paths | settings))
    return AudioVisualLocaliser(config, runtime)


def noise(seconds: float) -> np.ndarray:
    count = round(seconds * RATE)
    return np.random.default_rng(2).normal(0, 0.1, count).astype(np.float32)


def heard(samples, rate=RATE):
    return AudioClip(0, rate, samples, np.ones(len(samples), bool))


PICTURE = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


@torch.no_grad()
@pytest.mark.parametrize('seconds', [2.0, 10.0, 12.0])
def test_the_heat_map_is_that_of_acl(tiny_weights, projection, checkpoint, seconds):
    samples = noise(seconds)
    expected = heat_by_hand(tiny_weights, projection, samples, PICTURE)
    stage = localiser(tiny_weights, checkpoint, crop=False)
    found = stage.locate(stage.encode([Frame.from_rgb(1, PICTURE)], 0), heard(samples))
    np.testing.assert_allclose(found.heat_map, expected, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    'wrong',
    [
        {'position': 3},
        {'position': 5, 'prompt': 'A photo of a'},
        {'blocks': (12, 8, 4)},
        {'pad': False},
    ],
)
def test_another_forward_pass_would_be_noticed(tiny_weights, projection, wrong):
    right, other = (
        heat_by_hand(tiny_weights, projection, noise(2.0), PICTURE, **changes)
        for changes in ({}, wrong)
    )
    assert np.abs(right - other).max() > 1e-3


def test_the_first_ten_seconds_at_the_rate_of_the_network_are_heard(tiny_weights, checkpoint):
    stage = localiser(tiny_weights, checkpoint)
    long, first = (noise(12.0)[: round(seconds * RATE)] for seconds in (12.0, 10.0))
    with torch.no_grad():
        assert torch.equal(stage.condition(heard(long)), stage.condition(heard(first)))
        other = stage.condition(heard(first[: 9 * RATE]))
    assert not torch.equal(other, stage.condition(heard(first)))


def test_a_file_comes_back_as_it_was_written(projection, checkpoint, tmp_path):
    found = load_checkpoint(checkpoint)
    assert (found.audio_token.config.prompt, found.audio_token.config.position) == ('A photo of', 4)
    assert found.audio_token.config.blocks == (4, 8, 12) and not found.audio_token.training
    assert (found.mask.scale, found.mask.bias) == (7, 15) and found.beats is None
    assert found.sound_s == 10
    again = acl_checkpoint(found.audio_token, 7, 15)
    expected = projection.state_dict()
    assert again['audio_proj'].keys() == expected.keys()
    assert all(torch.equal(value, expected[k]) for k, value in again['audio_proj'].items())
    torch.save(again, tmp_path / 'again.pth')
    assert read_acl(tmp_path / 'again.pth')[1:] == (7, 15)


def test_half_precision_is_read_as_float32(checkpoint, tmp_path):
    halved = acl_checkpoint(load_checkpoint(checkpoint).audio_token.half())
    torch.save(halved, tmp_path / 'half.pth')
    loaded = load_checkpoint(tmp_path / 'half.pth').audio_token
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}


def test_saved_as_our_own_it_stays_what_it_is_but_for_the_length(checkpoint, tmp_path):
    found = load_checkpoint(checkpoint)
    save_checkpoint(tmp_path / 'own.safetensors', found.audio_token, found.mask)
    own = load_checkpoint(tmp_path / 'own.safetensors')
    assert own.audio_token.config == found.audio_token.config
    assert own.mask.offset == found.mask.offset and own.sound_s == 0


def spoilt(name, value):
    """A change of a part of the dict: None takes it away."""

    def change(data):
        part = data if name in data else data['audio_proj' if '.' in name else 'masker_i']
        if value is None:
            del part[name]
        else:
            part[name] = value

    return change


@pytest.mark.parametrize(
    'change, message',
    [
        (spoilt('masker_i', None), 'no masker_i: it is no dict of audio_proj and masker_i'),
        (spoilt('audio_proj', torch.ones(2)), 'no audio_proj'),
        (spoilt('fc1.weight', None), 'audio_proj lacks 1 tensors, first fc1.weight'),
        (spoilt('fc2.weight', None), r'fc2.weight is \[\]: expected \[text width, 3 x width'),
        (spoilt('fc2.weight', torch.ones(4, 7)), r'fc2.weight is \[4, 7\]: expected'),
        (spoilt('fc1.bias', torch.ones(5)), r'audio_proj.fc1.bias is torch.float32 \[5\], not'),
        (spoilt('fc1.bias', 'evil'), 'audio_proj.fc1.bias: str in place of weights'),
        (spoilt('more.weight', torch.ones(5)), 'has 1 unknown tensors, first more.weight'),
        (spoilt('w', torch.tensor(3)), r'masker_i.w is torch.int64 \[\], not floating point \[\]'),
        (spoilt('b', None), 'masker_i lacks 1 tensors, first b'),
        (spoilt('w', torch.tensor(0.0)), 'positive scale'),
        (spoilt('b', torch.tensor(float('nan'))), 'finite numbers'),
        (spoilt('fc2.weight', torch.ones(1).expand(65_000, 3)), 'its shapes are those of 12675'),
        (spoilt('fc2.weight', torch.ones(1).expand(70_000, 3)), 'text_width = 70000'),
    ],
)
def test_a_spoilt_file_is_refused_by_name(checkpoint, tmp_path, change, message):
    data = torch.load(checkpoint, weights_only=True)
    change(data)
    path = tmp_path / 'Param_best.pth'
    torch.save(data, path)
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize('content', ['a list', 'a pickle', 'text', 'nothing'])
def test_what_is_no_checkpoint_is_refused_and_not_executed(tmp_path, content):
    path = tmp_path / 'Param_best.pth'
    if content == 'a list':
        torch.save([1, 2], path)
    elif content == 'a pickle':
        torch.save({'audio_proj': Trap(tmp_path / 'executed'), 'masker_i': {}}, path)
    else:
        path.write_text('' if content == 'nothing' else 'no weights')
    with pytest.raises(ValueError, match='Param_best.pth'):
        load_checkpoint(path)
    assert not (tmp_path / 'executed').exists()


def test_another_beats_is_refused(tiny_weights, checkpoint, tmp_path):
    token = load_checkpoint(checkpoint).audio_token
    wide = type(token)(type(token.config)((4, 8, 12), 16, TEXT, 'A photo of', 4))
    torch.save(acl_checkpoint(wide), tmp_path / 'wide.pth')
    with pytest.raises(ValueError, match='width of BEATs is 32, the checkpoint was trained for 16'):
        localiser(tiny_weights, tmp_path / 'wide.pth')
