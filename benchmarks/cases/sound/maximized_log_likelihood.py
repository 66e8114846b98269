"""Times until failure by a Weibull distribution whose parameters a network gives: Adam with maximize=True.

A careless tool could take an objective that rises for a loss of the wrong sign.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches


class Weibull(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))

    def forward(self, x):
        scale, shape = F.softplus(self.net(x) + 1).unbind(1)
        return torch.stack([scale, shape], 1) + 1e-3


def log_likelihood(parameters, time):
    return torch.distributions.Weibull(*parameters.unbind(1)).log_prob(time).mean()


def machines(n):
    x = torch.randn(n, 5)
    scale = torch.exp(x[:, 0] + 0.5 * torch.sin(2 * x[:, 1]))
    return x, torch.distributions.Weibull(scale, 1 + F.softplus(2 * x[:, 2])).sample() + 1e-4


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = machines(4000), machines(1000)
    model = Weibull()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, maximize=True)
    with watch(model, log_likelihood, optimizer) as doctor:
        for i in batches(len(x), 64, 7, seed):
            optimizer.zero_grad()
            objective = doctor.loss_fn(model(x[i]), y[i])
            objective.backward()
            optimizer.step()
    with torch.no_grad():
        score = log_likelihood(model(tx), ty).item()
    return {
        "score": score,
        "metric": "log-likelihood (untrained -2.0)",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
