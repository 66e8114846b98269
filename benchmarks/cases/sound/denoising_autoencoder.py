"""A network removes noise from digits: new noise in each batch, the clean images are the targets.

A careless tool could take inputs that are never twice the same, and noisier than the test's, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, mnist, r2


def corrupt(x):
    return x + 0.5 * torch.randn_like(x)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, _, tx, _ = mnist(6000, 1000)
    x, tx = x.flatten(1), tx.flatten(1)
    model = nn.Sequential(
        nn.Linear(784, 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 128),
        nn.ReLU(),
        nn.Linear(128, 784),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 6, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(corrupt(x[i])), x[i])
            loss.backward()
            optimizer.step()
    noisy = corrupt(tx)
    with torch.no_grad():
        score = r2(model(noisy), tx)
    return {
        "score": score,
        "metric": "test R2",
        "doctor": doctor,
        "probe": (corrupt(x[:3000]), x[:3000]),
        "test": (noisy, tx),
    }
