"""Compiled and recorded networks: equal to plain ones, made in the warm-up alone, told when not."""

from __future__ import annotations

import needs

needs.networks()

import dataclasses
import logging

import numpy as np
import pytest
import torch
from host_reads import READS
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from cs3_ros.bench.events import FixedBoxes, random_event
from cs3_ros.bundles.bundle import Bundle, BundleError, load_bundle
from cs3_ros.collision import AudioClip, Prompt
from cs3_ros.localisers.audio_visual import AudioVisualLocaliser
from cs3_ros.metrics import iou
from cs3_ros.networks import acceleration, beats, clipseg, sound
from cs3_ros.networks.acceleration import MOST_SHAPES, compiled, graphed
from cs3_ros.runtime import Runtime, RuntimeConfig, warming_up

PLAIN = RuntimeConfig('cpu', 'float32', threads=1)
SIZE = (96, 64)


@pytest.fixture(autouse=True)
def as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


class Replay:
    """Stands in for ``CudaGraph``: the same buffers, filled by the call itself."""

    made = 0

    def __init__(self, call, arguments):
        Replay.made += 1
        self._call = call
        self._inputs = [tensor.clone() for tensor in acceleration._tensors(arguments)]
        self._own = acceleration._refilled(arguments, iter(self._inputs))
        self._outputs = call(*self._own)

    def __call__(self, *arguments):
        for own, given in zip(self._inputs, acceleration._tensors(arguments), strict=True):
            own.copy_(given)
        results = acceleration._tensors(self._call(*self._own))
        for kept, new in zip(acceleration._tensors(self._outputs), results, strict=True):
            kept.copy_(new)
        return self._outputs


@pytest.fixture
def graphs(monkeypatch):
    """CUDA graphs on the CPU: a runtime that does not refuse them."""
    made = Runtime(PLAIN)
    made.config = dataclasses.replace(PLAIN, cuda_graphs=True)
    monkeypatch.setattr(acceleration, 'CudaGraph', Replay)
    machines = {True: made, False: Runtime(PLAIN)}
    monkeypatch.setattr(Bundle, '_machine', lambda bundle, config: machines[config.accelerated])
    Replay.made = 0
    return made


ON = dataclasses.replace(PLAIN, compile='eager')
"""Stands for "accelerated", since a config alone may ask for graphs on any device."""


def built(config=PLAIN, name='cs3'):
    bundle = load_bundle(name, as_written=True)
    if name == 'zero_shot':  # its hands are MediaPipe's, which is not always there
        stages = {family: stage for family, stage in bundle.stages.items() if family != 'hands'}
        bundle = dataclasses.replace(bundle, stages=stages)
    pipeline = bundle.build(runtime=config)
    pipeline.hands = FixedBoxes(pipeline.hands)
    return pipeline


def same(found, expected, atol=1e-5):
    np.testing.assert_allclose(found.heat_map, expected.heat_map, atol=atol)
    assert len(found.candidates) == len(expected.candidates) == 3
    for one, other in zip(found.candidates, expected.candidates, strict=True):
        assert iou(one.mask, other.mask) > 0.99 and other.mask.any()


def test_off_by_default():
    runtime = Runtime(PLAIN)
    assert not RuntimeConfig().accelerated
    assert compiled(abs, 'any', runtime) is abs and graphed(abs, 'any', runtime) is abs


def test_graphs_without_a_gpu_are_refused(cs3_home):
    config = RuntimeConfig('cpu', cuda_graphs=True)
    with pytest.raises(RuntimeError, match='has no CUDA graphs; set runtime.cuda_graphs to false'):
        Runtime(config)
    with pytest.raises(BundleError, match="bundle 'cs3': runtime.cuda_graphs = true"):
        load_bundle('cs3').build(runtime=config)


def test_compiled_pictures_are_the_same_without_a_break(cs3_home, caplog):
    """Captured as the real thing does it, but not handed to a compiler."""
    counters = torch._dynamo.utils.counters
    counters.clear()
    expected = built()(random_event(1, *SIZE, 2.0))
    caplog.set_level(logging.WARNING, 'cs3_ros')
    pipeline = built(ON)
    captured = counters['stats']['unique_graphs']
    assert captured == 3  # of CLIPSeg, the detector and SAM 2, each in one piece
    assert not counters['graph_break']
    same(pipeline(random_event(1, *SIZE, 2.0)), expected)
    pipeline(random_event(2, 128, 72, 1.0))  # pictures and sounds of other sizes: nothing new
    assert counters['stats']['unique_graphs'] == captured
    assert pipeline.counts['not_accelerated'] == 0
    assert 'runs one kernel after the other' not in caplog.text


