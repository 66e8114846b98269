"""A 1-D CNN tells the shape of noisy waves (sine, square, saw, chirp), with batch norm and global average pooling.

A careless tool could take the noise of the inputs, or the wide kernels, for a fault.
"""

import math

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches


def waves(n):
    kind = torch.randint(4, (n,))
    t = torch.linspace(0, 1, 128) * (3 + 4 * torch.rand(n, 1)) + torch.rand(n, 1)
    forms = torch.stack([torch.sin(2 * math.pi * t), torch.sin(2 * math.pi * t).sign(), 2 * (t % 1) - 1])
    forms = torch.cat([forms, torch.sin(2 * math.pi * t**1.7)[None]])
    return (forms[kind, torch.arange(n)] + 0.4 * torch.randn(n, 128))[:, None], kind


def block(a, b, kernel):
    return nn.Sequential(nn.Conv1d(a, b, kernel, padding=kernel // 2), nn.BatchNorm1d(b), nn.ReLU(), nn.MaxPool1d(2))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = waves(4000), waves(1000)
    body = [block(1, 16, 9), block(16, 32, 5), block(32, 32, 3)]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
