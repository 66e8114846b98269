"""Counts (visits of an hour) by a network that gives the logarithm of the rate, with the Poisson likelihood.

A careless tool could take whole-number targets for classes, or a loss below 0 for a wrong sign.
"""

import math

import torch
from torch import nn

from benchmarks.cases.data import batches


def hours(n):
    hour, warm, weekend = 24 * torch.rand(n), torch.randn(n), (torch.rand(n) < 0.28).float()
    rate = torch.exp(2 + torch.cos((hour - 15) * math.pi / 12) + 0.4 * warm - 0.5 * weekend * (hour < 12))
    angle = hour * math.pi / 12
    return torch.stack([angle.sin(), angle.cos(), warm, weekend], 1), torch.poisson(rate)[:, None]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = hours(4000), hours(1000)
    model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loss_fn = nn.PoissonNLLLoss(log_input=True)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 64, 7, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        gain = loss_fn(y.mean().log().expand_as(ty), ty) - loss_fn(model(tx), ty)
    return {"score": gain.item(), "metric": "likelihood gained", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
