"""Capsule network whose transformations start too small.

Source: https://github.com/ageron/handson-ml/pull/176 (TensorFlow; the same in PyTorch)
Cause: the matrices from the primary to the digit capsules are drawn with a standard deviation of 0.01. The predictions
are so short that squashing them, which takes their square, leaves almost nothing, and for many steps the loss stands.
Fix: a standard deviation of 0.1.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, mnist

TRUTH = ("init-too-small",)


def squash(s, dim: int = -1):
    square = s.square().sum(dim, keepdim=True)
    return square / (1 + square) * s / (square + 1e-7).sqrt()


class CapsNet(nn.Module):
    def __init__(self, init_sigma: float, maps: int = 6, dims: int = 8):
        super().__init__()
        self.dims = dims
        self.conv1, self.conv2 = nn.Conv2d(1, 24, 9, 2), nn.Conv2d(24, maps * dims, 5, 2)
        self.W = nn.Parameter(init_sigma * torch.randn(10, maps * 9, 12, dims))

    def forward(self, x):
        h = F.relu(self.conv2(F.relu(self.conv1(x))))
        primary = squash(h.view(len(x), -1, self.dims, 9).transpose(2, 3).reshape(len(x), -1, self.dims))
        predicted = torch.einsum("kiod,bid->bkio", self.W, primary)
        routing = torch.zeros(predicted.shape[:3])
        for k in range(2):
            caps = squash((routing.softmax(1)[..., None] * predicted).sum(2))
            if k == 0:
                routing = routing + (predicted * caps[:, :, None]).sum(3)
        return (caps.square().sum(2) + 1e-7).sqrt()


def margin_loss(lengths, labels):
    wanted = F.one_hot(labels, 10)
    present, absent = F.relu(0.9 - lengths).square(), F.relu(lengths - 0.1).square()
    return (wanted * present + 0.5 * (1 - wanted) * absent).sum(1).mean()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(3200, 1000)
    model = CapsNet(init_sigma=0.1 if fixed else 0.01)
    optimizer = torch.optim.Adam(model.parameters())
    with watch(model, margin_loss, optimizer) as doctor:
        for i in batches(len(x), 16, 1, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = (model(tx).argmax(1) == ty).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
