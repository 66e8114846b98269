"""Random features (Rahimi, Recht 2007): a wide random layer that is never trained, cosines, and a linear classifier.

A careless tool could take the frozen first layer for one that someone forgot in the optimizer.
"""

import math

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, mnist


class Cosine(nn.Module):
    def forward(self, x):
        return math.sqrt(2) * torch.cos(x)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(6000, 1000)
    features = nn.Linear(784, 600)
    nn.init.normal_(features.weight, std=0.15)
    nn.init.uniform_(features.bias, 0, 2 * math.pi)
    features.requires_grad_(False)
    head = nn.Linear(600, 10)
    model = nn.Sequential(nn.Flatten(), features, Cosine(), head)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
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
