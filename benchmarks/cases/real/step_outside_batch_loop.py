"""MNIST classifier whose optimizer steps once per epoch.

Source: https://github.com/DeepReinforcementLearning/DeepReinforcementLearningInAction/pull/13
Cause: optimizer.step() stands behind the loop over the batches: of all gradients of an epoch only the last is used.
Fix: indent step(), so that it follows each backward().
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, mnist

TRUTH = ("no-optimizer-step",)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(8000, 2000)
    x, tx = x.flatten(1), tx.flatten(1)
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10), nn.LogSoftmax(dim=1))
    lossfn = nn.NLLLoss()
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    with watch(model, lossfn, opt) as doctor:
        for epoch in range(8):
            for rid in batches(len(x), 100, 1, 1000 * seed + epoch):
                pred = model(x[rid])
                loss = doctor.loss_fn(pred, y[rid])
                losses.append(loss.item())
                opt.zero_grad()
                loss.backward()
                if fixed:
                    opt.step()
            if not fixed:
                opt.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:4000], y[:4000]),
        "test": (tx, ty),
    }
