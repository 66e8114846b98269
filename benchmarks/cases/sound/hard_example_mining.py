"""Online hard example mining: a pass without gradients chooses the quarter of the batch with the largest losses.

A careless tool could take the choosing pass in training mode for an evaluation, or its high losses for the loss.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import accuracy, batches, mnist


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(8000, 1000)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 16, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 128, 6, seed):
            with torch.no_grad():
                losses = F.cross_entropy(model(x[i]), y[i], reduction="none")
            hard = i[losses.topk(32).indices]
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[hard]), y[hard])
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
