"""A run's folder, learning rates, gradients: what the loops share."""

from __future__ import annotations

import needs

needs.training()

import json
import math

import pytest
import torch

from cs3_training.runs import RunFolder, check_gradient, cut_gradients, half_cosine, warm_up

SETTINGS = {'steps': 3, 'rates': (0.5, 0.25)}  # a tuple becomes a list in JSON
CPU = torch.device('cpu')


def test_a_state_comes_back_and_another_run_is_refused(tmp_path):
    run = RunFolder(tmp_path, SETTINGS)
    assert run.load(CPU) is None
    run.save({'step': 2, 'weights': torch.arange(3)})
    run.save({'step': 3, 'weights': torch.arange(4)})
    found = RunFolder(tmp_path, SETTINGS).load(CPU)
    assert found['step'] == 3 and found['weights'].tolist() == [0, 1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ['state.pt'], 'no part is left'
    with pytest.raises(ValueError, match='state.pt belongs to a run with other settings or data'):
        RunFolder(tmp_path, SETTINGS | {'steps': 4}).load(CPU)


def test_a_state_that_executes_something_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return print, ('executed',)

    torch.save({'settings': json.dumps(SETTINGS), 'step': Trap()}, tmp_path / 'state.pt')
    with pytest.raises(ValueError, match='state.pt is no state of a run, or damaged') as caught:
        RunFolder(tmp_path, SETTINGS).load(CPU)
    assert 'weights_only' not in str(caught.value), 'nobody is told to load it nevertheless'


@pytest.mark.parametrize('data', [b'', b'PK\x03\x04 no zip', b'\x80\x02}q\x00.'])
def test_a_damaged_state_is_refused_in_one_line(tmp_path, data):
    (tmp_path / 'state.pt').write_bytes(data)
    with pytest.raises(ValueError, match='remove it to begin anew') as caught:
        RunFolder(tmp_path, SETTINGS).load(CPU)
    assert '\n' not in str(caught.value)


def test_an_interrupted_save_keeps_the_state_before(tmp_path, monkeypatch):
    run = RunFolder(tmp_path, SETTINGS)
    run.save({'step': 1})

    def full(state, path):
        path.write_bytes(b'half a st')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(OSError, match='No space left'):
        run.save({'step': 2})
    monkeypatch.undo()
    assert run.load(CPU)['step'] == 1
    assert [path.name for path in tmp_path.iterdir()] == ['state.pt']


def test_finished_is_finished_for_the_same_settings_only(tmp_path):
    run = RunFolder(tmp_path, SETTINGS)
    assert run.finished() is None
    done = run.finish({'figures': {'loss': 0.5}})
    assert run.finished() == json.loads(json.dumps(done)) and done['settings'] == SETTINGS
    with pytest.raises(ValueError, match='made with other settings or from other scenes'):
        RunFolder(tmp_path, {}).finished()
    for text in ('[]', '{}', '3'):
        (tmp_path / 'done.json').write_text(text)
        with pytest.raises(ValueError, match='does not say what was run'):
            run.finished()
    (tmp_path / 'done.json').write_text('{"settings": ')
    with pytest.raises(ValueError, match='done.json is not valid JSON'):
        run.finished()


def test_learning_rates():
    assert [warm_up(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert warm_up(0, 0) == 1
    assert half_cosine(0, 10, 0.05) == 1 and half_cosine(10, 10, 0.05) == pytest.approx(0.05)
    assert half_cosine(5, 10, 0.05) == pytest.approx(0.525)


def test_gradients_are_fresh_and_cut():
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    for _ in range(2):  # the second does not add to the first
        norm = cut_gradients((weight**2).sum(), [weight], 5.0)
        assert norm.item() == pytest.approx(10)
        assert weight.grad.norm().item() == pytest.approx(5, rel=1e-4)
    check_gradient(10.0, 'step 1', 'lower lr')
    for bad in (math.inf, math.nan):
        with pytest.raises(FloatingPointError, match='step 1: the gradient is not finite; lower'):
            check_gradient(bad, 'step 1', 'lower lr')
