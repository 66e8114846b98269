"""Training begins with Adam and goes on with SGD for the last epochs (SWATS); both optimizers hold all weights.

A careless tool could take the first optimizer, which no longer steps, for a step that is missing.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(5000, 1000)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 16, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for epoch in range(6):
            if epoch == 3:
                optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
            for i in batches(len(x), 64, 1, seed + epoch):
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
