"""CLIPSeg against transformers, a stored reference and naive formulas.

``python test/networks/test_clipseg.py`` writes the stored reference anew.
"""

import needs

needs.networks()

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation
from trap import Trap

from cs3_ros.networks.clipseg import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGE_SIZE,
    ClipSeg,
    interpolate_positions,
    load_tokenizer,
    reset_decoder,
)

REFERENCE = Path(__file__).parent / 'data' / 'clipseg_reference.npz'
TOWER = {
    'hidden_size': 16,
    'intermediate_size': 24,
    'num_hidden_layers': 4,
    'num_attention_heads': 2,
}


def transformers_model(complex_head=True, patch=16, layers=(0, 1, 2), conditional_layer=0, **more):
    config = CLIPSegConfig(
        text_config={**TOWER, 'vocab_size': 40, 'bos_token_id': 38, 'eos_token_id': 39},
        vision_config={**TOWER, 'image_size': 4 * patch, 'patch_size': patch},
        projection_dim=12,
        extract_layers=list(layers),
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
        conditional_layer=conditional_layer,
        use_complex_transposed_convolution=complex_head,
        **more,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIPSegForImageSegmentation(config).eval()
    reset_decoder(model, torch.Generator().manual_seed(1))
    return model


def network(size=96, **settings):
    return ClipSeg(transformers_model(**settings), size)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(got, expected, tolerance=1e-5):
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize('complex_head', [False, True])
@pytest.mark.parametrize('conditional_layer', [0, 1])
@pytest.mark.parametrize('size', [64, 96])
def test_logits_are_those_of_transformers(complex_head, conditional_layer, size):
    clipseg = network(size, complex_head=complex_head, conditional_layer=conditional_layer)
    pixels, conditions = random(2, 3, size, size), random(2, 12, seed=1)
    with torch.no_grad():
        expected = clipseg.model(pixel_values=pixels, conditional_embeddings=conditions).logits
        logits = clipseg.decode(clipseg.encode_image(pixels), conditions)
    assert logits.shape == (2, 2, clipseg.logit_size, clipseg.logit_size)
    assert expected.std() > 0.01
    close(logits[[0, 1], [0, 1]], expected)


def test_layers_in_any_order_are_read_as_transformers_reads_them():
    """hidden_states[i + 1] for i in extract_layers, the last listed first."""
    clipseg = network(64, layers=(1, 3))
    pixels, conditions = random(1, 3, 64, 64), random(1, 12, seed=1)
    with torch.no_grad():
        expected = clipseg.model(pixel_values=pixels, conditional_embeddings=conditions).logits
        close(clipseg.decode(clipseg.encode_image(pixels), conditions)[:, 0], expected)


def test_embeddings_are_those_of_transformers():
    clipseg = network()
    pixels = random(2, 3, 96, 96)
    ids = torch.tensor([[38, 3, 4, 39, 39], [38, 5, 6, 7, 39]])
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    with torch.no_grad():
        image = clipseg.model.clip.get_image_features(pixels).pooler_output
        text = clipseg.model.clip.get_text_features(ids, mask).pooler_output
        close(clipseg.embed_image(pixels), image)
        close(clipseg.embed_text(ids, mask), text)


def reference_run():
    """Model and input whose numbers come from numpy alone: no release of torch changes them."""
    model = transformers_model(complex_head=False, patch=8)
    numbers = np.random.RandomState(0)
    state = model.state_dict()
    for name in sorted(state):
        value = 0.3 * numbers.standard_normal(tuple(state[name].shape))
        state[name] = torch.tensor(value + name.endswith('norm.weight'), dtype=torch.float32)
    model.load_state_dict(state)
    pixels = torch.tensor(numbers.standard_normal((1, 3, 48, 48)), dtype=torch.float32)
    condition = torch.tensor(numbers.standard_normal((1, 12)), dtype=torch.float32)
    return model, pixels, condition


def transformers_answers():
    model, pixels, condition = reference_run()
    embeddings = model.clip.vision_model.embeddings
    with torch.no_grad():
        tokens = embeddings(pixels)
        # What the embedding adds to patches and CLS: the interpolated positions.
        patches = embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = embeddings.class_embedding.expand(1, 1, -1)
        positions = (tokens - torch.cat([first, patches], 1))[0]
        logits = model(pixel_values=pixels, conditional_embeddings=condition).logits
    return positions, logits


def our_answers():
    model, pixels, condition = reference_run()
    clipseg = ClipSeg(model, 48)
    table = model.clip.vision_model.embeddings.position_embedding.weight
    with torch.no_grad():
        logits = clipseg.decode(clipseg.encode_image(pixels), condition)[:, 0]
        return interpolate_positions(table, (6, 6)), logits


@pytest.mark.parametrize('answers', [our_answers, transformers_answers])
def test_neither_we_nor_transformers_drift_from_the_stored_reference(answers):
    positions, logits = answers()
    with np.load(REFERENCE) as stored:
        assert stored['positions'].std() > 0.2 and stored['logits'].std() > 0.2
        close(positions, torch.tensor(stored['positions']), 1e-5)
        close(logits, torch.tensor(stored['logits']), 1e-4)


def test_another_interpolation_would_be_noticed():
    """The reference tells bicubic from bicubic with aligned corners, and from bilinear."""
    model, _, _ = reference_run()
    table = model.clip.vision_model.embeddings.position_embedding.weight[1:]
    grid = table.reshape(4, 4, -1).permute(2, 0, 1)[None]
    with np.load(REFERENCE) as stored:
        expected = torch.tensor(stored['positions'])[1:]
    for settings in ({'mode': 'bilinear'}, {'mode': 'bicubic', 'align_corners': True}):
        other = nn.functional.interpolate(grid, (6, 6), **settings)[0].flatten(1).T
        assert (other - expected).abs().max() > 0.05


@pytest.mark.parametrize('layers', [(0, 1), (1, 2, 3)])
def test_dense_features_are_maskclips(layers):
    clipseg = network(64, layers=layers)
    pixels = random(2, 3, 64, 64)
    weights = clipseg.model.state_dict()
    vision = clipseg.model.clip.vision_model

    def linear(x, name):
        weight = weights[f'clip.{name}.weight']
        return x @ weight.T + weights.get(f'clip.{name}.bias', torch.zeros(len(weight)))

    with torch.no_grad():
        x = vision(pixels, output_hidden_states=True).hidden_states[3]
        block, last = vision.encoder.layers[3], 'vision_model.encoder.layers.3'
        value = linear(block.layer_norm1(x), f'{last}.self_attn.v_proj')
        x = x + linear(value, f'{last}.self_attn.out_proj')
        hidden = linear(block.layer_norm2(x), f'{last}.mlp.fc1')
        x = x + linear(hidden * torch.sigmoid(1.702 * hidden), f'{last}.mlp.fc2')
        x = linear(vision.post_layernorm(x), 'visual_projection')
        expected = x[:, 1:].reshape(2, 4, 4, 12).permute(0, 3, 1, 2)
        close(clipseg.dense_features(clipseg.encode_image(pixels)), expected)


def test_every_picture_is_decoded_under_every_condition():
    clipseg = network()
    pixels, conditions = random(3, 3, 96, 96), random(2, 12, seed=1)
    with torch.no_grad():
        together = clipseg.decode(clipseg.encode_image(pixels), conditions)
        assert together.shape == (3, 2, 96, 96)
        for image in range(3):
            for number in range(2):
                features = clipseg.encode_image(pixels[image : image + 1])
                alone = clipseg.decode(features, conditions[number : number + 1])
                close(together[image, number], alone[0, 0])
    assert (together[:, 0] - together[:, 1]).abs().max() > 0.01


@pytest.mark.parametrize('layers', [(0, 1), (1, 2, 3)])
def test_no_block_runs_twice_for_decoding_and_features(layers):
    clipseg = network(layers=layers)
    runs = []
    for number, block in enumerate(clipseg.model.clip.vision_model.encoder.layers):
        block.register_forward_hook(lambda *_, number=number: runs.append(number))
    with torch.no_grad():
        features = clipseg.encode_image(random(1, 3, 96, 96))
        assert runs == list(range(max(layers) + 1))  # not those that the decoder does not read
        clipseg.decode(features, random(3, 12))
        clipseg.dense_features(features)
    assert runs == sorted(set(runs))


def test_gradients_reach_conditions_and_pixels():
    clipseg = network()
    clipseg.requires_grad_(False)
    pixels = random(2, 3, 96, 96).requires_grad_()
    condition = random(2, 12).requires_grad_()
    features = clipseg.encode_image(pixels)
    clipseg.decode(features, condition).square().sum().backward()
    assert condition.grad.abs().min() > 0
    for answer in (
        clipseg.dense_features(clipseg.encode_image(pixels)),
        clipseg.embed_image(pixels),
    ):
        pixels.grad = None
        answer.square().sum().backward()
        assert pixels.grad.abs().max() > 0 and pixels.grad.isfinite().all()


def test_gradients_agree_with_finite_differences():
    clipseg = network(32).double()
    pixels = random(1, 3, 32, 32).double()
    condition = random(1, 12).double().requires_grad_()
    weights = random(1, 1, 32, 32, seed=2)
    features = clipseg.encode_image(pixels)

    def loss(a):
        return (clipseg.decode(features, a) * weights).sum()

    (gradient,) = torch.autograd.grad(loss(condition), condition)
    step = random(1, 12, seed=3).double()
    with torch.no_grad():
        slope = (loss(condition + 0.1 * step) - loss(condition - 0.1 * step)) / 0.2
    # Logits are float32, hence the coarse step and tolerance.
    assert float((gradient * step).sum()) == pytest.approx(float(slope), rel=0.02)


def test_position_embeddings_learn_while_they_are_trained():
    clipseg = network()
    features = clipseg.encode_image(random(1, 3, 96, 96))
    clipseg.decode(features, random(1, 12)).sum().backward()
    table = clipseg.model.clip.vision_model.embeddings.position_embedding.weight
    assert table.grad.abs().min() > 0


def test_position_embeddings_of_frozen_weights_are_never_stale():
    clipseg = network().requires_grad_(False)
    pixels, condition = random(1, 3, 96, 96), random(1, 12)

    def compare(tolerance=1e-5):
        expected = clipseg.model(pixel_values=pixels, conditional_embeddings=condition).logits
        close(
            clipseg.decode(clipseg.encode_image(pixels), condition)[0].float(), expected, tolerance
        )

    compare()
    table = clipseg.model.clip.vision_model.embeddings.position_embedding.weight
    with torch.no_grad():
        table.mul_(-3)
    compare()
    clipseg.load_state_dict(network(layers=(0, 1, 2)).state_dict())
    compare()
    clipseg.double()
    pixels, condition = pixels.double(), condition.double()
    assert clipseg.encode_image(pixels).deepest.dtype == torch.float64


def test_a_first_run_in_inference_mode_does_not_hinder_training():
    clipseg = network().requires_grad_(False)
    pictures = torch.zeros(1, 20, 30, 3, dtype=torch.uint8)
    with torch.inference_mode():
        clipseg.encode_image(clipseg.normalise(pictures))
    pixels = (clipseg.normalise(pictures) * torch.ones(1, 3, 96, 96).requires_grad_()) * 2
    clipseg.embed_image(pixels).sum().backward()


def test_bfloat16_is_close_to_float32():
    pixels, conditions = random(2, 3, 96, 96), random(3, 12, seed=1)
    clipseg = network()
    with torch.no_grad():
        expected = clipseg.decode(clipseg.encode_image(pixels), conditions)
        clipseg.to(torch.bfloat16)
        got = clipseg.decode(clipseg.encode_image(pixels), conditions)
        dense = clipseg.dense_features(clipseg.encode_image(pixels))
    assert got.dtype == torch.float32 and dense.dtype == torch.bfloat16
    assert np.corrcoef(got.flatten(), expected.flatten())[0, 1] > 0.99


def test_logits_keep_their_digits_under_autocast():
    clipseg = network()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        logits = clipseg.decode(clipseg.encode_image(random(1, 3, 96, 96)), random(1, 12))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits.bfloat16().float(), logits)


