"""Sharpness-aware minimization by an optimizer class with a first and a second step, as it is often published.

A careless tool could take two backward passes for one step, or weights that move up and back, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base, rho=0.05, **options):
        super().__init__(params, dict(rho=rho, **options))
        self.base = base(self.param_groups, **options)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def first_step(self):
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        scale = self.param_groups[0]["rho"] / (torch.stack([p.grad.norm() for p in params]).norm() + 1e-12)
        for p in params:
            self.state[p]["move"] = p.grad * scale
            p.add_(self.state[p]["move"])
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(self.state[p]["move"])
        self.base.step()
        self.zero_grad()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(6000, 1000)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 16, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.05, lr=0.05, momentum=0.9)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            doctor.loss_fn(model(x[i]), y[i]).backward()
            optimizer.first_step()
            doctor.loss_fn(model(x[i]), y[i]).backward()
            optimizer.second_step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:3000], y[:3000]),
        "test": (tx, ty),
    }
