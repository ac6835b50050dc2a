"""The losses of the sounding objects: by hand, and what may be exchanged."""

from __future__ import annotations

import needs

needs.training()

import math

import numpy as np
import pytest
import torch

from cs3_training.sounding.losses import (
    background_masks,
    consensus,
    contrast,
    cosines,
    detection,
    three_way,
)


def embeddings(count: int = 4, width: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(count, width, generator=generator) for _ in range(4)]


ALL = torch.ones(4, dtype=torch.bool)


def entropy(row: list[float], target: int) -> float:
    return math.log(sum(math.exp(x) for x in row)) - row[target]


def unit(x: torch.Tensor) -> np.ndarray:
    x = x.double().numpy()
    return np.stack([row / math.sqrt((row**2).sum()) for row in x])


def test_contrast_by_hand():
    similarity = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    both = torch.tensor([True, True])
    rows = [entropy([2, 0], 0), entropy([1, 1], 1)]
    columns = [entropy([2, 1], 0), entropy([0, 1], 1)]
    expected = (sum(rows) + sum(columns)) / 2
    assert contrast(similarity, 0.5, both).item() == pytest.approx(expected, abs=1e-6)
    first = torch.tensor([True, False])  # the second one is a negative only
    assert contrast(similarity, 0.5, first).item() == pytest.approx(rows[0] + columns[0], abs=1e-6)
    assert contrast(similarity, 0.5, ~both).item() == 0
    assert contrast(torch.zeros(3, 3), 0.2, torch.ones(3, dtype=torch.bool)).item() == (
        pytest.approx(2 * math.log(3), abs=1e-6)
    )


def test_three_way_in_loops():
    v, a, t, _ = embeddings()
    valid = torch.tensor([True, True, False, True])
    total = 0.0
    for first, second in ((v, a), (v, t), (a, t)):
        x, y = unit(first), unit(second)
        for k in (0, 1, 3):
            total += entropy([x[k] @ other / 0.2 for other in y], k) / 3
            total += entropy([other @ y[k] / 0.2 for other in x], k) / 3
    assert three_way(v, a, t, 0.2, valid).item() == pytest.approx(total / 3, rel=1e-5)


def test_consensus_in_loops():
    v, a, t, _ = embeddings()
    x, y, z = unit(v), unit(a), unit(t)
    to_text = to_picture = 0.0
    for i in range(4):
        for j in range(4):
            picture, text = y[i] @ x[j], y[i] @ z[j]
            agreed = 2 * min(((picture + 1) / 2) ** 0.5, ((text + 1) / 2) ** 1.0) - 1
            to_text += (text - agreed) ** 2
            to_picture += (picture - agreed) ** 2
    expected = math.sqrt(to_text) + math.sqrt(to_picture)
    assert consensus(v, a, t, 0.5, 1.0).item() == pytest.approx(expected, rel=1e-5)


def test_consensus_of_the_same_is_nothing():
    v, a, _, _ = embeddings()
    assert consensus(v, a, v, 1.0, 1.0).item() == pytest.approx(0, abs=1e-6)
    opposite = a.clone().requires_grad_()
    loss = consensus(-opposite, opposite, -opposite, 0.5, 1.0)  # cosine -1: no infinite slope
    loss.backward()
    assert opposite.grad.isfinite().all()


def test_detection_in_loops():
    v, a, _, background = embeddings()
    valid = torch.tensor([True, False, True, True])
    x, y, n = unit(v), unit(a), unit(background)
    total = 0.0
    for k in (0, 2, 3):
        row = [x[k] @ other / 0.2 for other in y] + [n[k] @ other / 0.2 for other in y]
        column = [other @ y[k] / 0.2 for other in x] + [other @ y[k] / 0.2 for other in n]
        total += (entropy(row, k) + entropy(column, k)) / 3
    assert detection(v, background, a, 0.2, valid).item() == pytest.approx(total, rel=1e-5)


def test_other_things_are_hard_negatives_of_the_sounds():
    v, a, _, background = embeddings()
    others = torch.randn(4, 3, v.shape[1], generator=torch.Generator().manual_seed(9))
    there = torch.tensor([[True, False, True], [False] * 3, [True] * 3, [False, True, False]])
    x, y, n = unit(v), unit(a), unit(background)
    seen = [unit(others[k])[p] for k in range(4) for p in range(3) if there[k, p]]
    total = 0.0
    for k in range(4):
        row = [x[k] @ other / 0.2 for other in y] + [n[k] @ other / 0.2 for other in y]
        column = [other @ y[k] / 0.2 for other in (*x, *n, *seen)]
        total += (entropy(row, k) + entropy(column, k)) / 4
    found = detection(v, background, a, 0.2, ALL, others, there)
    assert found.item() == pytest.approx(total, rel=1e-5)
    none = detection(v, background, a, 0.2, ALL, others, torch.zeros_like(there))
    torch.testing.assert_close(none, detection(v, background, a, 0.2, ALL))


def test_the_order_of_the_batch_has_no_say():
    v, a, t, n = embeddings()
    order, valid = torch.tensor([2, 0, 3, 1]), torch.tensor([True, True, False, True])
    for loss in (
        lambda o: three_way(v[o], a[o], t[o], 0.2, valid[o]),
        lambda o: consensus(v[o], a[o], t[o], 0.5, 1.0),
        lambda o: detection(v[o], n[o], a[o], 0.2, valid[o]),
    ):
        torch.testing.assert_close(loss(order), loss(torch.arange(4)))


def test_the_pairing_has_a_say_and_the_length_of_vectors_has_none():
    v, a, t, n = embeddings()
    turned, one = a.roll(1, 0), torch.ones(4, dtype=torch.bool)
    assert three_way(v, v, v, 0.2, one) < three_way(v, v.roll(1, 0), v, 0.2, one)
    assert detection(v, n, v, 0.2, one) < detection(v, n, v.roll(1, 0), 0.2, one)
    assert not torch.isclose(three_way(v, a, t, 0.2, one), three_way(v, turned, t, 0.2, one))
    long = torch.tensor([[0.1], [3.0], [70.0], [1.0]])
    torch.testing.assert_close(three_way(v * long, a, t, 0.2, one), three_way(v, a, t, 0.2, one))
    torch.testing.assert_close(cosines(v * long, a), cosines(v, a))


def test_a_sound_is_pushed_away_from_the_background():
    v, a, _, n = embeddings()
    n.requires_grad_()
    detection(v, n, a, 0.2, ALL).backward()
    nearer = n.detach() - 0.01 * n.grad  # a step down
    assert cosines(nearer, a).sum() < cosines(n.detach(), a).sum()


def test_background_by_hand():
    masks = torch.tensor([[True, True, False, False], [False, True, True, False]])[None, None]
    alone = background_masks(masks, 1.0, union=False)
    assert alone[0, 0].tolist() == [[False, False, True, True], [True, False, False, True]]
    both = background_masks(masks, 1.0, union=True)  # nothing of the other object
    assert both[0, 0].tolist() == [[False, False, False, True]] * 2


def test_half_of_the_background_is_drawn():
    torch.manual_seed(3)
    masks = torch.rand(5, 2, 2, 50) < 0.3
    everything = background_masks(masks, 1.0, union=False)
    halves = [background_masks(masks, 0.5, union=False) for _ in range(2)]
    count = int(everything.sum())
    assert all(int(half.sum()) == count - int(0.5 * count) for half in halves)
    assert not torch.equal(*halves) and not (halves[0] & masks).any()
    assert not (halves[0] & ~everything).any()
