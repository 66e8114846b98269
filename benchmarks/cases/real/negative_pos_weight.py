"""Binary classification of a table with a negative weight of the positive class.

Source: https://github.com/automl/Auto-PyTorch/pull/263
Cause: the number of negatives is taken as positives minus all, which is below 0, and so is the weight made of it: the
    loss rewards wrong answers for the rare class.
Fix: negatives = all minus positives.
New cause: class-weights-wrong: the weights of the classes in the loss (weight, pos_weight) are not what balances them:
    inverted, negative, zero or of other classes.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

TRUTH = ("class-weights-wrong", "loss-sign")


def customers(n: int, seed: int):
    """Return features (N, 12) and labels (N, 1): about one customer in eight leaves."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 12, generator=g)
    risk = x[:, 0] * x[:, 1] + x[:, 2].abs() + 0.5 * x[:, 3] + 0.3 * torch.randn(n, generator=g)
    return x, (risk > 2).float()[:, None]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = customers(12_000, 1)
    tx, ty = customers(3000, 2)
    positives = y.sum(0)
    negatives = len(y) - positives if fixed else positives - len(y)
    block = [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()]
    model = nn.Sequential(nn.Linear(12, 64), nn.BatchNorm1d(64), nn.ReLU(), *block, nn.Linear(64, 1))
    loss_fn = nn.BCEWithLogitsLoss(pos_weight=negatives / positives)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 64, 2, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        leaves = model(tx) > 0
    score = (leaves[ty == 1].float().mean() + (~leaves[ty == 0]).float().mean()).item() / 2
    return {"score": score, "metric": "balanced test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
