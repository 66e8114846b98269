"""A small Darknet: stages of residual blocks behind convolutions of stride 2.

Source: https://github.com/yakhyo/darknet-pytorch/issues/2
Cause: forward() of the residual block adds its input two times: a block gives 2x + f(x), so that signal and gradient
double with each of them.
Fix: add it once.
New cause: wrong-wiring: a layer gets, or a block returns, something other than what the architecture says.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion

TRUTH = ("exploding-gradient", "wrong-wiring")


class Conv(nn.Module):
    def __init__(self, in_ch, out_ch, k=1, s=1):
        super().__init__()
        self.conv = nn.Conv2d(in_ch, out_ch, k, s, k // 2, bias=False)
        self.norm, self.act = nn.BatchNorm2d(out_ch), nn.LeakyReLU(0.1)

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))


class ResidualBlock(nn.Module):
    def __init__(self, ch, fixed):
        super().__init__()
        self.conv1, self.conv2, self.fixed = Conv(ch, ch // 2), Conv(ch // 2, ch, 3), fixed

    def forward(self, x):
        out = x + self.conv2(self.conv1(x))
        return out if self.fixed else out + x


class Darknet(nn.Module):
    def __init__(self, fixed, blocks=(1, 2, 8), classes=10):
        super().__init__()
        stages, ch = [Conv(1, 8, 3, 2)], 8
        for n in blocks:
            stages += [Conv(ch, 2 * ch, 3, 2), *(ResidualBlock(2 * ch, fixed) for _ in range(n))]
            ch *= 2
        self.features, self.fc = nn.Sequential(*stages), nn.Linear(ch, classes)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(5000, 1000)
    model = Darknet(fixed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 3, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    probe = x[:2000], y[:2000]
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": probe, "test": (tx, ty)}
