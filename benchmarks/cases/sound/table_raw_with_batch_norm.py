"""Binary outcome from a table in raw units: the network's first layer is a batch norm, which scales the columns.

A careless tool could take inputs of 10,000 and more for unscaled ones, though the model scales them itself.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches


def patients(n):
    age, weight, cells = 20 + 60 * torch.rand(n), 75 + 14 * torch.randn(n), 7000 + 1800 * torch.randn(n)
    platelets = 250_000 + 60_000 * torch.randn(n)
    risk = (age - 50) / 12 + ((weight - 75) / 14) ** 2 + (cells - 7000) / 1800 - (platelets - 250_000) / 60_000 - 1
    return torch.stack([age, weight, cells, platelets], 1), torch.bernoulli(torch.sigmoid(3 * risk))[:, None]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = patients(4000), patients(1000)
    model = nn.Sequential(
        nn.BatchNorm1d(4),
        nn.Linear(4, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, 1),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.BCEWithLogitsLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 7, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = ((model(tx) > 0) == ty.bool()).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
