"""A network is the right side of a differential equation; Euler steps through it are compared with spirals seen.

A careless tool could take 20 passes of the same layers in one step, or weights set small at start, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import r2

MATRIX = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])


class Solver(nn.Module):
    def __init__(self, steps=20, dt=0.05):
        super().__init__()
        self.net, self.steps, self.dt = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2)), steps, dt
        for layer in (self.net[0], self.net[2]):
            nn.init.normal_(layer.weight, std=0.1)
            nn.init.zeros_(layer.bias)

    def forward(self, y):
        path = []
        for _ in range(self.steps):
            y = y + self.dt * self.net(y**3)
            path.append(y)
        return torch.stack(path, 1)


def spirals(n, fine=10):
    y, path = torch.rand(n, 2) * 3 - 1.5, []
    start = y
    for _ in range(20):
        for _ in range(fine):
            y = y + 0.05 / fine * (y**3) @ MATRIX
        path.append(y)
    return start, torch.stack(path, 1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = spirals(1000), spirals(300)
    model = Solver()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=3e-3)
    with watch(model, nn.L1Loss(), optimizer) as doctor:
        for _ in range(250):
            i = torch.randint(len(x), (32,))
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "R2 of paths", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
