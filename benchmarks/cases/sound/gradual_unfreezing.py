"""Fine-tuning with gradual unfreezing (ULMFiT): head first, then one more layer in each epoch; one optimizer holds all.

A careless tool could take layers without gradients in the first epochs for layers that are left frozen.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import accuracy, batches, fashion, mnist


def network():
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 8, 5, 2), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 16, 5, 2), nn.ReLU(), nn.Flatten()),
        nn.Sequential(nn.Linear(256, 64), nn.ReLU()),
        nn.Linear(64, 10),
    )


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, *_ = fashion(4000)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for i in batches(len(x), 64, 2, seed):
        optimizer.zero_grad()
        F.cross_entropy(model(x[i]), y[i]).backward()
        optimizer.step()
    x, y, tx, ty = mnist(4000, 1000)
    model[-1] = nn.Linear(64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.requires_grad_(False)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for epoch in range(5):
            for layer in model[max(0, 3 - epoch) :]:
                layer.requires_grad_(True)
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
