"""An MLP of 800 digits with dropout of 0.5 after wide layers and 0.2 of the inputs, evaluated after each epoch.

A careless tool could take a training loss far above the test's for a fault; dropout alone does that.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, mnist


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(800, 1000)
    model = nn.Sequential(
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(784, 256),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(256, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for epoch in range(20):
            model.train()
            for i in batches(len(x), 40, 1, seed + epoch):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x[i]), y[i])
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                doctor.loss_fn(model(tx), ty).item()
    score = accuracy(model, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
