"""GRU forecast: the window is standardized, the target is not.

Source: https://github.com/sktime/pytorch-forecasting/issues/1
Cause: the network predicts sales of some hundreds directly; its outputs begin near 0 and crawl there.
Fix: train on the normalized target and scale the forecast back.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("targets-not-scaled",)


class Forecaster(nn.Module):
    def __init__(self, width: int = 32, horizon: int = 4):
        super().__init__()
        self.encoder = nn.GRU(1, width, batch_first=True)
        self.head = nn.Linear(width, horizon)

    def forward(self, window):
        return self.head(self.encoder(window)[1][-1])


def sales(n: int, seed: int, window: int = 24, horizon: int = 4):
    """Return the past (N, 24, 1) and the next 4 values (N, 4) of weekly cycles around some hundreds."""
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(window + horizon)
    level, phase = 400 + 100 * torch.randn(n, 1, generator=g), 7 * torch.rand(n, 1, generator=g)
    cycle = (6.2832 * (t + phase) / 7).sin()
    series = level * (1 + 0.3 * cycle) + 15 * torch.randn(n, window + horizon, generator=g)
    return series[:, :window, None], series[:, window:]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = sales(4000, 1)
    tx, ty = sales(800, 2)
    mean, std = x.mean(), x.std()
    x, tx = (x - mean) / std, (tx - mean) / std
    center, scale = (mean, std) if fixed else (0.0, 1.0)
    y = (y - center) / scale
    model, loss_fn = Forecaster(), nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 50, 3, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = max(r2(scale * model(tx) + center, ty), -1.0)
    test = (tx, (ty - center) / scale)
    return {"score": score, "metric": "test R2, not below -1", "doctor": doctor, "probe": (x, y), "test": test}
