"""Plain SGD on a loss that is summed over a large batch.

Source: https://github.com/jax-ml/jax/pull/3113
Cause: the loss is the sum over the batch, so that the gradient grows with the batch; at 256 images it explodes.
Fix: the mean.
"""

from itertools import pairwise

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, mnist

TRUTH = ("loss-summed", "lr-too-high")


def mlp(sizes: list[int]):
    layers = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(12_000, 2000)
    x, tx = x.flatten(1), tx.flatten(1)
    model = mlp([784, 128, 128, 10])
    loss_fn = nn.CrossEntropyLoss(reduction="mean" if fixed else "sum")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 256, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:4000], y[:4000]),
        "test": (tx, ty),
    }
