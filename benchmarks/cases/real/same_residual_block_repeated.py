"""Residual network that consists of one block, ten times the same.

Source: https://github.com/deep-learning-with-pytorch/dlwpt-code/issues/89 (also zalandoresearch/pytorch-vq-vae#2)
Cause: n_blocks * [ResBlock()] repeats a reference: all places share weights and batch norm, whose running averages
then fit none of them when the network is evaluated.
Fix: [ResBlock() for _ in range(n_blocks)].
New cause: module-shared: one module stands in several places that need weights or running averages of their own.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, cifar

TRUTH = ("module-shared",)


class ResBlock(nn.Module):
    def __init__(self, n_chans: int):
        super().__init__()
        self.conv = nn.Conv2d(n_chans, n_chans, 3, padding=1, bias=False)
        self.batch_norm = nn.BatchNorm2d(n_chans)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.constant_(self.batch_norm.weight, 0.5)

    def forward(self, x):
        return torch.relu(self.batch_norm(self.conv(x))) + x


class NetResDeep(nn.Module):
    def __init__(self, fixed: bool, n_chans: int = 16, n_blocks: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, n_chans, 3, padding=1)
        self.pool = nn.MaxPool2d(4)
        blocks = [ResBlock(n_chans) for _ in range(n_blocks)] if fixed else n_blocks * [ResBlock(n_chans)]
        self.resblocks = nn.Sequential(*blocks)
        self.fc = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * n_chans, 32), nn.ReLU())
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        out = self.pool(torch.relu(self.conv1(x)))
        return self.fc2(self.fc(self.resblocks(out)))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = cifar(3000, 1000)
    model, loss_fn = NetResDeep(fixed), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=3e-2)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            loss = doctor.loss_fn(model(x[i]), y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {
        "score": accuracy(model, tx, ty),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
