"""Dropout written by hand, with a flag for training that is never changed.

Source: https://github.com/d2l-ai/d2l-en/issues/1093 (also Coderx7/SimpleNet#2)
Cause: the network asks a variable of its own, is_training, whether to drop units. It is True for good, so that
model.eval() does nothing and the test runs with dropout.
Fix: ask self.training, which nn.Module keeps.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion

TRUTH = ("not-in-eval-mode",)


def dropout_layer(x, p):
    kept = (torch.rand(x.shape) > p).float()
    return kept * x / (1 - p)


class Net(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.fixed, self.is_training = fixed, True
        self.hidden1, self.hidden2, self.out = nn.Linear(784, 48), nn.Linear(48, 48), nn.Linear(48, 10)

    def forward(self, x):
        drop = self.training if self.fixed else self.is_training
        x = self.hidden1(x.flatten(1)).relu()
        if drop:
            x = dropout_layer(x, 0.5)
        x = self.hidden2(x).relu()
        if drop:
            x = dropout_layer(x, 0.5)
        return self.out(x)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(6000, 1000)
    model = Net(fixed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for epoch in range(6):
            for i in batches(len(x), 50, 1, seed + epoch):
                loss = doctor.loss_fn(model(x[i]), y[i])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            score = accuracy(model, tx, ty)
    probe = x[:3000], y[:3000]
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": probe, "test": (tx, ty)}
