"""Several tags for one text: BCE of logits, pos_weight for rare tags, an embedding bag, F1 by a threshold.

A careless tool could take targets with mostly zeros for imbalance, or rows that sum to 0 or 3 for wrong labels.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches


def texts(n):
    words = torch.randint(0, 200, (n, 20))
    found = [((words >= 12 * k) & (words < 12 * k + 12)).sum(1) >= 2 for k in range(8)]
    return words, torch.stack(found, 1).float()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = texts(5000), texts(1000)
    model = nn.Sequential(
        nn.EmbeddingBag(200, 32, mode="sum"), nn.ReLU(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loss_fn = nn.BCEWithLogitsLoss(pos_weight=((1 - y).sum(0) / y.sum(0)).sqrt())
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 64, 8, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        chosen = (model(tx) > 0).float()
    score = (2 * (chosen * ty).sum() / (chosen.sum() + ty.sum())).item()
    return {"score": score, "metric": "test F1", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
