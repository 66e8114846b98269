"""A residual network on clothes: one-cycle rate up to 0.1, Nesterov momentum, mirrored images, no bias.

A careless tool could take the high rate in the middle, the rate near 0 at the end, or the last norms at 0 for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion


class Block(nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b)
        self.conv2, self.bn2 = nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b)
        self.short = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b))
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x):
        h = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (h + self.short(x)).relu()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(5000, 1000)
    stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)]
    model = nn.Sequential(stem, Block(8, 16, 2), Block(16, 32, 2), *head)
    steps = 4 * (len(x) // 64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            images = torch.where(torch.rand(64, 1, 1, 1) < 0.5, x[i].flip(3), x[i])
            loss = doctor.loss_fn(model(images), y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:1500], y[:1500]),
        "test": (tx, ty),
    }
