"""Deep network of residual blocks without the residual.

Source: https://github.com/yilundu/improved_contrastive_divergence/issues/7
Cause: a block keeps its input in x_orig but does not add it to its output (the line was lost in tidying up): 14 layers
without a way around, through which hardly any gradient passes.
Fix: return x_orig + x.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import accuracy, batches, fashion

TRUTH = ("vanishing-gradient",)


class CondResBlock(nn.Module):
    def __init__(self, fixed: bool, filters: int):
        super().__init__()
        self.fixed = fixed
        self.conv1 = nn.Conv2d(filters, filters, 3, padding=1)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1)

    def forward(self, x):
        x_orig = x
        x = F.silu(self.conv1(x))
        x = F.silu(self.conv2(x))
        return x_orig + x if self.fixed else x


class Net(nn.Module):
    def __init__(self, fixed: bool, filters: int = 16):
        super().__init__()
        self.stem = nn.Conv2d(1, filters, 4, stride=4)
        self.blocks = nn.Sequential(*[CondResBlock(fixed, filters) for _ in range(7)])
        self.head = nn.Linear(filters * 49, 10)

    def forward(self, x):
        return self.head(self.blocks(F.silu(self.stem(x))).flatten(1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(4000, 1000)
    model, criterion = Net(fixed), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(x), 50, 3, seed):
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
