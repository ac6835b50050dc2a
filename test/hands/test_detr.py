import needs

needs.networks()

import functools
import json
import socket
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from host_reads import HostReads

from cs3_ros.collision import Frame
from cs3_ros.hands import detr
from cs3_ros.hands.detr import LABELS, DetrConfig, DetrHands, Preprocessing
from cs3_ros.runtime import Runtime, RuntimeConfig

SHAPE = (90, 120, 3)
SIZE = {'height': 64, 'width': 96}
TINY = {
    'encoder_in_channels': [16, 24, 32],
    'encoder_hidden_dim': 16,
    'encoder_ffn_dim': 16,
    'encoder_attention_heads': 2,
    'd_model': 16,
    'num_queries': 12,
    'decoder_in_channels': [16, 16, 16],
    'decoder_ffn_dim': 16,
    'decoder_layers': 2,
    'decoder_attention_heads': 2,
    'num_denoising': 0,
}


def rt_detr_v2(labels=LABELS):
    torch.manual_seed(1)
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type='basic',
        out_indices=[2, 3, 4],
    )
    config = transformers.RTDetrV2Config(
        backbone_config=backbone, id2label=dict(enumerate(labels)), **TINY
    )
    return transformers.RTDetrV2ForObjectDetection(config)


def d_fine(labels=LABELS):
    torch.manual_seed(1)
    backbone = transformers.HGNetV2Config(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 8, 16, 24],
        stage_mid_channels=[4, 4, 8, 8],
        stage_out_channels=[8, 16, 24, 32],
        stage_num_blocks=[1, 1, 1, 1],
        stage_downsample=[False, True, True, True],
        stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 3, 3],
        stage_numb_of_layers=[1, 1, 1, 1],
        out_indices=[2, 3, 4],
    )
    config = transformers.DFineConfig(
        backbone_config=backbone, id2label=dict(enumerate(labels)), **TINY
    )
    return transformers.DFineForObjectDetection(config)


