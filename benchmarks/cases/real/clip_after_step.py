"""Recurrent network whose gradients are clipped after the step.

Source: https://github.com/taesunwhang/UMS-ResSel/issues/3 (also VGraphRNN/VGRNN#4, jongwook/onsets-and-frames#24)
Cause: clip_grad_norm_ is called after optimizer.step(): the update uses the unclipped gradients, which explode.
Fix: clip between backward() and step().
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("exploding-gradient", "lr-too-high")


def adding(n: int, seed: int, length: int = 30):
    """Return sequences (N, T, 2) of numbers and marks, and the sum of the two marked numbers (N, 1)."""
    g = torch.Generator().manual_seed(seed)
    x = torch.zeros(n, length, 2)
    x[..., 0] = torch.rand(n, length, generator=g)
    first = torch.randint(length // 2, (n,), generator=g)
    second = torch.randint(length // 2, length, (n,), generator=g)
    x[torch.arange(n), first, 1] = x[torch.arange(n), second, 1] = 1.0
    return x, (x[..., 0] * x[..., 1]).sum(1, keepdim=True)


class Net(nn.Module):
    def __init__(self, hidden: int = 64):
        super().__init__()
        self.rnn = nn.RNN(2, hidden, nonlinearity="relu", batch_first=True)
        self.out = nn.Linear(hidden, 1)
        nn.init.eye_(self.rnn.weight_hh_l0)
        nn.init.normal_(self.rnn.weight_ih_l0, std=0.1)
        nn.init.zeros_(self.rnn.bias_hh_l0)
        nn.init.zeros_(self.rnn.bias_ih_l0)

    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = adding(5000, seed), adding(1000, seed + 100)
    model, criterion = Net(), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(x), 50, 8, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            if fixed:
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            if not fixed:
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    with torch.no_grad():
        score = r2(model(tx), ty)
    score = max(score, -1.0) if score == score else -1.0
    return {"score": score, "metric": "test R2, at least -1", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
