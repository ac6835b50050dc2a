import needs

needs.networks()

from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from cs3_ros.collision import AudioClip, Frame
from cs3_ros.localisers.conditioned import ConditionedLocaliser
from cs3_ros.localisers.heat_map import HeatMapConfig
from cs3_ros.networks.clipseg import ImageFeatures
from cs3_ros.runtime import Runtime, RuntimeConfig

HEIGHT, WIDTH = 240, 400
SILENCE = AudioClip(0, 16_000, np.zeros(0, np.float32), np.zeros(0, bool))


class BrightnessNetwork(nn.Module):
    """Stands in for ClipSeg: logits are the brightness of the picture, times the condition."""

    logit_size = 88

    def __init__(self):
        super().__init__()
        self.seen = []

    def normalise(self, images):
        self.seen.append(images)
        x = images.permute(0, 3, 1, 2).float() / 255
        return nn.functional.interpolate(x, (88, 88), mode='bilinear', antialias=True)

    def encode_image(self, pixels):
        return ImageFeatures((pixels,), pixels, (88, 88))

    def decode(self, features, conditions):
        brightness = 8 * features.deepest.mean(1) - 4
        return brightness[:, None] * conditions.sum(1)[None, :, None, None]


class Localiser(ConditionedLocaliser):
    """Looks for brightness whatever it hears."""

    answer = 1.0

    def hear(self, audio):
        return torch.full((1, 1), self.answer, device=self.runtime.device)

    def understand(self, heard):
        return heard


def localiser(device='cpu', **settings):
    runtime = Runtime(RuntimeConfig(device=device, precision='float32', threads=1))
    return Localiser(BrightnessNetwork(), runtime, HeatMapConfig(**settings))


def picture(*boxes, background=20):
    image = np.full((HEIGHT, WIDTH, 3), background, np.uint8)
    for x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1] = 255
    return Frame.from_rgb(1, image)


def broken(payload):
    raise AssertionError('only the event frame may be decoded')


def locate(stage, *frames, index=0):
    return stage.locate(stage.encode(frames, index), SILENCE)


@pytest.mark.parametrize('crop', [True, False])
@pytest.mark.parametrize('box', [(200, 100, 250, 130), (0, 0, 40, 40), (350, 210, 400, 240)])
def test_the_bright_thing_is_found(crop, box):
    found = locate(localiser(crop=crop, padding=0.0), picture(box))
    tolerance = 3 if crop else 5  # half of the frame is seen twice as fine
    assert found.box == pytest.approx(box, abs=tolerance)
    assert found.heat_map.shape == (HEIGHT, WIDTH) and found.heat_map.dtype == np.float32
    x0, y0, x1, y1 = box
    assert found.heat_map[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].min() > 0.9
    assert found.score == found.heat_map.max() == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-3)
    assert 0 <= found.heat_map.min()


def test_the_second_look_is_at_half_the_frame_round_the_peak():
    stage = localiser()
    frame = picture((200, 100, 250, 130))
    found = locate(stage, frame)
    whole, window = stage.clipseg.seen
    assert whole.shape == (1, HEIGHT, WIDTH, 3) and window.shape == (1, 120, 200, 3)
    # The peak lies somewhere in the thing, so the window round it does.
    inside = np.argwhere(found.heat_map > 0)
    (top, left), (bottom, right) = inside.min(0), inside.max(0) + 1
    assert (bottom - top, right - left) == (120, 200)
    assert np.array_equal(window[0].numpy(), frame.image[top:bottom, left:right])
    assert 100 <= (top + bottom) / 2 <= 130 and 200 <= (left + right) / 2 <= 250


def test_outside_of_the_second_look_the_map_is_zero():
    stage = localiser()
    found = locate(stage, picture((20, 20, 90, 90), (350, 200, 370, 215)))
    assert found.box == pytest.approx((16, 16, 94, 94), abs=4)
    assert not found.heat_map[:, 300:].any()


def test_the_size_of_the_second_look_is_a_setting():
    stage = localiser(crop_size=0.25)
    locate(stage, picture((200, 100, 250, 130)))
    assert stage.clipseg.seen[1].shape == (1, 60, 100, 3)


