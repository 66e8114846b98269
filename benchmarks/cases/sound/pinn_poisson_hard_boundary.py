"""A physics-informed network for u'' = f on [0, 1], u = 0 at both ends, which the form of u ensures.

A careless tool could find no data, no loss function and two derivatives: all of it is meant.
"""

import math

import torch
from torch import nn


class Solution(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)
        )

    def forward(self, x):
        return x * (1 - x) * self.net(x)


def exact(x):
    return torch.sin(3 * math.pi * x) / 3 + torch.sin(math.pi * x)


def source(x):
    return -3 * math.pi**2 * torch.sin(3 * math.pi * x) - math.pi**2 * torch.sin(math.pi * x)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    model = Solution()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.998)
    with watch(model, None, optimizer) as doctor:
        for _ in range(1200):
            x = torch.rand(64, 1, requires_grad=True)
            u = model(x)
            (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            (ddu,) = torch.autograd.grad(du.sum(), x, create_graph=True)
            loss = (ddu - source(x)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    x = torch.linspace(0, 1, 101)[:, None]
    with torch.no_grad():
        score = 1 - ((model(x) - exact(x)).square().mean() / exact(x).var()).item()
    return {"score": score, "metric": "R2 of the solution", "doctor": doctor, "probe": None, "test": None}
