"""Batch norm with momentum 0 in a small Inception network.

Source: https://github.com/Cadene/pretrained-models.pytorch/issues/5 (a near relation: kazuto1011/deeplab-pytorch#79)
Cause: momentum=0, taken over from another library's convention, keeps the running averages of batch norm as they were
at the start. Training goes well, evaluation normalizes with numbers that have nothing to do with the data.
Fix: PyTorch's default momentum.
New cause: batchnorm-stats-stale: in evaluation, batch norm uses running averages that do not describe the data.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion

TRUTH = ("batchnorm-stats-stale",)


class Conv(nn.Sequential):
    def __init__(self, channels, out, size, momentum):
        convolution = nn.Conv2d(channels, out, size, padding=size // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(out, eps=1e-3, momentum=momentum), nn.ReLU())


class Inception(nn.Module):
    def __init__(self, channels, momentum):
        super().__init__()
        self.small = Conv(channels, 8, 1, momentum)
        self.medium = nn.Sequential(Conv(channels, 4, 1, momentum), Conv(4, 8, 3, momentum))
        self.pooled = nn.Sequential(nn.AvgPool2d(3, 1, 1), Conv(channels, 8, 1, momentum))

    def forward(self, x):
        return torch.cat([self.small(x), self.medium(x), self.pooled(x)], 1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(5120, 500)
    momentum = 0.1 if fixed else 0.0
    model = nn.Sequential(
        nn.AvgPool2d(2),
        Conv(1, 8, 3, momentum),
        Inception(8, momentum),
        nn.MaxPool2d(2),
        Inception(24, momentum),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 2, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
        score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:1000], y[:1000]),
        "test": (tx, ty),
    }
