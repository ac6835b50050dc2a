import needs

needs.networks()

import copy
import json

import numpy as np
import pytest
import torch
from transformers import CLIPSegConfig, CLIPSegModel, CLIPTokenizer

from cs3_ros.networks.audio_token import (
    AttentivePooling,
    AudioToken,
    AudioTokenConfig,
    embed_prompt,
    prompt_ids,
)

START, END = '<|startoftext|>', '<|endoftext|>'


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
    """CLIP's tokenizer with six merges, read from the files in which the real one comes."""
    folder = tmp_path_factory.mktemp('clip')
    letters = 'abcdefghijklmnopqrstuvwxyz'
    merges = ['p h', 'o t', 'ph ot', 'phot o</w>', 'o f</w>', 'c u']
    tokens = [*letters, *(f'{letter}</w>' for letter in letters)]
    tokens += [*(merge.replace(' ', '') for merge in merges), START, END]
    (folder / 'vocab.json').write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / 'merges.txt').write_text('\n'.join(['#version: 0.2', *merges, '']))
    settings = {'bos_token': START, 'eos_token': END, 'unk_token': END, 'pad_token': END}
    settings |= {'model_max_length': 12, 'do_lower_case': True}
    (folder / 'tokenizer_config.json').write_text(json.dumps(settings))
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope='module')
def clip():
    """A tiny CLIP as CLIPSeg contains it; its sentences end like those of the published one."""
    torch.manual_seed(0)
    text = dict(vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=2)
    text |= dict(num_attention_heads=2, max_position_embeddings=12, eos_token_id=2)
    vision = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    vision |= dict(image_size=32, patch_size=16)
    config = CLIPSegConfig(text_config=text, vision_config=vision, projection_dim=10)
    model = CLIPSegModel(config).eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        if weight.ndim == 1 and 'text_model' in name:
            weight.add_(torch.randn_like(weight) / 5)
    return model


def text_tower_by_hand(clip, words):
    """Embedding [P] of a sentence [L, E] of word vectors: all of CLIP's text tower, written out."""
    weights = {name: w.detach() for name, w in clip.named_parameters()}
    norm = torch.nn.functional.layer_norm

    def linear(x, name):
        return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']

    length, width = words.shape
    x = words + weights['text_model.embeddings.position_embedding.weight'][:length]
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    for layer in range(2):
        block = f'text_model.encoder.layers.{layer}'
        scale = (weights[f'{block}.layer_norm1.weight'], weights[f'{block}.layer_norm1.bias'])
        y = norm(x, (width,), *scale)
        q, k, v = (linear(y, f'{block}.self_attn.{part}_proj') for part in 'qkv')
        heads = []
        for head in (slice(0, width // 2), slice(width // 2, width)):
            scores = q[:, head] @ k[:, head].T / (width // 2) ** 0.5
            heads.append(scores.masked_fill(later, -torch.inf).softmax(1) @ v[:, head])
        x = x + linear(torch.cat(heads, 1), f'{block}.self_attn.out_proj')
        scale = (weights[f'{block}.layer_norm2.weight'], weights[f'{block}.layer_norm2.bias'])
        y = linear(norm(x, (width,), *scale), f'{block}.mlp.fc1')
        x = x + linear(y * torch.sigmoid(1.702 * y), f'{block}.mlp.fc2')
    scale = [weights[f'text_model.final_layer_norm.{part}'] for part in ('weight', 'bias')]
    return norm(x, (width,), *scale)[-1] @ weights['text_projection.weight'].T


def embed(clip, ids, token, position):
    return embed_prompt(clip.text_model, clip.text_projection, ids, token, position)


def pooled_by_hand(pooling, x):
    """Factor graph attention of one sound [N, E] as its formula says (method.md A2)."""
    w = {
        name: value.detach().numpy().astype(np.float64)
        for name, value in pooling.named_parameters()
    }

    def linear(u, name):
        return w[f'{name}.weight'] @ u + w[f'{name}.bias']

    logits = []
    for u in x:
        unary = linear(np.maximum(linear(u, 'unary_hidden'), 0), 'unary')[0]
        a, cosines = linear(u, 'query'), []
        for other in x:
            b = linear(other, 'key')
            cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        logits.append(w['factors.weight'][0] @ [unary, np.mean(cosines)])
    shares = np.exp(logits - np.max(logits))
    return (shares / shares.sum()) @ x


def test_pooling_follows_the_formula():
    torch.manual_seed(0)
    pooling = AttentivePooling(6, 0.5).eval()
    with torch.no_grad():
        pooling.factors.weight.copy_(torch.tensor([[1.5, -4.0]]))
    x = torch.randn(3, 7, 6)
    expected = np.stack([pooled_by_hand(pooling, one.numpy().astype(np.float64)) for one in x])
    got = pooling(x).detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(got - x.mean(1).numpy()).max() > 0.05  # attention does something


def test_the_published_size():
    with torch.device('meta'):
        token = AudioToken()
    assert sum(weight.numel() for weight in token.parameters()) == 7_279_363


def test_the_token_is_the_pooled_projection_of_the_blocks():
    torch.manual_seed(0)
    token = AudioToken(AudioTokenConfig(blocks=(1, 3), audio_width=8, text_width=6)).eval()
    features = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    joined = torch.cat(features, 2)
    hidden = joined @ token.fc1.weight.T + token.fc1.bias
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    projected = (hidden @ token.fc2.weight.T + token.fc2.bias).detach().numpy().astype(np.float64)
    expected = np.stack([pooled_by_hand(token.pooling, one) for one in projected])
    np.testing.assert_allclose(token(features).detach().numpy(), expected, rtol=1e-4, atol=1e-6)
    training = AudioToken(token.config).train()
    assert not torch.equal(training(features), training(features))  # dropout
    assert token.bfloat16()([f.bfloat16() for f in features]).dtype == torch.bfloat16


@pytest.mark.parametrize('wrong', [(), (0, 4), (1.5,), ('4',)])
def test_impossible_blocks_are_refused(wrong):
    with pytest.raises(ValueError, match='AudioTokenConfig.blocks'):
        AudioTokenConfig(blocks=wrong)


def test_settings_survive_json():
    config = AudioTokenConfig(blocks=(2, 3), prompt='A picture of', position=4)
    assert AudioTokenConfig(**json.loads(json.dumps(vars(config)))) == config


def test_the_prompt_has_a_free_place_where_the_token_goes(tokenizer):
    def tokens(**settings):
        ids = prompt_ids(tokenizer, AudioTokenConfig(**settings))
        assert ids.dtype == torch.int64
        return tokenizer.convert_ids_to_tokens(ids.tolist())

    words = [START, 'a</w>', 'photo</w>', 'of</w>']
    assert tokens() == [*words, 'a</w>', START, END]
    assert tokens(prompt='A photo of', position=4) == [*words, START, END]
    assert tokens(position=1) == [START, START, *words[1:], 'a</w>', END]


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'position': 6}, 'has 4 words for the tokenizer, expected a position from 1 to 5'),
        ({'prompt': '', 'position': 2}, 'has 0 words for the tokenizer'),
        (
            {'prompt': 'a b c d e f g h i j'},
            'has 13 tokens with the sound, the text tower takes 12',
        ),
    ],
)
def test_a_prompt_without_that_place_is_refused(tokenizer, settings, message):
    with pytest.raises(ValueError, match=message):
        prompt_ids(tokenizer, AudioTokenConfig(**settings))


