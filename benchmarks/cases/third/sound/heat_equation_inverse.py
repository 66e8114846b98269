"""Heat in a rod, with an unknown conductivity: a network fits 300 noisy readings and the equation u_t = k u_xx at
random points, and log k is one more parameter, with a rate of its own.

A careless tool could take a parameter of one number, derivatives by autograd in the loop, or points drawn anew for each
step for a fault.
"""

import math

import torch
from torch import nn


class Rod(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1)
        )
        self.log_k = nn.Parameter(torch.tensor(-1.0))

    def forward(self, points):
        return self.net(2 * points - 1)

    def residual(self, points):
        points = points.requires_grad_(True)
        u = self(points)
        (first,) = torch.autograd.grad(u.sum(), points, create_graph=True)
        (second,) = torch.autograd.grad(first[:, 0].sum(), points, create_graph=True)
        return first[:, 1:] - self.log_k.exp() * second[:, :1]


def temperature(points, k):
    x, t = points[:, :1], points[:, 1:]
    slow = torch.sin(math.pi * x) * torch.exp(-k * math.pi**2 * t)
    return slow + 0.5 * torch.sin(2 * math.pi * x) * torch.exp(-4 * k * math.pi**2 * t)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    true_k = 0.1
    points = torch.rand(300, 2)
    readings = temperature(points, true_k) + 0.02 * torch.randn(300, 1)
    test_points = torch.rand(500, 2)
    test_values = temperature(test_points, true_k)

    model = Rod()
    mse = nn.MSELoss()
    optimizer = torch.optim.Adam(
        [{"params": model.net.parameters(), "lr": 5e-3}, {"params": [model.log_k], "lr": 1e-2}], betas=(0.9, 0.99)
    )
    steps = 1800
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    history = []
    with watch(model, mse, optimizer) as doctor:
        for step in range(steps):
            optimizer.zero_grad()
            loss_data = doctor.loss_fn(model(points), readings)
            loss_equation = model.residual(torch.rand(128, 2)).square().mean()
            loss = loss_data + 0.1 * loss_equation
            loss.backward()
            optimizer.step()
            scheduler.step()
            if step % 300 == 299:
                with torch.no_grad():
                    error = mse(model(test_points), test_values) / test_values.var()
                history.append((1 - error.item(), model.log_k.exp().item()))
    score, k = history[-1]
    return {
        "score": score,
        "metric": f"test R2 (k is {k:.3f}, in truth {true_k})",
        "doctor": doctor,
        "probe": (points.detach(), readings),
        "test": (test_points, test_values),
    }
