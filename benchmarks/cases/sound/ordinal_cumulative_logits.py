"""Grades 0 to 4 by ordered thresholds (CORAL): one weight vector, four biases, BCE over 'is the grade above k?'.

A careless tool could take four outputs for five grades for a missing class, or the shared weights for a bottleneck.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches


class Coral(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.fc, self.bias = nn.Linear(32, 1, bias=False), nn.Parameter(torch.arange(2.0, -2.0, -1.0))

    def forward(self, x):
        return self.fc(self.body(x)) + self.bias


def coral_loss(logits, grades):
    levels = (grades[:, None] > torch.arange(4)).float()
    return F.binary_cross_entropy_with_logits(logits, levels, reduction="none").sum(1).mean()


def answers(n):
    x = torch.randn(n, 10)
    quality = x[:, 0] + x[:, 1].abs() - x[:, 2] * x[:, 3] + 0.2 * torch.randn(n)
    return x, torch.bucketize(quality, torch.tensor([-1.0, 0.2, 1.2, 2.5]))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = answers(5000), answers(1000)
    model = Coral()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, coral_loss, optimizer) as doctor:
        for i in batches(len(x), 64, 7, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        grades = (model(tx) > 0).sum(1)
    score = (grades == ty).float().mean().item()
    return {
        "score": score,
        "metric": "test accuracy (0.3 by chance)",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
