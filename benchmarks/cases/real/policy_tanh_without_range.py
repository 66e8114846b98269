"""Policy that imitates torques from -2 to 2 and ends with tanh.

Source: https://github.com/thu-ml/SRPO/issues/3
Cause: tanh gives -1 to 1 only, the actions go to -2 and 2.
Fix: scale the output to the range of the actions.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("activation-on-output",)


class Policy(nn.Module):
    def __init__(self, limit: float, width: int = 64):
        super().__init__()
        layers = [nn.Linear(3, width), nn.Mish(), nn.Linear(width, width), nn.Mish(), nn.Linear(width, 1), nn.Tanh()]
        self.net, self.limit = nn.Sequential(*layers), limit

    def forward(self, state):
        return self.limit * self.net(state)


def demonstrations(n: int, seed: int):
    """Return states of a pendulum (cosine, sine, speed) and the torque (N, 1) of a controller that swings it up."""
    g = torch.Generator().manual_seed(seed)
    angle, speed = 6.2832 * torch.rand(n, generator=g) - 3.1416, 4 * torch.randn(n, generator=g).clamp(-2, 2)
    energy = 0.5 * speed**2 + 10 * (angle.cos() - 1)
    torque = torch.where(angle.abs() < 0.6, -12 * angle - 3 * speed, -0.3 * energy * speed).clamp(-2, 2)
    return torch.stack([angle.cos(), angle.sin(), speed / 4], 1), torque[:, None]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = demonstrations(10_000, 1)
    tx, ty = demonstrations(2000, 2)
    model, loss_fn = Policy(limit=2.0 if fixed else 1.0), nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 100, 6, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
