import needs

needs.networks()

import pickle
from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from torchaudio.compliance import kaldi
from trap import Trap

from cs3_ros.networks.beats import (
    Beats,
    BeatsConfig,
    beats_checkpoint,
    beats_fbank,
    load_beats,
    whole_patches,
)

CFG = {
    'input_patch_size': 16, 'embed_dim': 24, 'conv_bias': False, 'encoder_layers': 3,
    'encoder_embed_dim': 32, 'encoder_ffn_embed_dim': 64, 'encoder_attention_heads': 4,
    'activation_fn': 'gelu', 'layer_norm_first': False, 'deep_norm': True, 'dropout': 0.0,
    'attention_dropout': 0.0, 'activation_dropout': 0.0, 'encoder_layerdrop': 0.05,
    'dropout_input': 0.0, 'conv_pos': 8, 'conv_pos_groups': 4, 'relative_position_embedding': True,
    'num_buckets': 32, 'max_distance': 40, 'gru_rel_pos': True,
    'layer_wise_gradient_decay_ratio': 0.6, 'finetuned_model': True, 'predictor_dropout': 0.0,
    'predictor_class': 11,
}  # fmt: skip
CONVOLUTION = 'encoder.pos_conv.0.'
SAMPLES = 32_000  # 96 tokens: beyond max_distance


def random_beats(cfg, seed=0):
    """A network in which every parameter matters: biases, gates and positions are not zero."""
    torch.manual_seed(seed)
    beats = Beats(BeatsConfig.from_cfg(cfg)).eval()
    with torch.no_grad():
        for name, weight in beats.named_parameters():
            if 'relative' in name or 'grep' in name:
                weight.add_(torch.randn_like(weight))
            elif weight.ndim == 1:
                weight.add_(torch.randn_like(weight) / 10)
    return beats


def write(path, beats, cfg=None):
    """The official file; with the keys of ``cfg`` that are not ours."""
    checkpoint = beats_checkpoint(beats)
    torch.save({**checkpoint, 'cfg': {**(cfg or {}), **checkpoint['cfg']}}, path)
    return path


def sounds(count=2, seed=1):
    return torch.randn(count, SAMPLES, generator=torch.Generator().manual_seed(seed)) / 10


def classify(beats, fbank):
    """Probabilities of the AudioSet classes as the official code computes them, [B, classes]."""
    (x,) = beats(fbank, (beats.config.encoder_layers,))
    return beats.predictor(x).mean(1).sigmoid()


def assert_parity(path, blocks, tolerance=1e-4):
    """``load_beats`` computes and learns what SpeechBrain's copy of the official code does.

    Args:
        path: an official file with a classifier.
        blocks: which outputs are compared.
        tolerance: of outputs, absolute; of gradients, relative to the largest of a parameter.

    Returns:
        The largest errors of outputs and gradients.
    """
    reference_code = pytest.importorskip('speechbrain.lobes.models.beats')
    reference = reference_code.BEATs(path, freeze=False, output_all_hiddens=True).eval()
    beats = load_beats(path)
    theirs, ours = sounds().requires_grad_(), sounds().requires_grad_()

    hidden, their_classes, _ = reference.extract_features(theirs, torch.ones(2))
    fbank = beats_fbank(ours)
    torch.testing.assert_close(fbank, reference.preprocess(theirs), rtol=0, atol=1e-5)
    expected = [hidden[block].transpose(0, 1) for block in blocks]
    outputs = beats(fbank, blocks)
    error = max((a - b).abs().max().item() for a, b in zip(outputs, expected, strict=True))
    assert error < tolerance
    our_classes = classify(beats, fbank)
    torch.testing.assert_close(our_classes, their_classes, rtol=0, atol=1e-5)

    weights = [torch.randn(x.shape, generator=torch.Generator().manual_seed(2)) for x in outputs]
    for values, classes in ((expected, their_classes), (outputs, our_classes)):
        loss = sum((x * w).sum() for x, w in zip(values, weights, strict=True))
        (loss + classes.sum()).backward()
    pairs = {'sound': (ours.grad, theirs.grad)}
    ours, theirs = dict(beats.named_parameters()), dict(reference.named_parameters())
    table = 'relative_attention_bias.weight'
    for name in ours.keys() - {f'{CONVOLUTION}weight', f'encoder.{table}'}:
        pairs[name] = (ours[name].grad, theirs[name].grad)
    shared = theirs[f'encoder.layers.0.self_attn.{table}'].grad
    pairs[table] = (ours[f'encoder.{table}'].grad, shared)
    worst = 0.0
    for name, (ours_grad, theirs_grad) in pairs.items():
        # keys' bias cancels in the softmax: its gradient is rounding noise
        scale = 1.0 if name.endswith('k_proj.bias') else theirs_grad.abs().max().item()
        gradient_error = (ours_grad - theirs_grad).abs().max().item() / scale
        assert gradient_error < tolerance, name
        worst = max(worst, gradient_error)
    return error, worst


