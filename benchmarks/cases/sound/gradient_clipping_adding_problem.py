"""The adding problem (Hochreiter, Schmidhuber 1997): an LSTM of 30 steps, gradients clipped to the norm 1.

A careless tool could take a loss that stays at 1/6 for hundreds of steps before it falls for one that is stuck.
"""

import torch
from torch import nn

from benchmarks.cases.data import r2


def adding(n, length=30):
    """Return sequences of numbers and two marks, (N, T, 2), and the sum of the numbers that are marked."""
    numbers, marks = torch.rand(n, length), torch.zeros(n, length)
    half = length // 2
    marks[torch.arange(n), torch.randint(half, (n,))] = 1
    marks[torch.arange(n), half + torch.randint(half, (n,))] = 1
    return torch.stack([numbers, marks], 2), (numbers * marks).sum(1, keepdim=True)


class Adder(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(2, 48, batch_first=True), nn.Linear(48, 1)
        nn.init.constant_(self.lstm.bias_ih_l0[48:96], 1.0)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = adding(5000), adding(1000)
    model = Adder()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for _ in range(500):
            i = torch.randint(len(x), (64,))
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
