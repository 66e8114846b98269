"""Batches of two images, for which the network has group norm in place of batch norm, with weight standardization.

A careless tool could take the tiny batch, or the loss that jumps from step to step, for a fault.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import accuracy, batches, mnist


class StandardizedConv(nn.Conv2d):
    def forward(self, x):
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(2000, 1000)
    model = nn.Sequential(
        StandardizedConv(1, 8, 5, 2),
        nn.GroupNorm(4, 8),
        nn.ReLU(),
        StandardizedConv(8, 16, 5, 2),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=2e-3, momentum=0.9)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 2, 1, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