@pytest.mark.parametrize('decay', [0.6, 1.0])
def test_outputs_gradients_and_classes_are_those_of_the_official_code(tmp_path, decay):
    beats = random_beats({**CFG, 'layer_wise_gradient_decay_ratio': decay})
    assert_parity(write(tmp_path / 'beats.pt', beats), (1, 3))


def test_variants_of_the_architecture_agree_too(tmp_path):
    variant = {
        **CFG, 'embed_dim': 32, 'conv_bias': True, 'deep_norm': False, 'conv_pos': 7,
        'input_patch_size': 12,
    }  # fmt: skip
    assert_parity(write(tmp_path / 'beats.pt', random_beats(variant)), (2,))


def test_fbank_is_torchaudios_normalised_and_refuses_what_fills_no_patch():
    waveforms = sounds(2)
    expected = [kaldi.fbank(w[None] * 2**15, num_mel_bins=128) for w in waveforms]
    expected = (torch.stack(expected) - 15.41663) / (2 * 6.55582)
    got = beats_fbank(waveforms)
    assert got.shape == (2, 198, 128)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    beats = random_beats(CFG)
    (shortest,) = beats(beats_fbank(waveforms[:, :2_800]), (1,))
    assert shortest.shape == (2, 8, 32)
    for wrong in (waveforms[:, :2_799], waveforms[0]):
        with pytest.raises(ValueError, match=r'N >= 2800 samples \(0.175 s'):
            beats_fbank(wrong)


@pytest.mark.parametrize('count', [2800, 2801, 5359, 5360, 16_000, 17_600, 18_400, 20_000, 31_999])
def test_whole_patches_end_with_the_sound_and_leave_no_frame_out(count):
    sound = torch.arange(count, dtype=torch.float32)[None]
    heard = whole_patches(sound)
    assert heard[0, -1] == count - 1 and torch.equal(heard, sound[:, -heard.shape[1] :])
    assert beats_fbank(heard).shape[1] % 16 == 0
    assert count - heard.shape[1] < 16 * 160 and heard.shape[1] >= 2800
    assert whole_patches(torch.zeros(1, 32_000)).shape == (1, 32_000), 'as published'


def test_blocks_come_in_the_order_asked_for_and_later_ones_are_not_computed():
    beats = random_beats(CFG)
    fbank = beats_fbank(sounds(1))
    first, second, third = beats(fbank, (1, 2, 3))
    assert not torch.equal(first, second) and not torch.equal(second, third)
    beats.encoder.layers[2].register_forward_pre_hook(lambda *_: pytest.fail('block 3 ran'))
    for got, expected in zip(beats(fbank, (2, 1)), (second, first), strict=True):
        assert torch.equal(got, expected)
    for wrong in ((), (0,), (1, 4)):
        with pytest.raises(ValueError, match='expected some of 1 to 3'):
            beats(fbank, wrong)


@lru_cache(maxsize=1)
def expected_output():
    return random_beats(CFG)(beats_fbank(sounds(1)), (3,))[0].detach()