def test_repeated_calls_agree_bit_for_bit():
    clipseg = network().requires_grad_(False)
    pixels, conditions = random(1, 3, 96, 96), random(1, 12)
    first = clipseg.decode(clipseg.encode_image(pixels), conditions)
    clipseg.decode(clipseg.encode_image(random(2, 3, 64, 64, seed=5)), random(3, 12, seed=6))
    assert torch.equal(clipseg.decode(clipseg.encode_image(pixels), conditions), first)


@pytest.mark.parametrize('shape', [(200, 300), (40, 30)])
def test_normalise_is_a_bicubic_resize_with_clips_statistics(shape):
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    waves = [np.sin(rows / 9 + k) * np.cos(columns / 7 - k) for k in range(3)]
    picture = np.stack([127 + 90 * wave for wave in waves], 2).astype(np.uint8)
    clipseg = network()
    got = clipseg.normalise(torch.from_numpy(picture)[None])
    assert got.shape == (1, 3, 96, 96) and got.dtype == torch.float32
    resized = np.asarray(Image.fromarray(picture).resize((96, 96), Image.Resampling.BICUBIC))
    expected = (resized / 255 - CLIP_MEAN) / CLIP_STD
    two_grey_levels = 2 / 255 / min(CLIP_STD)
    assert np.abs(got[0].permute(1, 2, 0).numpy() - expected).max() < two_grey_levels


