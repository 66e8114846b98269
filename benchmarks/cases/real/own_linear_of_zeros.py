"""Regression with uncertainty by layers of its own, their weights zero.

Source: https://github.com/mattiasegu/uncertainty_estimation_deep_learning/pull/7
Cause: the layer that passes mean and variance on lost its reset_parameters(): weights and biases start as zeros.
Fix: put back reset_parameters() of nn.Linear.
"""

import math

import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("symmetric-init", "init-too-small")


class Linear(nn.Module):
    """Passes on the mean and the variance of its inputs."""

    def __init__(self, a: int, b: int, reset: bool):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(b, a)), nn.Parameter(torch.zeros(b))
        if reset:
            nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
            nn.init.uniform_(self.bias, -1 / math.sqrt(a), 1 / math.sqrt(a))

    def forward(self, mean, variance):
        return nn.functional.linear(mean, self.weight, self.bias), variance @ self.weight.square().T + 1e-3


def relu(mean, variance):
    """Return mean and variance of max(0, z) for a normal z."""
    std = variance.sqrt()
    z = mean / std
    density, above = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi), 0.5 * (1 + torch.erf(z / math.sqrt(2)))
    out = mean * above + std * density
    return out, ((mean**2 + variance) * above + mean * std * density - out**2).clamp(min=1e-5)


class Net(nn.Module):
    def __init__(self, reset: bool):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = Linear(8, 64, reset), Linear(64, 64, reset), Linear(64, 1, reset)

    def forward(self, x):
        state = relu(*self.fc1(x, torch.full_like(x, 1e-2)))
        return torch.cat(self.fc3(*relu(*self.fc2(*state))), 1)


def gaussian_nll(outputs, y):
    mean, variance = outputs.chunk(2, dim=1)
    return (0.5 * variance.log() + 0.5 * (mean - y).square() / variance).mean()


def table(n: int, seed: int):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=g)
    return x, (torch.sin(x[:, 0]) + x[:, 1] * x[:, 2] + 0.3 * torch.randn(n, generator=g))[:, None]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = table(4000, seed), table(1000, seed + 100)
    model = Net(reset=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, gaussian_nll, optimizer) as doctor:
        for i in batches(len(x), 50, 15, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx)[:, :1], ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