@pytest.mark.parametrize('name', ['cs3', 'zero_shot'])
def test_what_is_replayed_is_the_same(cs3_home, graphs, name):
    plain, pipeline = built(name=name), built(ON, name)
    pipeline.hands = plain.hands = FixedBoxes(None)
    assert Replay.made == 3  # two looks and the masks
    clips = [random_event(1, *SIZE, 2.0), random_event(2, 128, 72, 2.0)]
    other = AudioClip(1, 44_100, clips[0].audio.samples[:88_200], np.ones(88_200, bool))
    clips.append(dataclasses.replace(clips[0], audio=other))
    before = [pipeline.prepare(clip.frames, 0) for clip in clips]  # all before any is finished
    found = [pipeline.finish(state, clip) for state, clip in zip(before, clips, strict=True)]
    for one, clip in zip(found, clips, strict=True):
        same(one, plain(clip))
    assert Replay.made == 3 and graphs.counts['not_accelerated'] == 0
    pipeline.warm_up(1.25)  # what a node does that waits for less sound
    short = random_event(1, *SIZE, 1.25)
    same(pipeline(short), plain(short))
    assert graphs.counts['not_accelerated'] == 0


def test_prompts_are_padded_to_what_is_recorded(cs3_home, graphs, caplog):
    image = random_event(3, *SIZE, 0.5).frame.image
    plain, pipeline = built(), built(ON)
    points = np.array([(30, 20), (40, 30), (35, 40)], np.float32)
    prompts = [Prompt((10.0 + k, 10.0, 50.0, 50.0 + k)) for k in range(3)]
    prompts.append(Prompt(positive_points=points, negative_points=points[:1] + 9))
    encoded, expected = pipeline.masker.encode(image), plain.masker.encode(image)
    for count in (1, 2, 4):
        masks = pipeline.masker.segment(encoded, prompts[-count:])
        others = plain.masker.segment(expected, prompts[-count:])
        assert all((a == b).mean() > 0.99 for a, b in zip(masks, others, strict=True))
    assert graphs.counts['not_accelerated'] == 0
    for _ in range(2):
        assert len(pipeline.masker.segment(encoded, [*prompts, *prompts])) == 8
    assert graphs.counts['not_accelerated'] == 2
    assert caplog.text.count('masks runs one kernel after the other: these shapes were not') == 1


def test_only_the_warm_up_makes_anything(graphs):
    fast = graphed(lambda x: x + 1, 'sum', graphs)
    assert fast(torch.zeros(2)).tolist() == [1, 1] and Replay.made == 0
    with warming_up():
        for size in range(3, 5 + MOST_SHAPES):
            assert fast(torch.zeros(size)).tolist() == [1] * size
    assert Replay.made == MOST_SHAPES and graphs.counts['not_accelerated'] == 1 + 2


def test_what_cannot_be_made_is_told_once_and_runs_all_the_same(graphs, monkeypatch, caplog):
    def broken(call, arguments):
        raise RuntimeError('operation not permitted when stream is capturing')

    monkeypatch.setattr(acceleration, 'CudaGraph', broken)
    fast = graphed(lambda x: 2 * x, 'sum', graphs)
    with warming_up():
        for _ in range(2):
            assert fast(torch.ones(2)).tolist() == [2, 2]
    assert graphs.counts['not_accelerated'] == 2
    told = 'sum runs one kernel after the other: RuntimeError: operation not permitted'
    assert caplog.text.count(told) == 1


def test_a_compiler_that_fails_is_told(monkeypatch, caplog):
    original = torch.compile
    monkeypatch.setattr(
        torch, 'compile', lambda call, **options: original(call, backend=broken_backend)
    )
    runtime = Runtime(ON)
    fast = compiled(torch.nn.Linear(2, 2).requires_grad_(False), 'line', runtime)
    with warming_up():
        assert fast(torch.ones(1, 2)).shape == (1, 2)
    assert runtime.counts['not_accelerated'] == 1
    assert 'line runs one kernel after the other: BackendCompilerFailed' in caplog.text


