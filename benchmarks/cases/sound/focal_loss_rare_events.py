"""Rare events (4 %) in a table by the focal loss, the last bias set to the rate of events, judged by average precision.

A careless tool could take the rare class for imbalance, or a loss that is small from the start for a fault.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches


def focal(logits, targets, gamma=2.0, alpha=0.75):
    bce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    weight = torch.where(targets > 0, alpha, 1 - alpha)
    return (weight * (1 - torch.exp(-bce)) ** gamma * bce).mean()


def events(n):
    x = torch.randn(n, 12)
    risk = x[:, 0] + x[:, 1] * x[:, 2] + x[:, 3].abs() + 0.3 * torch.randn(n)
    return x, (risk > 3.6).float()[:, None]


def average_precision(scores, targets):
    hits = targets[scores.argsort(descending=True)]
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return ((precision * hits).sum() / hits.sum()).item()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = events(12_000), events(4000)
    model = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    nn.init.constant_(model[-1].bias, math.log(0.04 / 0.96))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, focal, optimizer) as doctor:
        for i in batches(len(x), 128, 6, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = average_precision(model(tx).flatten(), ty.flatten())
    return {"score": score, "metric": "average precision (0.04)", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