@pytest.mark.parametrize('position', [1, 4, 5])
def test_the_sentence_is_embedded_as_by_hand_with_gradients_to_the_token(tokenizer, clip, position):
    ids = prompt_ids(tokenizer, AudioTokenConfig(position=position))
    tokens = torch.randn(2, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    got = embed(clip, ids, tokens, position)
    words = clip.text_model.embeddings.token_embedding.weight[ids]
    by_hand = []
    for token in tokens:
        sentence = torch.cat([words[:position], token[None], words[position + 1 :]])
        by_hand.append(text_tower_by_hand(clip, sentence))
    expected = torch.stack(by_hand)
    assert got.shape == (2, 10)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    weight = torch.randn(2, 10, generator=torch.Generator().manual_seed(2))
    (ours,) = torch.autograd.grad((got * weight).sum(), tokens)
    (theirs,) = torch.autograd.grad((expected * weight).sum(), tokens)
    assert theirs.abs().max() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_words_own_vector_gives_the_embedding_of_that_sentence(tokenizer, clip):
    ids = prompt_ids(tokenizer, AudioTokenConfig())
    cup = tokenizer.convert_tokens_to_ids('cu')
    sentence = ids.clone()
    sentence[5] = cup
    expected = clip.get_text_features(sentence[None])
    expected = getattr(expected, 'pooler_output', expected)
    token = clip.text_model.embeddings.token_embedding.weight[cup][None]
    torch.testing.assert_close(embed(clip, ids, token, 5), expected, rtol=1e-5, atol=1e-6)


def test_the_tower_is_left_as_it_was_even_after_an_error(tokenizer, clip):
    ids = prompt_ids(tokenizer, AudioTokenConfig())
    before = clip.get_text_features(ids[None]).pooler_output
    embed(clip, ids, torch.randn(1, 16), 5)
    with pytest.raises(RuntimeError):
        embed(clip, ids, torch.randn(1, 15), 5)
    assert torch.equal(clip.get_text_features(ids[None]).pooler_output, before)


def test_a_bfloat16_tower_takes_a_float32_token(tokenizer, clip):
    ids = prompt_ids(tokenizer, AudioTokenConfig())
    token = torch.randn(1, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    expected = embed(clip, ids, token, 5).detach()
    got = embed(copy.deepcopy(clip).bfloat16(), ids, token, 5)
    assert got.dtype == torch.bfloat16
    got.sum().backward()
    assert token.grad.dtype == torch.float32 and token.grad.abs().sum() > 0
    assert torch.nn.functional.cosine_similarity(got.float(), expected) > 0.99
