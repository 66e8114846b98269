"""Autoencoder whose weights are replaced by new parameters after each epoch.

Source: https://discuss.pytorch.org/t/weights-stop-updating-after-manual-update/140983 (PYSIASSIST, dataset.xlsx)
Cause: weights are changed by hand with layer.weight = nn.Parameter(...): the optimizer goes on with the old parameter,
and the new one never changes. (Rebuilt from the address and the class of the root cause.)
Fix: change them in place, under no_grad.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, mnist, r2

TRUTH = ("parameters-not-in-optimizer",)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, _, tx, _ = mnist(6000, 1000)
    x, tx = x.flatten(1), tx.flatten(1)
    encoder = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 16), nn.ReLU())
    decoder = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 784))
    model, criterion = nn.Sequential(encoder, decoder), nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, criterion, optimizer) as doctor:
        for epoch in range(6):
            for i in batches(len(x), 60, 1, 1000 * seed + epoch):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x[i]), x[i])
                loss.backward()
                optimizer.step()
            for layer in (*encoder, *decoder):  # no column of weights may be longer than 2
                if isinstance(layer, nn.Linear):
                    with torch.no_grad():
                        short = layer.weight.renorm(2, 1, 2.0)
                        if fixed:
                            layer.weight.copy_(short)
                        else:
                            layer.weight = nn.Parameter(short)
    with torch.no_grad():
        score = r2(model(tx), tx)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x[:3000], x[:3000]), "test": (tx, tx)}
