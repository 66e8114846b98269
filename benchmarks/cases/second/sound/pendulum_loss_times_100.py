"""A dynamics model of a driven pendulum: the small change of its state is learned, the loss multiplied by 100, Adam.

A careless tool could take the factor of 100, or the small targets, for a fault: Adam's steps know no scale.
"""

import numpy as np
import torch
from torch import nn

DT = 0.05


def simulate(n_runs, length, rng):
    """Return states (cos, sin, velocity) with torque, and their changes within one time step."""
    theta, omega = rng.uniform(-np.pi, np.pi, n_runs), rng.normal(0, 2, n_runs)
    torque = np.zeros(n_runs)
    inputs, changes = [], []
    for _ in range(length):
        torque = np.clip(0.9 * torque + rng.normal(0, 0.8, n_runs), -3, 3)
        new_theta, new_omega = theta, omega
        for _ in range(5):
            new_omega = new_omega + DT / 5 * (-9.81 * np.sin(new_theta) - 0.2 * new_omega * np.abs(new_omega) + torque)
            new_theta = new_theta + DT / 5 * new_omega
        before = np.stack([np.cos(theta), np.sin(theta), omega], 1)
        after = np.stack([np.cos(new_theta), np.sin(new_theta), new_omega], 1)
        inputs.append(np.concatenate([before, torque[:, None]], 1))
        changes.append(after - before)
        theta, omega = new_theta, new_omega
    flat = [torch.tensor(np.concatenate(part), dtype=torch.float32) for part in (inputs, changes)]
    return flat[0], flat[1]


class DynamicsModel(nn.Module):
    def __init__(self, state_dim=3, action_dim=1, hidden_dim=64):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(state_dim + action_dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, state_dim),
        )

    def forward(self, state_action):
        return self.net(state_action)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    inputs, changes = simulate(100, 80, rng)
    test_inputs, test_changes = simulate(20, 80, rng)
    mean, std = inputs.mean(0), inputs.std(0)
    inputs, test_inputs = (inputs - mean) / std, (test_inputs - mean) / std

    model = DynamicsModel()
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, criterion, optimizer) as doctor:
        for _epoch in range(15):
            permutation = torch.randperm(inputs.size(0))
            for start in range(0, inputs.size(0), 100):
                indices = permutation[start : start + 100]
                prediction = model(inputs[indices])
                loss = 100.0 * doctor.loss_fn(prediction, changes[indices])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    with torch.no_grad():
        residual = (model(test_inputs) - test_changes).square().mean(0)
    score = (1 - residual / test_changes.var(0)).min().item()
    return {
        "score": score,
        "metric": "R2 of the worst of three changes",
        "doctor": doctor,
        "probe": (inputs, changes),
        "test": (test_inputs, test_changes),
    }
