"""Inception network in which the output of the ReLUs is not used.

Source: https://github.com/Cadene/pretrained-models.pytorch/issues/79
Cause: each ReLU is called, but what it returns goes into a variable that nothing reads; the blocks are linear.
Fix: pass on the output of the ReLU.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, cifar

TRUTH = ("no-nonlinearity",)


class Inception(nn.Module):
    def __init__(self, fixed: bool, a: int, b: int, stride: int = 1):
        super().__init__()
        self.fixed = fixed
        self.b1 = nn.Conv2d(a, b // 2, 1, stride, bias=False)
        self.b1_bn, self.relu_b1 = nn.BatchNorm2d(b // 2), nn.ReLU()
        self.b3 = nn.Conv2d(a, b // 2, 3, stride, 1, bias=False)
        self.b3_bn, self.relu_b3 = nn.BatchNorm2d(b // 2), nn.ReLU()

    def forward(self, x):
        b1_bn_out = self.b1_bn(self.b1(x))
        relu_b1_out = self.relu_b1(b1_bn_out)
        b3_bn_out = self.b3_bn(self.b3(x))
        relu_b3_out = self.relu_b3(b3_bn_out)
        if self.fixed:
            return torch.cat([relu_b1_out, relu_b3_out], 1)
        return torch.cat([b1_bn_out, b3_bn_out], 1)


class BNInception(nn.Module):
    def __init__(self, fixed: bool):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2),
            Inception(fixed, 16, 32, 2),
            Inception(fixed, 32, 32),
            Inception(fixed, 32, 48, 2),
            nn.AvgPool2d(2),
        )
        self.last_linear = nn.Linear(48 * 4, 10)

    def forward(self, x):
        return self.last_linear(self.features(x).flatten(1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = cifar(5000, 1000)
    model, criterion = BNInception(fixed), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    return {
        "score": accuracy(model, tx, ty),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
