"""Probabilistic regression: the Gaussian likelihood gets the standard deviation where it wants the variance.

Source: https://github.com/unit8co/darts/pull/1162
Cause: GaussianNLLLoss takes variances; fed with the standard deviation, it makes the network predict the square of it.
Fix: pass its square.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

TRUTH = ("wrong-loss",)


class Probabilistic(nn.Module):
    def __init__(self, width: int = 64):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.mean, self.std = nn.Linear(width, 1), nn.Sequential(nn.Linear(width, 1), nn.Softplus())

    def forward(self, x):
        h = self.body(x)
        return self.mean(h), self.std(h)


def loads(n: int, seed: int):
    """Return features (N, 8) and loads (N, 1), which are less certain on some days than on others."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=g)
    std = 0.1 + 0.2 * torch.sigmoid(2 * x[:, 1])
    y = (2 * x[:, 0]).sin() + 0.5 * x[:, 2] + std * torch.randn(n, generator=g)
    return x, y[:, None]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = loads(6000, 1)
    tx, ty = loads(1500, 2)
    nll = nn.GaussianNLLLoss()

    def loss_fn(outputs, target):
        mean, std = outputs
        return nll(mean, target, std.square() if fixed else std)

    model = Probabilistic()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 50, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = torch.distributions.Normal(*model(tx)).log_prob(ty).mean().item()
    return {"score": score, "metric": "test log-likelihood", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
