"""Loss values and gradients against hand-computed ones and naive loops."""

from __future__ import annotations

import needs

needs.training()

import math

import pytest
import torch

from cs3_training.localiser.losses import (
    LossConfig,
    area_loss,
    combine,
    feature_mask,
    feature_similarity,
    gumbel_mask,
    image_similarity,
    info_nce,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def test_info_nce_of_two_pairs_by_hand():
    similarity = torch.tensor([[0.5, 0.1], [0.3, 0.2]])
    rows = [math.log(1 + math.exp((0.1 - 0.5) / 0.5)), math.log(1 + math.exp((0.3 - 0.2) / 0.5))]
    columns = [math.log(1 + math.exp((0.3 - 0.5) / 0.5)), math.log(1 + math.exp((0.1 - 0.2) / 0.5))]
    expected = (sum(rows) / 2 + sum(columns) / 2) / 2
    assert info_nce(similarity, 0.5).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('count', [1, 3, 7])
def test_info_nce_at_chance_is_the_logarithm_of_the_batch(count):
    assert info_nce(torch.full((count, count), -0.4), 0.07).item() == pytest.approx(math.log(count))


def test_info_nce_against_loops():
    s, tau = random(5, 5) / 4, 0.07
    total = 0.0
    for i in range(5):
        total -= math.log(math.exp(s[i, i] / tau) / sum(math.exp(s[i, j] / tau) for j in range(5)))
        total -= math.log(math.exp(s[i, i] / tau) / sum(math.exp(s[j, i] / tau) for j in range(5)))
    assert info_nce(s, tau).item() == pytest.approx(total / 10, rel=1e-5)


def test_cosines_are_float32_where_networks_are_not():
    images, sounds = random(4, 64).float(), random(5, 64, seed=1).float()
    masks, features = torch.rand(4, 5, 3, 3), torch.randn(4, 64, 3, 3)
    expected = image_similarity(images, sounds), feature_similarity(masks, features, sounds)
    with torch.autocast('cpu', torch.bfloat16):
        assert (images @ sounds.T).dtype == torch.bfloat16
        found = image_similarity(images, sounds), feature_similarity(masks, features, sounds)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_gumbel_masks_are_binary_and_as_likely_as_their_sigmoid():
    torch.manual_seed(3)
    mask = gumbel_mask(torch.full((200_000,), 1.0))
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert mask.mean().item() == pytest.approx(torch.sigmoid(torch.tensor(1.0)).item(), abs=0.005)
    cut = gumbel_mask(torch.tensor([-0.1, 0.1]), noise=False)
    assert cut.tolist() == [0.0, 1.0]


@pytest.mark.parametrize('temperature, noise', [(1.0, True), (0.5, True), (0.5, False)])
def test_gumbel_gradients_are_those_of_the_relaxation(temperature, noise):
    z = random(4, 5).float().requires_grad_()
    weight = random(4, 5, seed=1).float()
    torch.manual_seed(7)
    (gumbel_mask(z, temperature, noise) * weight).sum().backward()
    torch.manual_seed(7)
    u = torch.rand(4, 5).clamp(1e-6, 1 - 1e-6)
    with torch.no_grad():
        soft = torch.sigmoid((z + noise * torch.log(u / (1 - u))) / temperature)
        slope = weight * soft * (1 - soft) / temperature
    torch.testing.assert_close(z.grad, slope)


def test_feature_masks_use_the_range_of_each_map():
    logits = torch.zeros(1, 2, 8, 8)
    logits[0, 0, :4] = 6.0  # upper half hot
    logits[0, 1] = -50.0 + torch.arange(64.0).view(8, 8)
    masks = feature_mask(logits, (2, 2))
    assert masks.shape == (1, 2, 2, 2)
    edge = torch.sigmoid(torch.tensor(0.5 / 0.07)).item()
    torch.testing.assert_close(
        masks[0, 0], torch.tensor([[edge, edge], [1 - edge, 1 - edge]]), atol=1e-4, rtol=0
    )
    assert masks[0, 1, 0, 0] < 0.01 and masks[0, 1, 1, 1] > 0.5


def test_constant_maps_give_no_nan():
    assert torch.isfinite(feature_mask(torch.full((1, 1, 8, 8), -3.0), (4, 4))).all()


def test_image_similarity_against_loops():
    images, audio = random(3, 6), random(4, 6, seed=1)
    found = image_similarity(images, audio)
    for i in range(3):
        for j in range(4):
            assert found[i, j].item() == pytest.approx(cosine(images[i], audio[j]), abs=1e-6)


@pytest.mark.parametrize('against', ['column', 'row'])
def test_feature_similarity_against_loops(against):
    masks, features, audio = random(3, 3, 2, 4).sigmoid(), random(3, 5, 2, 4, seed=1), random(3, 5)
    found = feature_similarity(masks, features, audio, audio if against == 'row' else None)
    for i in range(3):
        for j in range(3):
            pooled = sum(
                masks[i, j, y, x] * features[i, :, y, x] for y in range(2) for x in range(4)
            )
            expected = cosine(pooled, audio[j if against == 'column' else i])
            assert found[i, j].item() == pytest.approx(expected, abs=1e-6)


def test_area_by_hand():
    own = torch.tensor([0.3, 0.0, 0.1])
    assert area_loss(own, LossConfig()).item() == pytest.approx((0.2 + 0.1 + 0.0) / 3)
    shares = torch.tensor([[0.3, 0.2], [0.4, 0.5]])
    config = LossConfig(area_negative=True, area_positive=0.4)
    assert area_loss(shares.diagonal(), config, shares).item() == pytest.approx(0.1 + 0.6 / 4)
    with pytest.raises(ValueError, match='areas of all pairs'):
        area_loss(own, config)


def test_weights_of_the_sum():
    config = LossConfig(image_weight=2.0, feature_weight=0.0, area_weight=0.1)
    losses = combine(torch.tensor(3.0), torch.tensor(5.0), torch.tensor(10.0), config)
    assert losses.total.item() == pytest.approx(7.0)
    with pytest.raises(ValueError, match='LossConfig.feature_audio'):
        LossConfig(feature_audio='both')
