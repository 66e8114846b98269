"""Clothes of which three kinds are rare; class weights in the loss make up for it, scored by the mean recall.

A careless tool could name the imbalance, which the program has answered already.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, fashion


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(9000, 2000)
    keep = (y < 7) | (torch.rand(len(y)) < 0.1)
    x, y = x[keep], y[keep]
    counts = torch.bincount(y, minlength=10)
    weight = len(y) / (10 * counts.float())
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.CrossEntropyLoss(weight=weight), optimizer) as doctor:
        for i in batches(len(x), 64, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        right = model(tx).argmax(1) == ty
    score = sum(right[ty == k].float().mean().item() for k in range(10)) / 10
    return {"score": score, "metric": "mean recall", "doctor": doctor, "probe": (x[:3000], y[:3000]), "test": (tx, ty)}
