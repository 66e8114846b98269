"""An LSTM forecasts the next value of a daily series from 30 days; it is scaled by the past alone, and split in time.

A careless tool could take overlapping windows for repeated samples, or the split in time for a mismatch.
"""

import math

import torch
from torch import nn

from benchmarks.cases.data import batches, r2


class Forecaster(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.lstm, self.head = nn.LSTM(1, hidden, batch_first=True), nn.Linear(hidden, 1)

    def forward(self, window):
        _, (h, _) = self.lstm(window)
        return self.head(h[-1])


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    days = torch.arange(2400)
    series = 60 + 15 * torch.sin(2 * math.pi * days / 7) + 25 * torch.sin(2 * math.pi * days / 91)
    series = series + 2 * torch.randn(2400)
    past = series[:1900]
    scaled = (series - past.mean()) / past.std()
    windows = scaled.unfold(0, 31, 1)
    x, y = windows[:, :30, None], windows[:, 30:]
    x, y, tx, ty = x[:1870], y[:1870], x[1870:], y[1870:]
    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(len(x), 32, 8, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
