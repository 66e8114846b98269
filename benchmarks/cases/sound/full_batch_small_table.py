"""150 flowers of three kinds in a table of four columns: all of them in each step, as tutorials of iris do.

A careless tool could take the same batch in each step for repeated samples, or 150 of them for too few.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy


def flowers(n):
    kind = torch.arange(n) % 3
    means = torch.tensor([[5.0, 3.4, 1.5, 0.2], [5.9, 2.8, 4.3, 1.3], [6.6, 3.0, 5.6, 2.0]])
    spread = torch.tensor([[0.35, 0.38, 0.17, 0.1], [0.5, 0.3, 0.45, 0.2], [0.6, 0.3, 0.5, 0.27]])
    return means[kind] + spread[kind] * torch.randn(n, 4), kind


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = flowers(150), flowers(300)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _ in range(250):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
