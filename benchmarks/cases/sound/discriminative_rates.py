"""Fine-tuning with another rate for each layer: 2e-5 for the first one, 1e-4, and 2e-3 for the new head.

A careless tool could take the smallest rate for too low: the first layers are trained already.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import accuracy, batches, mnist


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(10_000, 2000)
    body = nn.Sequential(nn.Conv2d(1, 12, 5, 2), nn.ReLU())
    neck = nn.Sequential(nn.Conv2d(12, 24, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(384, 64), nn.ReLU())
    model = nn.Sequential(body, neck, nn.Linear(64, 5))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    first, second = x[y < 5], x[y >= 5]
    labels = y[y < 5]
    for i in batches(len(first), 64, 2, seed):
        optimizer.zero_grad()
        F.cross_entropy(model(first[i]), labels[i]).backward()
        optimizer.step()
    model[2] = nn.Linear(64, 5)
    x, y, tx, ty = second, y[y >= 5] - 5, tx[ty >= 5], ty[ty >= 5] - 5
    groups = [(body, 2e-5), (neck, 1e-4), (model[2], 2e-3)]
    optimizer = torch.optim.AdamW([{"params": part.parameters(), "lr": lr} for part, lr in groups])
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed + 1):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:3000], y[:3000]),
        "test": (tx, ty),
    }
