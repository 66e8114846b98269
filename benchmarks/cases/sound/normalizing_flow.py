"""Affine coupling layers (RealNVP) with masks learn a density of two moons; minus the log-likelihood is the loss.

A careless tool could miss a loss function and targets, or take scales that start near 0 for dead layers.
"""

import math

import torch
from torch import nn


class Coupling(nn.Module):
    def __init__(self, first: bool):
        super().__init__()
        self.first = first
        self.net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
        nn.init.zeros_(self.net[-1].weight)

    def forward(self, x):
        kept, moved = x.split(1, 1) if self.first else x.split(1, 1)[::-1]
        log_scale, shift = self.net(kept).split(1, 1)
        log_scale = 2 * torch.tanh(log_scale / 2)
        moved = moved * log_scale.exp() + shift
        return torch.cat([kept, moved] if self.first else [moved, kept], 1), log_scale.squeeze(1)


class Flow(nn.Module):
    def __init__(self, layers=6):
        super().__init__()
        self.layers = nn.ModuleList([Coupling(k % 2 == 0) for k in range(layers)])

    def forward(self, x):
        log_det = torch.zeros(len(x))
        for layer in self.layers:
            x, more = layer(x)
            log_det = log_det + more
        return log_det - x.square().sum(1) / 2 - math.log(2 * math.pi)


def moons(n):
    angle, upper = math.pi * torch.rand(n), torch.rand(n) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos()) - 0.5
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin()) - 0.25
    return torch.stack([x, 1.5 * y], 1) + 0.08 * torch.randn(n, 2)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    data, held = moons(4000), moons(1000)
    model = Flow()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with watch(model, None, optimizer) as doctor:
        for _ in range(400):
            loss = -model(data[torch.randint(len(data), (128,))]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = model(held).mean().item()
    return {"score": score, "metric": "likelihood (a Gaussian: -2.3)", "doctor": doctor, "probe": None, "test": None}
