"""CIFAR CNN with gradients summed over 16 small batches.

Source: https://github.com/fastai/fastai/pull/3040 (issue #3023)
Cause: the loss is not divided by the number of batches that are accumulated, so the gradient, and with it the step,
is 16 times too large.
Fix: divide the loss by the number of batches.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, cifar

TRUTH = ("lr-too-high", "loss-summed")
N_ACC = 16


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = cifar(5000, 1000)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 64, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    loss_func = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    with watch(model, loss_func, optimizer) as doctor:
        for k, i in enumerate(batches(len(x), 8, 3, seed), 1):
            loss = doctor.loss_fn(model(x[i]), y[i])
            (loss / N_ACC if fixed else loss).backward()
            if k % N_ACC == 0:
                optimizer.step()
                optimizer.zero_grad()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:3000], y[:3000]),
        "test": (tx, ty),
    }
