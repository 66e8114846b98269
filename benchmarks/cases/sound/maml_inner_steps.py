"""Meta-learning (MAML): many sine curves; one inner step by autograd.grad with create_graph, then an outer one.

A careless tool could take gradients that no optimizer uses, or targets that change for the same input, for a fault.
"""

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F


def tasks(n, points):
    height, phase = 0.5 + 2 * torch.rand(n, 1, 1), 3 * torch.rand(n, 1, 1)
    x = 10 * torch.rand(n, points, 1) - 5
    return x, height * torch.sin(x + phase)


def adapted(model, x, y, rate=0.02, steps=1, create_graph=True):
    weights = dict(model.named_parameters())
    for _ in range(steps):
        loss = F.mse_loss(functional_call(model, weights, (x,)), y)
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=create_graph)
        weights = {name: w - rate * g for (name, w), g in zip(weights.items(), slopes, strict=True)}
    return weights


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, None, optimizer) as doctor:
        for _ in range(500):
            x, y = tasks(4, 20)
            loss = 0.0
            for k in range(4):
                weights = adapted(model, x[k, :10], y[k, :10])
                loss = loss + F.mse_loss(functional_call(model, weights, (x[k, 10:],)), y[k, 10:]) / 4
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    x, y = tasks(50, 60)
    error, before = 0.0, 0.0
    for k in range(50):
        weights = adapted(model, x[k, :10], y[k, :10], steps=5, create_graph=False)
        with torch.no_grad():
            error += F.mse_loss(functional_call(model, weights, (x[k, 10:],)), y[k, 10:]).item() / 50
            before += F.mse_loss(model(x[k, 10:]), y[k, 10:]).item() / 50
    score = 1 - error / before
    return {"score": score, "metric": "error less after 5 steps", "doctor": doctor, "probe": None, "test": None}