def broken_backend(graph, inputs):
    raise FileNotFoundError('no C++ compiler')


def test_memory_that_is_full_is_left_to_the_pipeline(graphs, monkeypatch):
    def full(call, arguments):
        raise torch.OutOfMemoryError('full')

    monkeypatch.setattr(acceleration, 'CudaGraph', full)
    with warming_up(), pytest.raises(torch.OutOfMemoryError):
        graphed(lambda x: x, 'sum', graphs)(torch.ones(2))


# --- may it be recorded? --------------------------------------------------------------------------


class Forbidden(TorchDispatchMode):
    """Lists what a CUDA graph cannot hold: the host reads, or sends what lies in its memory."""

    def __init__(self):
        super().__init__()
        self.found, self.seen = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kind = func.overloadpacket.__name__
        if kind in READS:
            self.found.append(str(func))
            raise RuntimeError(f'{func} reads a tensor')
        result = func(*args, **(kwargs or {}))
        given = [value for value in args if isinstance(value, torch.Tensor)]
        made = result if isinstance(result, torch.Tensor) else None
        if made is not None and any(one.device != made.device for one in given if one.ndim):
            self.found.append(str(func))
        elif made is not None and kind == '_to_copy' and given[0].device != made.device:
            self.found.append(str(func))
        self.seen += made is not None and made.device.type == 'cuda'
        return result


