"""A regression by the Huber loss; the targets scatter with heavy tails (Student, 2 degrees of freedom), as prices do.

A careless tool could take a few targets far away, or the batches in which the loss jumps, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2


def prices(n, scatter):
    x = torch.randn(n, 8)
    y = torch.tanh(x[:, 0] + x[:, 1]) * 2 + x[:, 2] * x[:, 3]
    return x, y + scatter * torch.distributions.StudentT(2.0).sample((n,))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, x):
        return self.layers(x).squeeze(-1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = prices(5000, 0.3), prices(1000, 0.0)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.HuberLoss(delta=0.5), optimizer) as doctor:
        for i in batches(len(x), 64, 7, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {
        "score": score,
        "metric": "R2 of the part without scatter",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
