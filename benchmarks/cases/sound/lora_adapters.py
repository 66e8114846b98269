"""Low-rank adapters (LoRA) on a frozen network: B is zero at start, only A and B (and the head) are trained.

A careless tool could take the frozen layers, or matrices of zeros, for a fault.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import accuracy, batches, mnist


class LoRA(nn.Module):
    def __init__(self, base: nn.Linear, rank=8, alpha=16):
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha / rank
        self.A = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + self.scale * F.linear(F.linear(x, self.A), self.B)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(8000, 1000)
    base = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    optimizer = torch.optim.Adam(base.parameters(), lr=1e-3)
    for i in batches(len(x), 64, 2, seed):
        optimizer.zero_grad()
        F.cross_entropy(base(x[i]), y[i]).backward()
        optimizer.step()
    x, tx = x.transpose(2, 3), tx.transpose(2, 3)  # the new task: digits that lie on their side, mirrored
    model = nn.Sequential(base[0], LoRA(base[1]), base[2], LoRA(base[3]), base[4], base[5])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 3, seed + 1):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:3000], y[:3000]),
        "test": (tx, ty),
    }
