"""Odd or even digits by one logit, squeezed to (B,) as are the targets; accuracy by sign.

A careless tool could take one output for two classes, or outputs of one dimension, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, mnist


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 16, 5, 2), nn.ReLU(), nn.Flatten())
        self.fc = nn.Sequential(nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.fc(self.conv(x)).squeeze(1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(8000, 1000)
    y, ty = (y % 2).float(), (ty % 2).float()
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.BCEWithLogitsLoss(), optimizer) as doctor:
        for epoch in range(3):
            running = 0.0
            for i in batches(len(x), 64, 1, seed + epoch):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x[i]), y[i])
                loss.backward()
                optimizer.step()
                running += loss.item() * len(i)
    with torch.no_grad():
        score = ((model(tx) > 0).float() == ty).float().mean().item()
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:3000], y[:3000]),
        "test": (tx, ty),
    }
