"""Activations and weights of 1 and -1 by an own autograd.Function: gradients go straight through where |x| < 1.

A careless tool could take the sign, which has no slope, for a cut graph, or the two values for saturation.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import accuracy, batches, mnist


class SignSTE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * (x.abs() <= 1)


class Binarize(nn.Module):
    def forward(self, x):
        return SignSTE.apply(x)


class BinaryLinear(nn.Linear):
    def forward(self, x):
        return F.linear(x, SignSTE.apply(self.weight)) / self.in_features**0.5


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(8000, 1000)
    x, tx = 2 * x - 1, 2 * tx - 1
    model = nn.Sequential(
        nn.Flatten(),
        BinaryLinear(784, 256, bias=False),
        nn.BatchNorm1d(256),
        Binarize(),
        BinaryLinear(256, 256, bias=False),
        nn.BatchNorm1d(256),
        Binarize(),
        nn.Linear(256, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for epoch in range(5):
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * 0.6**epoch
            model.train()
            for i in batches(len(x), 100, 1, 10 * seed + epoch):
                loss = doctor.loss_fn(model(x[i]), y[i])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                # latent weights beyond 1 would get no gradient any more
                with torch.no_grad():
                    for layer in model:
                        if isinstance(layer, BinaryLinear):
                            layer.weight.clamp_(-1, 1)
    return {
        "score": accuracy(model, tx, ty),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:3000], y[:3000]),
        "test": (tx, ty),
    }
