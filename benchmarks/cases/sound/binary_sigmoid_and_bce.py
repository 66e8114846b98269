"""Two interleaved half-moons by a network with a sigmoid at its end and BCELoss, targets (B, 1).

A careless tool could take the sigmoid before the loss for one too many: BCELoss wants probabilities.
"""

import math

import torch
from torch import nn

from benchmarks.cases.data import batches


def moons(n):
    angle, upper = math.pi * torch.rand(n), torch.arange(n) % 2 == 0
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    return torch.stack([x, y], 1) + 0.12 * torch.randn(n, 2), upper.float()[:, None]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = moons(2000), moons(1000)
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with watch(model, nn.BCELoss(), optimizer) as doctor:
        for i in batches(len(x), 32, 8, seed):
            predicted = model(x[i])
            loss = doctor.loss_fn(predicted, y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = (model(tx).round() == ty).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
