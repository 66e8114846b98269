"""A highway network of 15 layers (Srivastava et al. 2015): gates start almost shut, by a bias of -3, so inputs pass.

A careless tool could take gates near 0, which are meant, for saturated sigmoids, or their layers for dead ones.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from benchmarks.cases.data import mnist


class Highway(nn.Module):
    def __init__(self, size, num_layers, gate_bias=-3.0):
        super().__init__()
        self.nonlinear = nn.ModuleList([nn.Linear(size, size) for _ in range(num_layers)])
        self.gate = nn.ModuleList([nn.Linear(size, size) for _ in range(num_layers)])
        for layer in self.gate:
            nn.init.constant_(layer.bias, gate_bias)

    def forward(self, x):
        for transform, gate in zip(self.nonlinear, self.gate, strict=True):
            t = torch.sigmoid(gate(x))
            x = t * F.relu(transform(x)) + (1 - t) * x
        return x


class HighwayNet(nn.Module):
    def __init__(self, size=50, num_layers=15):
        super().__init__()
        self.inp = nn.Linear(784, size)
        self.highway = Highway(size, num_layers)
        self.out = nn.Linear(size, 10)

    def forward(self, x):
        return self.out(self.highway(F.relu(self.inp(x.flatten(1)))))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(8000, 1000)
    x, tx = (x - 0.1307) / 0.3081, (tx - 0.1307) / 0.3081
    model = HighwayNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.7)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _ in range(4):
            for idx in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x[idx]), y[idx])
                loss.backward()
                optimizer.step()
            scheduler.step()
    with torch.no_grad():
        score = (model(tx).argmax(1) == ty).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