def write(folder, network, size=SIZE):
    """A folder as a training run leaves it; every weight and every statistic is random."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in network.named_buffers():
            if name.endswith('running_mean'):
                buffer.copy_(0.2 * torch.randn_like(buffer))
            if name.endswith('running_var'):
                buffer.copy_(0.5 + torch.rand_like(buffer))
    network.save_pretrained(folder)
    transformers.RTDetrImageProcessor(size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope='module', params=[rt_detr_v2, d_fine])
def any_folder(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp('hands'), request.param())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp('hands'), rt_detr_v2())


def runtime(precision='float32', device='cpu'):
    return Runtime(RuntimeConfig(device=device, precision=precision, threads=1))


@functools.cache
def detector(folder, precision='float32'):
    """One that lets everything count, shared by the tests."""
    return build(folder, precision)


def build(folder, precision='float32', **settings):
    thresholds = {'hand_threshold': 0.0, 'object_threshold': 0.0, **settings}
    return DetrHands(DetrConfig(model=str(folder), **thresholds), runtime(precision))


def frame(seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, SHAPE, np.uint8)
    return Frame.from_rgb(1, noise)


def boxes(hands):
    """Score and boxes of every hand, to compare."""
    return [(hand.side, hand.score, hand.hand_box, hand.object_box) for hand in hands]


# --- the network ----------------------------------------------------------------------------------


def test_the_boxes_are_those_of_transformers(any_folder):
    made = detector(any_folder)
    event = frame()
    reference = transformers.AutoModelForObjectDetection.from_pretrained(any_folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(any_folder)
    with torch.inference_mode():
        seen = reference(pixel_values=made.preprocessing(torch.from_numpy(event.image)))
    best = {}
    for column, label in reference.config.id2label.items():
        # Of all labels at once it keeps the best few, in which one of them may be missing.
        one = SimpleNamespace(logits=seen.logits[..., [column]], pred_boxes=seen.pred_boxes)
        (result,) = processor.post_process_object_detection(one, 0.0, target_sizes=[SHAPE[:2]])
        best[label] = (float(result['scores'][0]), result['boxes'][0].numpy())
    hands = made.detect([event], 0)
    assert [hand.side for hand in hands] == ['right', 'left']
    limit = np.array([120, 90, 120, 90])
    for hand in hands:
        for box, label in ((hand.hand_box, 'hand'), (hand.object_box, 'hand_object')):
            expected = np.clip(best[f'{hand.side}_{label}'][1], 0, limit)
            np.testing.assert_allclose(box, expected, atol=0.01)
        assert hand.score == pytest.approx(best[f'{hand.side}_hand_object'][0], abs=1e-5)
    # The test could not fail if all queries were alike.
    assert np.ptp([box for _, box in best.values()], axis=0).max() > 1


def test_only_the_event_frame_is_looked_at(folder):
    made = detector(folder)
    alone = made.detect([frame(1)], 0)
    assert boxes(made.detect([frame(2), frame(1), frame(3)], 1)) == boxes(alone)


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_the_answer_depends_on_nothing_but_the_frame(any_folder, precision):
    made = detector(any_folder, precision)
    first = boxes(made.detect([frame(1)], 0))
    made.detect([frame(2)], 0)
    assert first and boxes(made.detect([frame(1)], 0)) == first
    assert boxes(build(any_folder, precision).detect([frame(1)], 0)) == first


def test_coordinates_keep_their_digits_in_bfloat16(any_folder):
    made = detector(any_folder, 'bfloat16')
    core = made.network.model
    assert {p.dtype for p in core.backbone.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in core.decoder.parameters()} == {torch.float32}
    values = np.array([hand.hand_box for hand in made.detect([frame()], 0)]) / [120, 90, 120, 90]
    inside = values[(values > 0) & (values < 1)].astype(np.float32)
    coarse = torch.from_numpy(inside).bfloat16().float().numpy()
    assert inside.size and np.any(coarse != inside)


def test_folded_batch_norms_compute_the_same():
    network = rt_detr_v2().eval()
    with torch.no_grad():
        for buffer in network.buffers():
            if buffer.is_floating_point():
                buffer.add_(torch.rand_like(buffer))
    pixels = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = network.model.backbone(pixels, torch.ones(1, 64, 64))
        detr.fold_batch_norms(network)
        after = network.model.backbone(pixels, torch.ones(1, 64, 64))
    assert not any(hasattr(module, 'running_var') for module in network.model.modules())
    for (one, _), (other, _) in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_convolution_with_a_bias_is_folded_too():
    pair = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5, eps=1e-3)).eval()
    with torch.no_grad():
        for tensor in pair[1].state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor))
        pixels = torch.rand(1, 3, 8, 8)
        before = pair(pixels)
        detr.fold_batch_norms(pair)
        torch.testing.assert_close(pair(pixels), before)
    assert isinstance(pair[1], torch.nn.Identity)


def test_nothing_waits_for_the_device_but_one_copy_of_twenty_numbers(any_folder, monkeypatch):
    made = detector(any_folder)
    copies, to_host = [], Runtime.to_host

    def counted(runtime, tensor):
        copies.append(tensor.shape)
        return to_host(runtime, tensor)

    monkeypatch.setattr(Runtime, 'to_host', counted)
    made.detect([frame()], 0)
    copies.clear()
    with HostReads() as reads:
        made.detect([frame()], 0)
    assert copies == [(4, 5)] and reads.found == []


def test_no_connection_is_tried(folder, monkeypatch):
    tried = []

    def refuse(*args, **kwargs):
        tried.append(args)
        raise OSError('no network in this test')

    monkeypatch.delenv('HF_HUB_OFFLINE', raising=False)
    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    assert build(folder).detect([frame()], 0)
    assert tried == []


@pytest.mark.gpu
def test_a_gpu_finds_the_boxes_of_the_cpu(any_folder):
    config = DetrConfig(model=str(any_folder), hand_threshold=0.0, object_threshold=0.0)
    on_gpu = DetrHands(config, runtime('float32', 'cuda')).detect([frame()], 0)
    for one, other in zip(on_gpu, detector(any_folder).detect([frame()], 0), strict=True):
        np.testing.assert_allclose(one.hand_box, other.hand_box, atol=0.1)
        np.testing.assert_allclose(one.object_box, other.object_box, atol=0.1)
    assert DetrHands(config, runtime('bfloat16', 'cuda')).detect([frame()], 0)


# --- what is seen ---------------------------------------------------------------------------------


def seeing(folder, found, **settings):
    """A detector whose network sees ``found``: label -> (score, box in pixels of SHAPE)."""
    made = build(folder, **{'hand_threshold': 0.5, 'object_threshold': 0.4, **settings})
    logits = torch.full((1, 6, 4), -9.0)
    units = torch.rand(1, 6, 4)
    columns = {label: column for column, label in made.network.config.id2label.items()}
    for query, (label, (score, (x0, y0, x1, y1))) in enumerate(found.items(), 1):
        logits[0, query, columns[label]] = float(np.log(score / (1 - score)))
        units[0, query] = torch.tensor(
            [(x0 + x1) / 240, (y0 + y1) / 180, (x1 - x0) / 120, (y1 - y0) / 90]
        )
    made.network = lambda pixel_values: SimpleNamespace(logits=logits, pred_boxes=units)
    return made.detect([frame()], 0)


def test_hands_and_what_they_hold_are_put_together_by_side(folder):
    right, left = seeing(
        folder,
        {
            'left_hand': (0.9, (10, 60, 30, 80)),
            'left_hand_object': (0.8, (20, 40, 50, 70)),
            'right_hand': (0.7, (80, 60, 100, 80)),
            'right_hand_object': (0.6, (20, 40, 50, 70)),
        },
    )
    assert right.side == 'right' and left.side == 'left'
    np.testing.assert_allclose(right.hand_box, (80, 60, 100, 80), atol=1e-3)
    np.testing.assert_allclose(left.hand_box, (10, 60, 30, 80), atol=1e-3)
    # Both hold the same thing; the score is the object's.
    np.testing.assert_allclose(right.object_box, left.object_box, atol=1e-3)
    assert (right.score, left.score) == (pytest.approx(0.6), pytest.approx(0.8))


def test_a_hand_that_holds_nothing_has_its_own_score(folder):
    (hand,) = seeing(folder, {'left_hand': (0.9, (10, 60, 30, 80))})
    assert hand.object_box is None and hand.score == pytest.approx(0.9)


def test_an_object_whose_hand_is_not_seen_is_kept(folder):
    (hand,) = seeing(folder, {'right_hand_object': (0.45, (10, 60, 30, 80))})
    assert hand.side == 'right' and hand.hand_box is None and hand.object_box is not None


def test_what_is_below_its_threshold_does_not_count(folder):
    seen = {
        'right_hand': (0.45, (80, 60, 100, 80)),
        'right_hand_object': (0.39, (20, 40, 50, 70)),
    }
    assert seeing(folder, seen) == ()


def test_boxes_are_clipped_and_specks_hold_nothing(folder):
    (hand,) = seeing(
        folder,
        {
            'right_hand': (0.9, (100, 60, 140, 100)),
            'right_hand_object': (0.9, (116.5, 40, 150, 44)),
        },
    )
    np.testing.assert_allclose(hand.hand_box, (100, 60, 120, 90), atol=1e-3)
    assert hand.object_box is None


def test_the_best_query_of_every_label_is_taken():
    logits = torch.tensor([[[0.0, 2.0], [1.0, -1.0], [-3.0, 1.0]]])
    table = detr.best_boxes(logits, torch.arange(12.0).reshape(1, 3, 4))
    expected = [[4 - 3, 5 - 3.5, 4 + 3, 5 + 3.5], [0 - 1, 1 - 1.5, 0 + 1, 1 + 1.5]]
    np.testing.assert_allclose(table[:, 1:], expected)
    np.testing.assert_allclose(table[:, 0], torch.tensor([1.0, 2.0]).sigmoid())


def test_labels_may_come_in_any_order(tmp_path, folder):
    turned = tmp_path / 'turned'
    network = transformers.AutoModelForObjectDetection.from_pretrained(folder)
    network.config.id2label = dict(enumerate(['right_hand', 'left_hand', *LABELS[2:]]))
    network.save_pretrained(turned)
    transformers.RTDetrImageProcessor(size=SIZE).save_pretrained(turned)
    right, left = detector(folder).detect([frame()], 0)
    turned_right, turned_left = detector(turned).detect([frame()], 0)
    assert turned_right.hand_box == left.hand_box != right.hand_box == turned_left.hand_box
    assert turned_right.object_box == right.object_box


# --- preprocessing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'settings',
    [{}, {'do_normalize': True}, {'resample': 3}, {'do_rescale': False}, {'rescale_factor': 0.5}],
)
def test_pictures_are_prepared_as_by_transformers(tmp_path, settings):
    processor = transformers.RTDetrImageProcessor(size=SIZE, **settings)
    processor.save_pretrained(tmp_path)
    image = 100 + frame().image // 5  # away from 0 and 255, where cubic overshoots are cut
    expected = processor(images=image, return_tensors='pt')['pixel_values']
    made = Preprocessing.from_folder(tmp_path)(torch.from_numpy(image))
    assert made.shape == expected.shape == (1, 3, 64, 96) and made.dtype == torch.float32
    step = settings.get('rescale_factor', 1 / 255) if settings.get('do_rescale', True) else 1.0
    step /= 0.2 if settings.get('do_normalize') else 1.0
    assert float((made - expected).abs().max()) < 1.01 * step  # one level of 255
    assert float((made - expected).abs().mean()) < 0.25 * step


def test_without_a_file_the_preparation_is_that_of_rt_detr(tmp_path):
    made = Preprocessing.from_folder(tmp_path)
    assert (made.height, made.width, made.scale) == (640, 640, 1 / 255)


@pytest.mark.parametrize(
    ('values', 'named'),
    [
        ({'size': {'shortest_edge': 800, 'longest_edge': 1333}}, 'shortest_edge'),
        ({'do_resize': False}, 'do_resize'),
        ({'do_pad': True}, 'do_pad'),
        ({'resample': 0}, 'resample'),
        ({'do_normalize': True, 'image_mean': [0.5]}, 'image_mean'),
    ],
)
def test_a_preparation_that_is_not_known_is_refused(tmp_path, values, named):
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(values))
    with pytest.raises(ValueError, match=named):
        Preprocessing.from_folder(tmp_path)


def test_a_broken_preparation_file_is_named(tmp_path):
    (tmp_path / 'preprocessor_config.json').write_text('{')
    with pytest.raises(ValueError, match='preprocessor_config.json is not valid JSON'):
        Preprocessing.from_folder(tmp_path)


# --- refusals -------------------------------------------------------------------------------------


def test_a_model_must_be_named():
    with pytest.raises(ValueError, match='model is empty.*right_hand_object'):
        DetrHands(DetrConfig(), runtime())


@pytest.mark.parametrize(
    'labels', [LABELS[:3], (*LABELS, 'cup'), ('hand', 'object', 'left', 'right')]
)
def test_other_labels_are_refused_and_named(tmp_path, labels):
    rt_detr_v2(labels).config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f'names {", ".join(labels)}; expected exactly'):
        build(tmp_path)


def test_another_kind_of_network_is_refused_and_named(tmp_path):
    transformers.YolosConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match='yolos; expected one of rt_detr_v2, d_fine'):
        build(tmp_path)


def test_weights_that_are_missing_are_named(tmp_path, folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / 'model.safetensors')
    del weights['model.enc_output.0.weight']
    save_file(weights, tmp_path / 'model.safetensors', metadata={'format': 'pt'})
    (tmp_path / 'config.json').write_bytes((folder / 'config.json').read_bytes())
    with pytest.raises(ValueError, match='lacks 1 of the weights.*model.enc_output.0.weight'):
        build(tmp_path)


def test_pickled_weights_are_not_opened(tmp_path, folder):
    (tmp_path / 'config.json').write_bytes((folder / 'config.json').read_bytes())
    (tmp_path / 'pytorch_model.bin').write_bytes(b'anything')
    with pytest.raises(OSError, match='safetensors'):
        build(tmp_path)