@pytest.mark.parametrize('complex_head', [False, True])
def test_a_reset_decoder_is_usable_and_reproducible(complex_head):
    first, second = (transformers_model(complex_head) for _ in range(2))
    for a, b in zip(first.decoder.parameters(), second.decoder.parameters(), strict=True):
        assert torch.equal(a, b)
    clipseg = ClipSeg(first, 96)
    with torch.no_grad():
        logits = clipseg.decode(clipseg.encode_image(random(1, 3, 96, 96)), random(4, 12))
    assert -4 < logits.mean() < -1
    assert (logits.std((2, 3)) > 0.02).all()
    reset_decoder(second, torch.Generator().manual_seed(2))
    assert not torch.equal(first.decoder.film_mul.weight, second.decoder.film_mul.weight)


def saved(folder, **settings):
    transformers_model(**settings).save_pretrained(folder)
    return folder


@pytest.mark.parametrize('size', [96, {'height': 96, 'width': 96}, {'shortest_edge': 96}])
def test_a_folder_is_loaded_as_it_was_saved(tmp_path, size):
    saved(tmp_path)
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps({'size': size}))
    clipseg = ClipSeg.from_folder(tmp_path)
    assert clipseg.image_size == 96 and clipseg.projection_dim == 12
    assert not clipseg.training
    expected = network().state_dict()
    assert set(expected) == set(clipseg.state_dict())
    for name, tensor in clipseg.state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_half_precision_files_are_loaded_as_float32(tmp_path):
    transformers_model().half().save_pretrained(tmp_path)
    clipseg = ClipSeg.from_folder(tmp_path)
    assert {value.dtype for value in clipseg.parameters()} == {torch.float32}
    assert clipseg.image_size == IMAGE_SIZE


