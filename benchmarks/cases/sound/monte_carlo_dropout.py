"""MC dropout (Gal, Ghahramani 2016): dropout stays on in the evaluation on purpose, 20 passes are averaged.

A careless tool could take the evaluation in training mode for a forgotten model.eval().
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2


def sample(n):
    x = torch.randn(n, 6)
    return x, (x[:, :1] * x[:, 1:2] + torch.sin(2 * x[:, 2:3]) + 0.1 * torch.randn(n, 1)) / 1.2


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = sample(4000), sample(1000)
    model = nn.Sequential(
        nn.Linear(6, 128),
        nn.ReLU(),
        nn.Dropout(0.05),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Dropout(0.05),
        nn.Linear(128, 1),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-6)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 9, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            passes = torch.stack([model(tx) for _ in range(20)])
    mean, spread = passes.mean(0), passes.std(0)
    assert spread.min() > 0
    return {"score": r2(mean, ty), "metric": "R2 of the mean", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
