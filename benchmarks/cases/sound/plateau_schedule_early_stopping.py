"""Regression with ReduceLROnPlateau on the validation loss, early stopping, and the best weights put back at the end.

A careless tool could take the falling rate for a schedule that collapses, or the restored weights for lost steps.
"""

import copy

import torch
from torch import nn

from benchmarks.cases.data import batches, r2


def table(n):
    x = torch.rand(n, 10)
    y = 10 * torch.sin(torch.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return x, ((y - 14) / 5 + 0.1 * torch.randn(n))[:, None]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (vx, vy), (tx, ty) = table(2000), table(500), table(1000)
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=2)
    best, best_state, bad = float("inf"), None, 0
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for epoch in range(30):
            model.train()
            for i in batches(len(x), 64, 1, seed + epoch):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x[i]), y[i])
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                val_loss = doctor.loss_fn(model(vx), vy).item()
            scheduler.step(val_loss)
            if val_loss < best:
                best, best_state, bad = val_loss, copy.deepcopy(model.state_dict()), 0
            else:
                bad += 1
            if bad == 6:
                break
        model.load_state_dict(best_state)
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
