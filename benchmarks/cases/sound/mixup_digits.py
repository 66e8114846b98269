"""Mixup: pairs of images are blended, and the loss is blended of the losses for both labels.

A careless tool could take blended images for inputs of other samples, or the second label for a shuffled one.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, mnist


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(8000, 1000)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10)
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    share = torch.distributions.Beta(0.4, 0.4)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(x), 64, 5, seed):
            lam, other = share.sample().item(), i[torch.randperm(len(i))]
            outputs = model(lam * x[i] + (1 - lam) * x[other])
            loss = lam * doctor.loss_fn(outputs, y[i]) + (1 - lam) * doctor.loss_fn(outputs, y[other])
            optimizer.zero_grad()
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