@pytest.mark.parametrize('spelling', ['fused', 'parametrizations', 'folded', 'half precision'])
def test_every_spelling_of_the_weight_norm_is_read(tmp_path, spelling):
    checkpoint = beats_checkpoint(random_beats(CFG))
    model = checkpoint['model']
    if spelling == 'parametrizations':
        for old, new in (('weight_g', 'original0'), ('weight_v', 'original1')):
            model[f'{CONVOLUTION}parametrizations.weight.{new}'] = model.pop(CONVOLUTION + old)
    elif spelling == 'folded':
        gain, direction = (model.pop(f'{CONVOLUTION}weight_{part}') for part in 'gv')
        model[f'{CONVOLUTION}weight'] = torch._weight_norm(3 * direction, gain, 2)
    elif spelling == 'half precision':
        checkpoint['model'] = {name: value.bfloat16() for name, value in model.items()}
    torch.save({**checkpoint, 'label_dict': {0: '/m/09x0r'}}, tmp_path / 'beats.pt')
    beats = load_beats(tmp_path / 'beats.pt')
    assert not beats.training and {p.dtype for p in beats.parameters()} == {torch.float32}
    (got,) = beats(beats_fbank(sounds(1)), (3,))
    tolerance = 0.2 if spelling == 'half precision' else 1e-5
    torch.testing.assert_close(got, expected_output(), rtol=0, atol=tolerance)


def test_an_official_checkpoint_has_the_official_names(tmp_path):
    beats = random_beats(CFG)
    model = beats_checkpoint(beats)['model']
    assert model['encoder.pos_conv.0.weight_g'].shape == (1, 1, 8)
    assert model['encoder.pos_conv.0.weight_v'].shape == (32, 8, 8)
    tables = [f'encoder.layers.{i}.self_attn.relative_attention_bias.weight' for i in range(3)]
    assert all(model[table].shape == (32, 4) for table in tables)
    again = load_beats(write(tmp_path / 'beats.pt', beats, CFG))
    assert again.config == beats.config
    for name, value in beats.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=1e-6, atol=1e-7)


def test_the_classifier_is_kept_exactly_where_the_file_has_one(tmp_path):
    fbank = beats_fbank(sounds(2))
    beats = random_beats(CFG)
    assert load_beats(write(tmp_path / 'a', beats)).predictor.weight.shape == (11, 32)
    checkpoint = beats_checkpoint(beats)
    for part in ('weight', 'bias'):
        del checkpoint['model'][f'predictor.{part}']
    torch.save(checkpoint, tmp_path / 'beats.pt')
    bare = load_beats(tmp_path / 'beats.pt')
    assert torch.equal(
        bare(fbank, (3,))[0], load_beats(write(tmp_path / 'b', beats))(fbank, (3,))[0]
    )
    assert not bare.config.finetuned_model and not hasattr(bare, 'predictor')
    assert 'predictor.weight' not in beats_checkpoint(bare)['model']


@pytest.mark.parametrize('disguise', ['pickle', 'torch.save', 'in cfg'])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path, disguise):
    path, trace = tmp_path / 'beats.pt', tmp_path / 'executed'
    malice = Trap(trace)
    if disguise == 'pickle':
        path.write_bytes(pickle.dumps(malice, protocol=2))
    elif disguise == 'torch.save':
        torch.save(malice, path)
    else:
        torch.save({**beats_checkpoint(random_beats(CFG)), 'cfg': {**CFG, 'x': malice}}, path)
    with pytest.raises(ValueError, match='beats.pt: refused'):
        load_beats(path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(malice))
    assert trace.exists(), 'the pickle is harmless, the test shows nothing'


def damaged(change):
    checkpoint = beats_checkpoint(random_beats(CFG))
    change(checkpoint)
    return checkpoint


@pytest.mark.parametrize(
    'content, message',
    [
        ([1, 2], 'a dict of cfg and model'),
        ({'model': {}}, 'a dict of cfg and model'),
        (damaged(lambda c: c['cfg'].pop('deep_norm')), 'cfg lacks deep_norm'),
        (
            damaged(lambda c: c['cfg'].update(input_patch_size=-1)),
            'input_patch_size = -1: expected',
        ),
        (damaged(lambda c: c['cfg'].update(layer_norm_first=True)), 'layer_norm_first = True'),
        (damaged(lambda c: c['cfg'].update(activation_fn='glu')), "activation_fn = 'glu'"),
        (damaged(lambda c: c['cfg'].update(gru_rel_pos=False)), 'gru_rel_pos = False'),
        (damaged(lambda c: c['cfg'].update(encoder_attention_heads=5)), 'expected a divisor'),
        (damaged(lambda c: c['cfg'].update(max_distance=8)), 'max_distance = 8'),
        (damaged(lambda c: c['cfg'].update(encoder_layers=4)), 'weights do not fit its cfg'),
        (damaged(lambda c: c['cfg'].update(embed_dim=20)), 'weights do not fit its cfg'),
        (damaged(lambda c: c['model'].pop('layer_norm.bias')), 'weights do not fit its cfg'),
        (damaged(lambda c: c['model'].update(x='y')), 'model.x: expected a tensor'),
    ],
)
def test_a_file_that_is_no_beats_is_refused_with_the_reason(tmp_path, content, message):
    torch.save(content, tmp_path / 'beats.pt')
    with pytest.raises(ValueError, match='beats.pt: .*' + message):
        load_beats(tmp_path / 'beats.pt')


