"""Linear regression with SGD, as a first lesson: one linear layer, standardized columns, R2 against least squares.

A careless tool could miss an activation, though the data are linear.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x = torch.randn(2500, 10) @ torch.randn(10, 10) * 3 + 5
    x = (x - x[:2000].mean(0)) / x[:2000].std(0)
    y = x @ torch.linspace(-1, 1, 10)[:, None] + 0.7 + 0.3 * torch.randn(2500, 1)
    x, tx, y, ty = x[:2000], x[2000:], y[:2000], y[2000:]
    model = nn.Linear(10, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for epoch in range(8):
            for i in batches(len(x), 32, 1, seed + epoch):
                prediction = model(x[i])
                loss = doctor.loss_fn(prediction, y[i])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
