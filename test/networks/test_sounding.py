"""The sounding-object network: each part against plain numpy, and what may be swapped."""

from __future__ import annotations

import needs

needs.networks()

import math

import numpy as np
import pytest
import torch
from sounding_fakes import EMBEDDING, HEADS, released_state, tiny_clipseg, tiny_dino, tiny_network
from torchaudio.compliance import kaldi
from torchvision.transforms import v2
from transformers import ASTConfig, ASTModel, DeiTConfig, DeiTModel

from cs3_ros.networks.sound_towers import AstSizes, AstTower, load_ast
from cs3_ros.networks.sounding import pool
from cs3_ros.networks.sounding_released import load_released
from cs3_ros.networks.towers import ClipSegTower, load_vision


@pytest.fixture(scope='module')
def released(tmp_path_factory):
    """A released state and the network that was loaded from it."""
    state, path = released_state(), tmp_path_factory.mktemp('released') / 'a.pth'
    torch.save(state, path)
    return state, load_released(path, HEADS)


def norm(x, state, name, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    x = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return x * state[f'{name}.weight'] + state[f'{name}.bias']


def linear(x, state, name):
    return x @ state[f'{name}.weight'].T + state[f'{name}.bias']


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def timm(state, prefix, planes, stride, extra):
    """timm's ViT on one picture [C, H, W], in loops: tokens after the last block."""
    s = {k[len(prefix) :]: v.double().numpy() for k, v in state.items() if k.startswith(prefix)}
    tokens = [s[name][0, 0] for name in ('cls_token', 'dist_token')[:extra]]
    _, height, width = planes.shape
    for top in range(0, height - 15, stride):
        for left in range(0, width - 15, stride):
            cell = planes[:, top : top + 16, left : left + 16]
            weight = s['patch_embed.proj.weight']
            tokens.append((weight * cell).sum((1, 2, 3)) + s['patch_embed.proj.bias'])
    x = np.array(tokens) + s['pos_embed'][0]
    for block in range(2):
        name = f'blocks.{block}'
        inputs = norm(x, s, f'{name}.norm1', 1e-6)
        q, k, v = np.split(linear(inputs, s, f'{name}.attn.qkv'), 3, 1)
        out, half = np.zeros_like(q), q.shape[1] // 2
        for head in range(2):
            part = slice(head * half, (head + 1) * half)
            scores = q[:, part] @ k[:, part].T / math.sqrt(half)
            powers = np.exp(scores - scores.max(1, keepdims=True))
            out[:, part] = powers / powers.sum(1, keepdims=True) @ v[:, part]
        x = x + linear(out, s, f'{name}.attn.proj')
        inputs = norm(x, s, f'{name}.norm2', 1e-6)
        x = x + linear(gelu(linear(inputs, s, f'{name}.mlp.fc1')), s, f'{name}.mlp.fc2')
    return x, s


def plain(released):
    return {k.removeprefix('module.'): v for k, v in released[0]['model_state_dict'].items()}


@pytest.mark.parametrize(('prefix', 'tower'), [('encoder', 'vision'), ('second_encoder', 'target')])
def test_dino_against_plain_numpy(released, prefix, tower):
    pixels = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = getattr(released[1], tower)(pixels).numpy()
    for k in range(2):
        state = plain(released)
        tokens, _ = timm(state, f'spot.{prefix}.', pixels[k].double().numpy(), 16, 1)
        np.testing.assert_allclose(found[k], tokens[1:], rtol=1e-5, atol=1e-5)


def test_ast_against_plain_numpy(released):
    spectrogram = torch.randn(1, 150, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = released[1].sound(spectrogram).numpy()
    state = plain(released)
    planes = spectrogram[0].double().numpy().T[None]  # [1, mel, time]
    tokens, s = timm(state, 'ast_model.v.', planes, 10, 2)
    middle = norm(tokens, s, 'norm', 1e-6)[:2].mean(0)
    head = {k[19:]: v.double().numpy() for k, v in state.items() if 'mlp_head' in k}
    expected = linear(norm(middle, head, '0', 1e-5), head, '1')
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-5)


def test_clip_text_against_plain_numpy(released):
    state = {
        k[len('clip.text_model.') :]: v.double().numpy()
        for k, v in plain(released).items()
        if k.startswith('clip.')
    }
    ids = [3, 17, 5, 39, 39]  # 39, the largest, ends a text
    x = state['embeddings.token_embedding.weight'][ids]
    x = x + state['embeddings.position_embedding.weight'][:5]
    for layer in range(2):
        name = f'encoder.layers.{layer}'
        inputs = norm(x, state, f'{name}.layer_norm1', 1e-5)
        q, k, v = (linear(inputs, state, f'{name}.self_attn.{part}_proj') for part in 'qkv')
        out = np.zeros_like(q)
        for head in range(2):
            part = slice(head * 8, head * 8 + 8)
            for place in range(5):
                scores = k[: place + 1, part] @ q[place, part] / math.sqrt(8)
                powers = np.exp(scores - scores.max())
                out[place, part] = powers / powers.sum() @ v[: place + 1, part]
        x = x + linear(out, state, f'{name}.self_attn.out_proj')
        hidden = linear(norm(x, state, f'{name}.layer_norm2', 1e-5), state, f'{name}.mlp.fc1')
        x = x + linear(hidden / (1 + np.exp(-1.702 * hidden)), state, f'{name}.mlp.fc2')
    expected = norm(x, state, 'final_layer_norm', 1e-5)[3]  # the first end of text
    found = released[1].text(torch.tensor([ids]))[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    padded = released[1].text(torch.tensor([[*ids, 39, 39, 39]]))[0].numpy()
    np.testing.assert_allclose(padded, found, rtol=1e-5, atol=1e-6)


def test_aligners_against_plain_numpy(released):
    network = released[1]
    state = {k: v.double().numpy() for k, v in released[0]['aligner_state_dict'].items()}
    pixels, ids = torch.randn(2, 3, 48, 48), torch.tensor([[3, 39]])
    spectrogram = torch.randn(2, 150, 128)
    with torch.no_grad():
        for found, inputs, name in (
            (network.embed_patches(pixels), network.look(pixels), 'slot'),
            (network.embed_sound(spectrogram), network.sound(spectrogram), 'audio'),
            (network.embed_text(ids), network.text(ids), 'text'),
        ):
            x = norm(inputs.double().numpy(), state, f'{name}_aligner.0', 1e-5)
            expected = linear(x, state, f'{name}_aligner.1')
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_slots_see_one_tower_and_the_decoder_the_other(released):
    network, pixels = released[1], torch.randn(1, 3, 48, 48)
    with torch.no_grad():
        found = network.look(pixels)
        slots, _ = network.slots.slot_attn(network.vision(pixels))
        expected = network.slots.decode(slots, network.target(pixels))
        wrong = network.slots(network.vision(pixels)).patches
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, wrong)


def test_masks_become_patches():
    network = tiny_network()  # 48 pixels, 3 x 3 patches
    masks = torch.zeros(2, 48, 48, dtype=torch.bool)
    masks[0, 15, 16] = True  # one pixel is enough
    masks[1, 15:17, 31:33] = True  # four patches
    assert network.patchify(masks[0]).nonzero().flatten().tolist() == [1]
    assert network.patchify(masks)[1].nonzero().flatten().tolist() == [1, 2, 4, 5]
    sums = torch.nn.functional.conv2d(masks[:, None].float(), torch.ones(1, 1, 16, 16), stride=16)
    assert torch.equal(network.patchify(masks), (sums > 0.05).flatten(1))  # as released


def test_pooling_by_hand():
    patches = torch.tensor([[1.0, 10.0], [3.0, 20.0], [5.0, 60.0]])
    masks = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    assert pool(patches, masks).tolist() == [[3.0, 35.0], [0.0, 0.0], [3.0, 20.0]]
    many = pool(torch.stack([patches, patches * 2]), torch.stack([masks, masks]))
    assert many[1].tolist() == [[6.0, 70.0], [0.0, 0.0], [6.0, 40.0]]
    turned = pool(patches.flip(0), masks.flip(1))  # the order of patches has no say
    torch.testing.assert_close(turned, many[0])


@pytest.mark.parametrize('shape', [(60, 90), (100, 50), (48, 48)])
def test_dino_sees_pictures_as_torchvision_cuts_them(shape):
    tower, image = tiny_dino(), torch.randint(0, 256, (*shape, 3), dtype=torch.uint8)
    recipe = v2.Compose(
        [
            v2.Resize(48, antialias=True),
            v2.CenterCrop(48),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    expected = recipe(image.permute(2, 0, 1).float() / 255)
    torch.testing.assert_close(tower.pictures(image[None])[0], expected)
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[20:35, 20:30] = True
    expected = v2.Compose([v2.Resize(48), v2.CenterCrop(48)])(mask[None])[0]
    assert torch.equal(tower.masks(mask), expected) and expected.any() and not expected.all()
    both = tower.masks(torch.stack([mask, ~mask])[None])
    assert both.shape == (1, 2, 48, 48) and torch.equal(both[0, 0], expected)
    assert tower.masks(mask[None][:0]).shape == (0, 48, 48)


def test_clipseg_squashes():
    tower = ClipSegTower(tiny_clipseg())
    mask = torch.zeros(100, 200, dtype=torch.bool)
    mask[:50] = True
    found = tower.masks(mask)
    assert found[:32].all() and not found[33:].any()
    with torch.no_grad():
        patches = tower(tower.pictures(torch.zeros(2, 100, 200, 3, dtype=torch.uint8)))
    assert patches.shape == (2, 16, 12)


def test_the_spectrogram_of_ast_is_kaldis():
    tower = tiny_network().sound
    sound = torch.randn(1, 24_000) * 0.1
    fbank = kaldi.fbank(
        sound, htk_compat=True, sample_frequency=16_000, use_energy=False, window_type='hanning',
        num_mel_bins=128, dither=0.0, frame_shift=10,
    )  # fmt: skip
    expected = (fbank + 4.26) / (2 * 4.57)
    found = tower.spectrogram(sound)[0]  # 30 frames
    torch.testing.assert_close(found, expected[:30], rtol=1e-4, atol=1e-4)
    short = tower.spectrogram(sound[:, :3000])[0]
    assert short.shape == (30, 128) and not short[17:].any() and short[:17].all()
    with pytest.raises(ValueError, match=r'waveforms of shape \[1, 300\]: expected \[B, N\]'):
        tower.spectrogram(sound[:, :300])


def test_the_window_of_sound_lies_round_the_middle():
    network = tiny_network()
    network.window = (0.1, 0.2)
    clip = torch.randn(1, 16_000) * 0.1
    with torch.no_grad():
        part = network.sound.spectrogram(clip[:, 8000 - 1600 : 8000 + 3200])
        torch.testing.assert_close(network.hear(clip), network.embed_sound(part))
        short = clip[:, :2000]  # 600 samples of silence before, 2200 after
        padded = torch.nn.functional.pad(short, (600, 2200))
        part = network.sound.spectrogram(padded)
        torch.testing.assert_close(network.hear(short), network.embed_sound(part))


@pytest.mark.parametrize('sound', ['ast', 'beats'])
@pytest.mark.parametrize('slots', [True, False])
@pytest.mark.parametrize('clipseg', [True, False])
def test_towers_can_be_swapped(sound, slots, clipseg):
    network = tiny_network(sound, slots, clipseg)
    images = torch.randint(0, 256, (2, 70, 90, 3), dtype=torch.uint8)
    with torch.no_grad():
        patches = network.embed_patches(network.vision.pictures(images))
        heard = network.embed_sound(network.sound.spectrogram(torch.randn(2, 4000) * 0.1))
        alone = network.embed_sound(network.sound.spectrogram(torch.randn(2, 4000)[:1]))
    assert patches.shape == (2, network.vision.grid**2, EMBEDDING)
    assert heard.shape == (2, EMBEDDING) and alone.shape == (1, EMBEDDING)
    network.train()
    assert not network.vision.training and network.sound.training
    with pytest.raises(ValueError, match='no text tower'):
        network.embed_text(torch.tensor([[1]]))


def test_vision_towers_come_from_folders(tmp_path, tiny_weights):
    dino = tiny_dino()
    dino.model.layernorm = torch.nn.LayerNorm(12)  # as published
    dino.model.save_pretrained(tmp_path)
    found = load_vision(tmp_path)
    pixels = torch.randn(1, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(found(pixels), tiny_dino()(pixels))
    assert not any(p.requires_grad for p in found.parameters())
    assert isinstance(load_vision(tiny_weights / 'clipseg-rd64-refined'), ClipSegTower)
    (tmp_path / 'config.json').write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="model_type is 'bert', expected vit or clipseg"):
        load_vision(tmp_path)
    with pytest.raises(ValueError, match='model_type is None'):
        load_vision(tmp_path / 'nowhere')


def test_ast_begins_with_pictures_or_sounds(tmp_path):
    torch.manual_seed(1)
    sizes = dict(hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2)
    deit = DeiTModel(DeiTConfig(**sizes, image_size=384), add_pooling_layer=False)
    sounds = ASTModel(ASTConfig(**sizes, max_length=200))
    with torch.no_grad():
        for model in (deit, sounds):
            model.embeddings.position_embeddings.normal_()
    deit.save_pretrained(tmp_path / 'deit')
    sounds.save_pretrained(tmp_path / 'ast')
    asked = AstSizes(8, 12, 2, 2, frames=150)  # 12 x 14 patches
    found = load_ast(tmp_path / 'deit', asked)
    table = deit.embeddings.position_embeddings[0]
    plane = table[2:].view(24, 24, 8)[6:18, 5:19]  # the middle
    assert torch.equal(found['embeddings.position_embeddings'][0, 2:], plane.reshape(-1, 8))
    assert torch.equal(found['embeddings.position_embeddings'][0, :2], table[:2])
    name = 'embeddings.patch_embeddings.projection.weight'
    torch.testing.assert_close(found[name][:, 0], deit.state_dict()[name].sum(1))
    AstTower(asked, 4).model.load_state_dict(found)
    found = load_ast(tmp_path / 'ast', asked)
    plane = sounds.embeddings.position_embeddings[0, 2:].view(12, 19, 8)[:, 2:16]
    assert torch.equal(found['embeddings.position_embeddings'][0, 2:], plane.reshape(-1, 8))
    longer = load_ast(tmp_path / 'ast', AstSizes(8, 12, 2, 2, frames=300))
    assert longer['embeddings.position_embeddings'].shape == (1, 2 + 12 * 29, 8)
    with pytest.raises(ValueError, match='the settings ask for .*; correct width'):
        load_ast(tmp_path / 'ast', AstSizes(16, 12, 2, 2))
    with pytest.raises(ValueError, match='model_type is None, expected audio-spectrogram-tr'):
        load_ast(tmp_path, asked)
