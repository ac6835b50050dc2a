"""Slot attention and decoder: against plain numpy, invariances, and where gradients go."""

from __future__ import annotations

import needs

needs.networks()

import math

import numpy as np
import pytest
import torch

from cs3_ros.networks.slots import SlotAutoencoder, SlotsConfig, patch_orders

TINY = SlotsConfig(
    width=12, grid=3, slots=4, slot_width=8, slot_hidden=10, iterations=3, blocks=2, heads=3
)


@pytest.fixture
def network():
    torch.manual_seed(1)
    found = SlotAutoencoder(TINY).eval()
    with torch.no_grad():
        for value in found.parameters():
            if value.ndim == 1:  # norms and biases that do something
                value.add_(torch.randn_like(value) * 0.2)
    return found


def patches(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 9, 12, generator=torch.Generator().manual_seed(2))


class Plain:
    """The same arithmetic, written again in numpy: loops, double precision, one picture."""

    def __init__(self, network: SlotAutoencoder) -> None:
        self.w = {k: v.detach().double().numpy() for k, v in network.state_dict().items()}

    def linear(self, x, name):
        y = np.einsum('nd,od->no', x, self.w[f'{name}.weight'])
        return y + self.w[f'{name}.bias'] if f'{name}.bias' in self.w else y

    def norm(self, x, name):
        out = np.empty_like(x)
        for k, row in enumerate(x):
            centred = row - row.mean()
            out[k] = centred / math.sqrt((centred**2).mean() + 1e-5)
        return out * self.w[f'{name}.weight'] + self.w[f'{name}.bias']

    def mlp(self, x, name):
        return self.linear(np.maximum(self.linear(x, f'{name}.0'), 0), f'{name}.2')

    def gru(self, x, h):
        prefix = 'slot_attn.slot_attention.gru.'
        gates_x = x @ self.w[f'{prefix}weight_ih'].T + self.w[f'{prefix}bias_ih']
        gates_h = h @ self.w[f'{prefix}weight_hh'].T + self.w[f'{prefix}bias_hh']
        width = h.shape[1]

        def sigmoid(z):
            return 1 / (1 + np.exp(-z))

        reset = sigmoid(gates_x[:, :width] + gates_h[:, :width])
        update = sigmoid(gates_x[:, width : 2 * width] + gates_h[:, width : 2 * width])
        new = np.tanh(gates_x[:, 2 * width :] + reset * gates_h[:, 2 * width :])
        return (1 - update) * new + update * h

    def slots(self, x):
        name = 'slot_attn.slot_attention'
        x = self.mlp(self.norm(x, 'slot_attn.layer_norm'), 'slot_attn.mlp')
        x = self.norm(x, f'{name}.norm_inputs')
        k, v = self.linear(x, f'{name}.project_k'), self.linear(x, f'{name}.project_v')
        slots = self.w['slot_attn.slots_init.weight']
        for _ in range(TINY.iterations):
            q = self.linear(self.norm(slots, f'{name}.norm_slots'), f'{name}.project_q')
            shares = np.zeros((9, TINY.slots))
            for patch in range(9):
                scores = [k[patch] @ q[slot] / math.sqrt(8) for slot in range(TINY.slots)]
                powers = np.exp(np.array(scores) - max(scores))
                shares[patch] = powers / powers.sum()
            found = np.zeros((TINY.slots, 8))
            for slot in range(TINY.slots):
                weights = shares[:, slot] + 1e-8
                for patch in range(9):
                    found[slot] += weights[patch] / weights.sum() * v[patch]
            slots = self.gru(found, slots)
            slots = slots + self.mlp(self.norm(slots, f'{name}.norm_mlp'), f'{name}.mlp')
        return slots, shares

    def attend(self, x, memory, name, causal):
        q, k, v = (
            self.linear(x, f'{name}.proj_q'),
            self.linear(memory, f'{name}.proj_k'),
            self.linear(memory, f'{name}.proj_v'),
        )
        out = np.zeros_like(x)
        for head in range(TINY.heads):
            part = slice(head * 4, head * 4 + 4)
            for place in range(len(x)):
                seen = place + 1 if causal else len(memory)
                scores = np.array([q[place, part] @ k[m, part] / 2 for m in range(seen)])
                powers = np.exp(scores - scores.max())
                out[place, part] = (powers / powers.sum()) @ v[:seen, part]
        return self.linear(out, f'{name}.proj_o')

    def written(self, slots, target, number, order):
        first = self.w['bos_tokens'][number, 0]
        x = np.concatenate([first, target[order][:-1]])
        x = self.norm(self.linear(x, 'input_proj.0'), 'input_proj.1')
        memory = self.norm(self.linear(slots, 'slot_proj.0'), 'slot_proj.1')
        for block in range(TINY.blocks):
            name = f'dec.blocks.{block}'
            normed = self.norm(x, f'{name}.self_attn_layer_norm')
            x = (normed if block == 0 else x) + self.attend(
                normed, normed, f'{name}.self_attn', True
            )
            normed = self.norm(x, f'{name}.encoder_decoder_attn_layer_norm')
            x = x + self.attend(normed, memory, f'{name}.encoder_decoder_attn', False)
            x = x + self.mlp(self.norm(x, f'{name}.ffn_layer_norm'), f'{name}.ffn')
        x = self.norm(x, 'dec.layer_norm')
        out = np.empty_like(x)
        for place, patch in enumerate(order):
            out[patch] = x[place]
        return out


