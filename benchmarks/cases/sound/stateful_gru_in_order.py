"""A GRU filters a long noisy signal in order: the state goes on from part to part, detached, and starts anew by epoch.

A careless tool could take the order of the data, the detached state, or the likeness of the parts for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import r2


class Filter(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.out = nn.GRU(1, 24), nn.Linear(24, 1)

    def forward(self, signal, state=None):
        h, state = self.gru(signal, state)
        return self.out(h), state


def series(length, columns=16):
    """Return a wandering level and what is measured of it, both (T, B, 1)."""
    level = torch.zeros(length, columns, 1)
    for t in range(1, length):
        level[t] = 0.95 * level[t - 1] + 0.3 * torch.randn(columns, 1)
    return level, level + torch.randn_like(level)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (level, measured), (held, seen) = series(1000), series(300)
    model = Filter()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for _ in range(6):
            state = None
            for part, wanted in zip(measured.split(25), level.split(25), strict=True):
                output, state = model(part, state)
                loss = doctor.loss_fn(output, wanted)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                state = state.detach()
    with torch.no_grad():
        score = r2(model(seen)[0], held)
    return {"score": score, "metric": "test R2 (measurements: -0.1)", "doctor": doctor, "probe": None, "test": None}