def on_pretended_gpu(*modules):
    """Parameters and buffers without numbers, on a GPU that is not there."""
    for module in [part for whole in modules for part in whole.modules()]:
        for name, weight in module._parameters.items():
            if weight is not None:
                empty = torch.empty_like(weight, device='cuda')
                module._parameters[name] = torch.nn.Parameter(empty, requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty_like(buffer, device='cuda')


def moved(value):
    tensors = [torch.empty_like(one, device='cuda') for one in acceleration._tensors((value,))]
    return acceleration._refilled((value,), iter(tensors))[0]


@pytest.fixture
def pretended():
    tables = (sound._fbank_tables, beats._buckets, clipseg._statistics)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():  # as parts, not whole
        yield
    for table in tables:
        table.cache_clear()


def forbidden_in(call, *arguments):
    call(*arguments)  # tables take their place
    with Forbidden() as watch:
        call(*arguments)
    assert watch.seen > 20
    return watch.found


@pytest.mark.parametrize('name', ['cs3', 'zero_shot'])
def test_a_graph_can_hold_what_is_recorded(cs3_home, pretended_parts, name):
    pipeline, arguments = pretended_parts(name)
    localiser, masker = pipeline.localiser, pipeline.masker
    assert forbidden_in(localiser._first_look, *arguments['first']) == []
    assert forbidden_in(localiser._second_look, *arguments['second']) == []
    assert forbidden_in(masker._best_logits, *arguments['masks']) == []


@pytest.fixture
def pretended_parts(request):
    """A pipeline on a GPU that is not there, and what its recorded calls take."""

    def parts(name):
        pipeline = built(name=name)
        clip = random_event(1, *SIZE, 2.0)
        state = pipeline.prepare(clip.frames, 0)
        localiser, masker = pipeline.localiser, pipeline.masker
        with torch.inference_mode():
            heard = localiser.hear(clip.audio)
            condition = localiser.understand(heard)
            pixels = localiser.clipseg.normalise(state.localiser_state.picture[None])
            labels = torch.zeros(4, 8, dtype=torch.int32)
            arguments = {
                'first': (heard, state.localiser_state.features),
                'second': (pixels, condition),
                'masks': (state.masker_state.features, torch.zeros(4, 8, 2), labels),
            }
        request.getfixturevalue('pretended')
        networks = [localiser.clipseg, masker._model]
        if isinstance(localiser, AudioVisualLocaliser):
            networks += [localiser._beats, localiser.audio_token]
            localiser._prompt = moved(localiser._prompt)
        else:
            networks.append(localiser._tower)
            for part in ('_sounds', '_things', '_lengths'):
                setattr(localiser, part, moved(getattr(localiser, part)))
        localiser._blur = moved(localiser._blur)
        localiser.clipseg._positions.clear()
        on_pretended_gpu(*networks)
        return pipeline, {key: moved(value) for key, value in arguments.items()}

    return parts


def test_what_a_graph_cannot_hold_would_be_found(pretended):
    x = torch.empty(30, 3, device='cuda')

    def steps(last):
        y = x
        for _ in range(30):
            y = y + 1
        return last(y)

    assert forbidden_in(steps, lambda y: y * 2) == []
    assert forbidden_in(steps, lambda y: y + torch.ones(3).to('cuda')) == ['aten._to_copy.default']
    with pytest.raises(RuntimeError, match='reads a tensor'):
        with Forbidden():
            steps(lambda y: float(y.sum()))


# --- on a GPU -------------------------------------------------------------------------------------

GRAPHS = RuntimeConfig('cuda', 'float32', cuda_graphs=True)
BOTH = dataclasses.replace(GRAPHS, compile='inductor')


@pytest.mark.gpu
@pytest.mark.parametrize('config', [GRAPHS, BOTH], ids=['graphs', 'graphs and compiled'])
def test_a_gpu_gives_the_same(cs3_home, config):
    """In float32: else the second look may go elsewhere, as random maps are nearly even."""
    plain = built(dataclasses.replace(config, compile='none', cuda_graphs=False))
    pipeline = built(config)
    clips = [random_event(1, *SIZE, 2.0), random_event(2, 128, 72, 2.0)]
    states = [pipeline.prepare(clip.frames, 0) for clip in clips]
    found = [pipeline.finish(state, clip) for state, clip in zip(states, clips, strict=True)]
    for one, clip in zip(found, clips, strict=True):
        same(one, plain(clip), atol=1e-3)
    assert pipeline.counts['not_accelerated'] == 0


@pytest.mark.gpu
def test_a_gpu_is_waited_for_as_often_as_before(cs3_home, monkeypatch):
    """Once for the heat map, once for the masks; replaying waits for nothing."""
    pipeline = built(GRAPHS)
    clip = random_event(1, *SIZE, 2.0)
    state = pipeline.prepare(clip.frames, 0)
    waits, copy = [], Runtime.to_host

    def to_host(runtime, tensor):
        torch.cuda.set_sync_debug_mode('default')
        waits.append(tensor.shape)
        found = copy(runtime, tensor)
        torch.cuda.set_sync_debug_mode('error')
        return found

    monkeypatch.setattr(Runtime, 'to_host', to_host)
    torch.cuda.set_sync_debug_mode('error')
    try:
        pipeline.finish(state, clip)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert len(waits) == 2


@pytest.mark.gpu
def test_a_graph_replays_with_new_numbers_and_not_with_other_shapes():
    runtime = Runtime(GRAPHS)
    layer = runtime.module_to_device(torch.nn.Linear(8, 8))
    fast = graphed(lambda x, more: (layer(x).relu(), more[0] + 1), 'layer', runtime)
    numbers = [torch.randn(4, 8, device='cuda') for _ in range(3)]
    with runtime.stream().work():
        with warming_up():
            fast(numbers[0], (numbers[1],))
        for x in numbers:
            found, other = fast(x, (x,))
            torch.testing.assert_close(found, layer(x).relu())
            torch.testing.assert_close(other, x + 1)
        assert runtime.counts['not_accelerated'] == 0
        fast(numbers[0][:2], (numbers[1],))
    assert runtime.counts['not_accelerated'] == 1


@pytest.mark.gpu
def test_what_cannot_be_recorded_runs_as_before(caplog):
    """A host read ends the recording; the device goes on."""
    runtime = Runtime(GRAPHS)
    fast = graphed(lambda x: x * float(x.sum()), 'reader', runtime)
    ones = torch.ones(3, device='cuda')
    with runtime.stream().work():
        with warming_up():
            assert fast(ones).tolist() == [3, 3, 3]
        assert fast(2 * ones).tolist() == [12, 12, 12]
    assert 'reader runs one kernel after the other' in caplog.text
    assert runtime.counts['not_accelerated'] == 2