def test_without_the_second_look_the_picture_is_seen_once():
    stage = localiser(crop=False)
    locate(stage, picture((200, 100, 250, 130)))
    assert len(stage.clipseg.seen) == 1


def test_the_offset_is_added_to_the_logits():
    runtime = Runtime(RuntimeConfig(device='cpu', threads=1))
    frame = picture((200, 100, 250, 130))
    stage = Localiser(BrightnessNetwork(), runtime, HeatMapConfig(), logit_offset=-3.0)
    assert locate(stage, frame).score == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-3)


@pytest.mark.parametrize('crop', [True, False])
def test_where_nothing_stands_out_there_is_no_answer(crop):
    stage = localiser(crop=crop)
    assert locate(stage, picture()) is None  # one colour
    for answer in (0.0, float('nan')):
        stage.answer = answer
        assert locate(stage, picture((200, 100, 250, 130))) is None


def test_a_second_look_that_sees_one_colour_gives_no_answer():
    frame = picture((0, 0, 200, 240))
    assert locate(localiser(crop_size=0.1), frame) is None


@pytest.mark.parametrize('flat', [0, 1])
def test_both_looks_have_to_stand_out(flat):
    stripes = picture(*[(x, 0, x + 20, HEIGHT) for x in range(0, WIDTH, 60)])
    stage = localiser()
    assert locate(stage, stripes) is not None
    decode, looks = stage.clipseg.decode, iter(range(2))

    def flatten_one(features, conditions):
        logits = decode(features, conditions)
        return logits * 0 if next(looks) == flat else logits

    with mock.patch.object(stage.clipseg, 'decode', flatten_one):
        assert locate(stage, stripes) is None


def test_only_the_event_frame_is_decoded():
    frames = [Frame(0, b'', broken), picture((200, 100, 250, 130)), Frame(2, b'', broken)]
    assert locate(localiser(), *frames, index=1) is not None


def test_answers_do_not_depend_on_earlier_calls():
    stage = localiser()
    frames = [picture((200, 100, 250, 130)), picture((20, 30, 90, 90))]
    first = [locate(stage, frame) for frame in frames]
    encoded = [stage.encode([frame], 0) for frame in frames]  # both before either is looked at
    for state, before in zip(encoded, first, strict=True):
        again = stage.locate(state, SILENCE)
        assert np.array_equal(again.heat_map, before.heat_map)
        assert (again.box, again.score) == (before.box, before.score)


@pytest.mark.parametrize('size', [(1, 1), (1, 50), (17, 3)])
def test_the_smallest_pictures_do_no_harm(size):
    image = np.zeros((*size, 3), np.uint8)
    image[-1, -1] = 255
    found = locate(localiser(), Frame.from_rgb(1, image))
    if found is not None:
        x0, y0, x1, y1 = found.box
        assert 0 <= x0 < x1 <= size[1] and 0 <= y0 < y1 <= size[0]


@pytest.mark.parametrize('crop', [True, False])
def test_the_device_is_waited_for_once(crop):
    stage = localiser(crop=crop)
    with mock.patch.object(stage.runtime, 'to_host', wraps=stage.runtime.to_host) as to_host:
        encoded = stage.encode([picture((200, 100, 250, 130))], 0)
        assert to_host.call_count == 0
        stage.locate(encoded, SILENCE)
    assert to_host.call_count == 1


@pytest.mark.gpu
def test_nothing_else_waits_for_the_gpu():
    stage = localiser('cuda')
    frame = picture((200, 100, 250, 130))
    expected = locate(localiser(), frame)
    to_host = stage.runtime.to_host
    locate(stage, picture())  # constants are copied at the first call

    def last(tensor):
        torch.cuda.set_sync_debug_mode('default')
        return to_host(tensor)

    encoded = stage.encode([frame], 0)
    with mock.patch.object(stage.runtime, 'to_host', last):
        try:
            torch.cuda.set_sync_debug_mode('error')
            found = stage.locate(encoded, SILENCE)
        finally:
            torch.cuda.set_sync_debug_mode('default')
    assert np.allclose(found.heat_map, expected.heat_map, atol=1e-4)
