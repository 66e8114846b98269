"""Imputation of time series: the best weights are a reference to the last ones.

Source: https://github.com/WenjieDu/PyPOTS/issues/667 (also thunlp/OpenKE#131, pytorch/tutorials#188)
Cause: model.state_dict() is kept when the validation loss is lowest, but it is a reference: training goes on in it,
and what is restored at the end are the overfitted weights.
Fix: copy.deepcopy(model.state_dict()).
New cause: weights-not-copied: weights that should be kept as they are share their memory with those in training.
"""

import copy
import math

import torch
from torch import nn

from benchmarks.cases.data import r2

TRUTH = ("weights-not-copied",)


def series(n: int, seed: int, steps: int = 24):
    """Return series with gaps and a mask of what is known (N, 2T), and the complete series (N, T)."""
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(steps) / steps
    phase, level = torch.rand(n, 1, generator=g), torch.randn(n, 1, generator=g)
    speed = torch.rand(n, 1, generator=g) * 2 + 1
    y = torch.sin(2 * math.pi * (speed * t + phase)) + 0.5 * level + 0.3 * torch.randn(n, steps, generator=g)
    known = (torch.rand(n, steps, generator=g) > 0.4).float()
    return torch.cat([y * known, known], 1), y


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (vx, vy), (tx, ty) = series(150, seed), series(500, seed + 100), series(1000, seed + 200)
    model = nn.Sequential(nn.Linear(48, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 24))
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    best_loss, best_model_dict = float("inf"), None
    with watch(model, criterion, optimizer) as doctor:
        for epoch in range(150):
            model.train()
            torch.manual_seed(1000 * seed + epoch)
            for i in torch.randperm(len(x)).split(30):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x[i]), y[i])
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                validation_loss = criterion(model(vx), vy).item()
            if validation_loss < best_loss:
                best_loss = validation_loss
                best_model_dict = copy.deepcopy(model.state_dict()) if fixed else model.state_dict()
    model.load_state_dict(best_model_dict)
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2, weights restored", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
