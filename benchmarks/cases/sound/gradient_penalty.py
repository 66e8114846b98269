"""A classifier whose inputs' gradients are penalized (double backpropagation), by autograd.grad with create_graph.

A careless tool could take two derivatives in one step, or inputs that need a gradient, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(6000, 1000)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 96), nn.Softplus(), nn.Linear(96, 96), nn.Softplus())
    model.append(nn.Linear(96, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 3, seed):
            images = x[i].requires_grad_()
            loss = doctor.loss_fn(model(images), y[i])
            (slope,) = torch.autograd.grad(loss * len(i), images, create_graph=True)
            loss = loss + 0.05 * slope.square().sum((1, 2, 3)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:3000], y[:3000]),
        "test": (tx, ty),
    }
