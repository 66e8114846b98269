"""Logistic regression of digits by L-BFGS with a closure, all data at once, L2 in the closure's loss.

A careless tool could take several passes of a step, the same data in each, or no hidden layer for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, mnist


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(3000, 1000)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    optimizer = torch.optim.LBFGS(model.parameters(), lr=1, max_iter=10, history_size=10, line_search_fn="strong_wolfe")
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:

        def closure():
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x), y) + 2e-3 * model[1].weight.square().sum()
            loss.backward()
            return loss

        for _ in range(8):
            optimizer.step(closure)
    score = accuracy(model, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
