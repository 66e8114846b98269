"""Quantized CNN whose convolutions are replaced after the optimizer was made.

Source: https://github.com/hustzxd/EfficientPyTorch/issues/1
Cause: the convolutions are replaced by quantized ones behind the line that makes the optimizer: it goes on with the
parameters of the old ones, and the new ones never change.
Fix: make the optimizer after the replacement.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion

TRUTH = ("parameters-not-in-optimizer",)


class Conv2dQ(nn.Conv2d):
    """A convolution with weights of 4 bits; the gradient passes straight through the rounding."""

    def forward(self, x):
        step = self.weight.detach().abs().amax((1, 2, 3), keepdim=True) / 7
        rounded = (self.weight / step).round() * step
        return self._conv_forward(x, self.weight + (rounded - self.weight).detach(), self.bias)


def replace_conv_recursively(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d):
            conv = Conv2dQ(child.in_channels, child.out_channels, child.kernel_size, child.stride, child.padding)
            setattr(module, name, conv)
        else:
            replace_conv_recursively(child)


def block(a: int, b: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.ReLU())


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(8000, 2000)
    model = nn.Sequential(
        block(1, 8), block(8, 16), block(16, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    replace_conv_recursively(model)
    if fixed:
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            loss = doctor.loss_fn(model(x[i]), y[i])
            optimizer.zero_grad()
            model.zero_grad()
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:4000], y[:4000]),
        "test": (tx, ty),
    }