def test_a_damaged_or_missing_file_is_named(tmp_path):
    path = write(tmp_path / 'beats.pt', random_beats(CFG))
    for content in (path.read_bytes()[:-300], b'', b'PK\x03\x04 nonsense', b'<html>404</html>'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match='beats.pt'):
            load_beats(path)
    with pytest.raises(FileNotFoundError):
        load_beats(tmp_path / 'nowhere.pt')


def test_bfloat16_stays_near_float32():
    fbank = beats_fbank(sounds(1))
    # oneDNN on AMX gets bfloat16 convolutions with 8 channels per group wrong (BEATs has 48)
    cfg = {**CFG, 'conv_pos_groups': 2}
    (expected,) = random_beats(cfg)(fbank, (3,))
    (got,) = random_beats(cfg).bfloat16()(fbank, (3,))
    assert got.dtype == torch.bfloat16
    both = torch.stack([got.float().flatten(), expected.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.999


def test_answers_do_not_depend_on_earlier_calls_and_inference_does_not_spoil_training():
    beats, waveforms = random_beats({**CFG, 'max_distance': 41}), sounds(1)
    with torch.inference_mode():
        first = beats(beats_fbank(waveforms), (3,))[0]
        beats(beats_fbank(waveforms[:, :5_000]), (3,))
        again = beats(beats_fbank(waveforms), (3,))[0]
    assert torch.equal(first, again)
    learning = beats(beats_fbank(waveforms), (3,))[0]
    torch.testing.assert_close(learning, again, rtol=0, atol=1e-5)
    learning.sum().backward()
    assert beats.encoder.relative_attention_bias.weight.grad.abs().sum() > 0


def test_training_never_drops_a_layer_and_dropout_works_only_then():
    fbank = beats_fbank(sounds(1))
    beats = random_beats({**CFG, 'encoder_layerdrop': 1.0})
    assert torch.equal(beats.train()(fbank, (3,))[0], beats.eval()(fbank, (3,))[0])
    for kind in ('dropout', 'attention_dropout', 'activation_dropout', 'dropout_input'):
        beats = Beats(replace(BeatsConfig.from_cfg(CFG), **{kind: 0.5}))
        assert torch.equal(beats.eval()(fbank, (3,))[0], beats(fbank, (3,))[0]), kind
        assert not torch.equal(beats.train()(fbank, (3,))[0], beats(fbank, (3,))[0]), kind


def test_fresh_networks_start_as_the_authors_start_them():
    torch.manual_seed(0)
    reference = pytest.importorskip('speechbrain.lobes.models.beats')
    cfg = {**CFG, 'encoder_embed_dim': 64, 'encoder_ffn_embed_dim': 256, 'num_buckets': 128}
    theirs = reference.TransformerEncoder(reference.BEATsConfig(cfg))
    theirs = {name: value.std().item() for name, value in theirs.named_parameters()}
    ours = Beats(BeatsConfig.from_cfg(cfg)).encoder
    for name, value in ours.layers.named_parameters():
        expected = theirs[f'layers.{name}']
        assert value.std().item() == pytest.approx(expected, rel=0.15, abs=1e-6), name
    table = theirs['layers.0.self_attn.relative_attention_bias.weight']
    assert ours.relative_attention_bias.weight.std().item() == pytest.approx(table, rel=0.15)
    convolution = theirs['pos_conv.0.parametrizations.weight.original1']
    assert ours.pos_conv[0].weight.std().item() == pytest.approx(convolution, rel=0.15)
