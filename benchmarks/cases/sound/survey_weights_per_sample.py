"""Survey data with a weight for each answer: the loss is not reduced, then weighted and divided by the sum of weights.

A careless tool could take a loss that is a vector, or weights of 0.2 to 20, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches


def answers(n):
    x = torch.randn(n, 7)
    label = torch.stack([x[:, 0] + x[:, 1], 1.5 * x[:, 2] * x[:, 3], x[:, 4].abs() - 0.5], 1).argmax(1)
    weight = torch.exp(0.7 * torch.randn(n)) * torch.where(x[:, 5] > 1, 3.0, 1.0)
    return x, label, weight


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y, w), (tx, ty, tw) = answers(6000), answers(1500)
    model = nn.Sequential(nn.Linear(7, 64), nn.ELU(), nn.Linear(64, 64), nn.ELU(), nn.Linear(64, 3))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    with watch(model, nn.CrossEntropyLoss(reduction="none"), optimizer) as doctor:
        for i in batches(len(x), 64, 7, seed):
            losses = doctor.loss_fn(model(x[i]), y[i])
            loss = (losses * w[i]).sum() / w[i].sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        right = (model(tx).argmax(1) == ty).float()
    score = ((right * tw).sum() / tw.sum()).item()
    return {"score": score, "metric": "weighted accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
