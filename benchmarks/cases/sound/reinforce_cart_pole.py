"""REINFORCE balances a pole on 16 carts at once; the loss is of log-probabilities times returns less their mean.

A careless tool could take a loss that stays around 0, or gradients with much noise, for a fault.
"""

import torch
from torch import nn
from torch.distributions import Categorical

CARTS, STEPS = 16, 100


def move(state, force):
    """One step of 0.02 s of cart and pole (Barto, Sutton, Anderson 1983); state: (B, 4)."""
    x, v, angle, turn = state.unbind(1)
    push = (force + 0.05 * turn**2 * angle.sin()) / 1.1
    bend = (9.8 * angle.sin() - angle.cos() * push) / (0.5 * (4 / 3 - 0.1 * angle.cos() ** 2 / 1.1))
    go = push - 0.05 * bend * angle.cos() / 1.1
    return torch.stack([x + 0.02 * v, v + 0.02 * go, angle + 0.02 * turn, turn + 0.02 * bend], 1)


def episodes(policy):
    """Return states, actions and whether the pole stood: (T, B, 4), (T, B), (T, B)."""
    state, up, found = 0.1 * torch.rand(CARTS, 4) - 0.05, torch.ones(CARTS, dtype=torch.bool), []
    for _ in range(STEPS):
        with torch.no_grad():
            action = Categorical(logits=policy(state)).sample()
        found.append((state, action, up))
        state = move(state, 20.0 * action - 10)
        up = up & (state[:, 2].abs() < 0.21) & (state[:, 0].abs() < 2.4)
    return (torch.stack(part) for part in zip(*found, strict=True))


def policy_loss(logits, actions, advantage):
    return -(Categorical(logits=logits).log_prob(actions) * advantage).mean()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    with watch(policy, policy_loss, optimizer) as doctor:
        for _ in range(40):
            states, actions, up = episodes(policy)
            rewards = up.float()
            returns = rewards.flip(0).cumsum(0).flip(0)[up]
            advantage = (returns - returns.mean()) / (returns.std() + 1e-6)
            loss = doctor.loss_fn(policy(states[up]), actions[up], advantage)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    score = list(episodes(policy))[2].float().sum(0).mean().item()
    return {"score": score, "metric": "steps of 100 (17 untrained)", "doctor": doctor, "probe": None, "test": None}
