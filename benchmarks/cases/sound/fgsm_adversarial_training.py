"""Adversarial training: half of the loss is of images moved by the sign of their gradient; robust accuracy is scored.

A careless tool could take the first backward pass, which fills gradients that are cleared, for steps left out.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, mnist


def attack(model, loss_fn, x, y, epsilon=0.1):
    x = x.clone().requires_grad_()
    loss_fn(model(x), y).backward()
    return (x + epsilon * x.grad.sign()).clamp(0, 1).detach()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(6000, 1000)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 5, 2), nn.ReLU(), nn.Conv2d(12, 24, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            worse = attack(model, doctor.loss_fn, x[i], y[i])
            optimizer.zero_grad()
            loss = 0.5 * doctor.loss_fn(model(x[i]), y[i]) + 0.5 * doctor.loss_fn(model(worse), y[i])
            loss.backward()
            optimizer.step()
    worse = attack(model, nn.CrossEntropyLoss(), tx, ty)
    optimizer.zero_grad()
    with torch.no_grad():
        score = (model(worse).argmax(1) == ty).float().mean().item()
    return {
        "score": score,
        "metric": "accuracy under attack",
        "doctor": doctor,
        "probe": (x[:3000], y[:3000]),
        "test": (tx, ty),
    }