def test_against_plain_numpy(network):
    plain, x = Plain(network), patches()
    target = patches(3)[1:]
    with torch.no_grad():
        found = network(x, target)
    for k in range(2):
        slots, shares = plain.slots(x[k].double().numpy())
        np.testing.assert_allclose(found.slots[k].numpy(), slots, atol=1e-5)
        np.testing.assert_allclose(found.shares[k].numpy(), shares, atol=1e-5)
        goal = target[k].double().numpy()
        every = [plain.written(slots, goal, n, o) for n, o in enumerate(HAND_ORDERS)]
        np.testing.assert_allclose(found.patches[k].numpy(), np.mean(every, 0), atol=1e-5)


HAND_ORDERS = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8],
    [0, 3, 6, 1, 4, 7, 2, 5, 8],
    [2, 5, 8, 1, 4, 7, 0, 3, 6],
    [2, 1, 0, 5, 4, 3, 8, 7, 6],
    [8, 5, 2, 7, 4, 1, 6, 3, 0],
    [8, 7, 6, 5, 4, 3, 2, 1, 0],
    [6, 3, 0, 7, 4, 1, 8, 5, 2],
    [6, 7, 8, 3, 4, 5, 0, 1, 2],
    [4, 1, 0, 3, 6, 7, 8, 5, 2],
]
"""On a grid of three, written down by hand; the spiral ends where the first peel begins."""


def test_the_orders_of_a_small_grid():
    assert patch_orders(3).tolist() == HAND_ORDERS


@pytest.mark.parametrize('grid', [1, 2, 14])
def test_an_order_has_every_patch_once(grid):
    orders = patch_orders(grid)
    assert orders.shape == (9, grid * grid)
    assert (orders.sort(1).values == torch.arange(grid * grid)).all()


def test_training_draws_one_order(network):
    x = patches(1)
    network.train()
    slots, _ = network.slot_attn(x)
    plain = Plain(network)
    choices = [
        plain.written(slots[0].detach().double().numpy(), x[0].double().numpy(), n, o)
        for n, o in enumerate(HAND_ORDERS)
    ]
    drawn = set()
    for seed in range(20):
        torch.manual_seed(seed)
        found = network.decode(slots, x)[0].detach().numpy()
        near = [n for n, one in enumerate(choices) if np.abs(one - found).max() < 1e-5]
        assert len(near) == 1
        drawn.add(near[0])
    assert len(drawn) > 4


def test_slots_are_a_set(network):
    x, order = patches(), torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        before = network(x)
        weight = network.slot_attn.slots_init.weight
        weight.copy_(weight[order].clone())
        after = network(x)
    torch.testing.assert_close(after.slots, before.slots[:, order])
    torch.testing.assert_close(after.shares, before.shares[:, :, order])
    torch.testing.assert_close(after.patches, before.patches)


def test_pictures_do_not_see_each_other(network):
    x = patches(3)
    with torch.no_grad():
        together, alone = network(x), network(x[1:2])
        turned = network(x.flip(0))
    torch.testing.assert_close(alone.patches[0], together.patches[1])
    torch.testing.assert_close(turned.patches.flip(0), together.patches)


def test_the_decoder_sees_only_what_was_before(network):
    slots = torch.randn(1, 4, 8)
    x, changed = patches(1), patches(1)
    changed[0, 4] += 1
    with torch.no_grad():
        memory = network.slot_proj(slots)
        first, second = (network.dec(network.input_proj(one), memory) for one in (x, changed))
    assert torch.equal(first[0, :4], second[0, :4])
    assert not torch.allclose(first[0, 4:], second[0, 4:])


def test_gradients_take_the_last_round_and_the_start(network):
    """Bi-level: equal to one round from the found slots, whose gradient goes to the start."""
    encoder, x = network.slot_attn, patches()
    slots, _ = encoder(x)
    goal = torch.randn_like(slots)
    (slots * goal).sum().backward()
    found = {n: p.grad.clone() for n, p in encoder.named_parameters()}
    encoder.zero_grad()

    attention = encoder.slot_attention
    inputs = attention.norm_inputs(encoder.mlp(encoder.layer_norm(x)))
    keys, values = attention.project_k(inputs) * 8**-0.5, attention.project_v(inputs)
    with torch.no_grad():
        now = encoder.slots_init.weight.expand(2, -1, -1)
        for _ in range(2):
            now, _ = attention._round(keys, values, now)
    now.requires_grad_()
    last, _ = attention._round(keys, values, now)
    (last * goal).sum().backward()
    torch.testing.assert_close(found['slots_init.weight'], now.grad.sum(0))
    for name, value in encoder.named_parameters():
        if name != 'slots_init.weight':
            torch.testing.assert_close(found[name], value.grad)
    assert found['slots_init.weight'].abs().sum() > 0


def test_heads_have_to_divide_the_width():
    with pytest.raises(ValueError, match='SlotsConfig.heads = 5: expected a divisor of the width'):
        SlotsConfig(width=12, heads=5)