def test_pickled_weights_are_refused_and_never_executed(tmp_path):
    folder = saved(tmp_path / 'folder')
    (folder / 'model.safetensors').unlink()
    torch.save({'evil': Trap(tmp_path / 'executed')}, folder / 'pytorch_model.bin')
    with pytest.raises(ValueError, match='model.safetensors'):
        ClipSeg.from_folder(folder)
    (folder / 'pytorch_model.bin').rename(folder / 'model.safetensors')
    with pytest.raises(ValueError, match='bring its files again'):
        ClipSeg.from_folder(folder)
    assert not (tmp_path / 'executed').exists()


def damage_config(folder):
    (folder / 'config.json').write_text('{')


def no_config(folder):
    (folder / 'config.json').unlink()


def other_config(folder):
    """Says another width than the weights have."""
    text = (folder / 'config.json').read_text()
    (folder / 'config.json').write_text(text.replace('"reduce_dim": 8', '"reduce_dim": 16'))


def fewer_tensors(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / 'model.safetensors')
    del tensors['decoder.film_mul.weight']
    save_file(tensors, folder / 'model.safetensors', {'format': 'pt'})


def truncate(folder):
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:100])


def odd_size(folder):
    (folder / 'preprocessor_config.json').write_text('{"size": 50}')


def size_of_no_kind(folder):
    (folder / 'preprocessor_config.json').write_text('{"size": {"height": "big"}}')


def size_without_size(folder):
    (folder / 'preprocessor_config.json').write_text('{}')


@pytest.mark.parametrize(
    'spoil, message',
    [
        (damage_config, 'bring its files again'),
        (no_config, 'no config.json'),
        (other_config, 'bring its files again'),
        (fewer_tensors, 'lacks 1 tensors, first decoder.film_mul.weight'),
        (truncate, 'bring its files again'),
        (odd_size, 'multiple of its patches, 16'),
        (size_of_no_kind, "size = {'height': 'big'}: expected {\"height\": 352"),
        (size_without_size, 'size = None: expected {"height": 352'),
    ],
)
def test_a_spoilt_folder_is_refused_with_the_fix(tmp_path, spoil, message):
    spoil(saved(tmp_path))
    with pytest.raises(ValueError, match=message) as caught:
        ClipSeg.from_folder(tmp_path)
    assert str(tmp_path) in str(caught.value) or spoil is odd_size


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'layers': ()}, 'extract_layers'),
        ({'layers': (0, 4)}, 'extract_layers'),
        ({'conditional_layer': 3}, 'conditional_layer'),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    config = transformers_model().config
    model = transformers_model()
    config.extract_layers = list(settings.get('layers', (0, 1, 2)))
    config.conditional_layer = settings.get('conditional_layer', 0)
    model.config = config
    with pytest.raises(ValueError, match=message):
        ClipSeg(model, 96)


@pytest.mark.parametrize('missing', ['vocab.json', 'merges.txt'])
def test_a_folder_without_tokenizer_files_is_refused(tmp_path, missing):
    (tmp_path / 'vocab.json').write_text('{}')
    (tmp_path / 'merges.txt').write_text('#version: 0.2\n')
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match=missing):
        load_tokenizer(tmp_path)


def test_a_damaged_tokenizer_is_refused(tmp_path):
    (tmp_path / 'vocab.json').write_text('{')
    (tmp_path / 'merges.txt').write_text('#version: 0.2\n')
    with pytest.raises(ValueError, match='bring its vocab.json'):
        load_tokenizer(tmp_path)


if __name__ == '__main__':
    stored_positions, stored_logits = transformers_answers()
    REFERENCE.parent.mkdir(exist_ok=True)
    np.savez_compressed(REFERENCE, positions=stored_positions, logits=stored_logits)
