"""A CNN with LazyConv2d and LazyLinear, whose sizes a dry run fixes before the optimizer is made.

A careless tool could fail at parameters without a shape, or take the dry run for a step.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion


class LeNet(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.net = nn.Sequential(
            nn.LazyConv2d(8, kernel_size=5, padding=2),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.LazyConv2d(16, kernel_size=5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.LazyLinear(84),
            nn.Tanh(),
            nn.LazyLinear(classes),
        )

    def forward(self, x):
        return self.net(x)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(5000, 1000)
    model = LeNet()
    model(x[:1])
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 3, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:2000], y[:2000]),
        "test": (tx, ty),
    }
