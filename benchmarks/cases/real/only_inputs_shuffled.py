"""Inputs that are shuffled without their targets.

Source: https://github.com/DrexelChatbotGroup/DrexelChatbot/issues/15 (also mlcommons/GaNDLF#870)
Cause: before training, the rows of the inputs are put in random order, and those of the targets are not.
Fix: use the same order for both.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("data-mispaired",)


def bikes(n, seed):
    """Return hour, temperature, wind, rain, holiday (N, 5), standardized, and the log of the bikes lent (N, 1)."""
    g = torch.Generator().manual_seed(seed)
    hour, temperature = 24 * torch.rand(n, generator=g), 15 + 8 * torch.randn(n, generator=g)
    wind, rain = 5 * torch.rand(n, generator=g), (torch.rand(n, generator=g) < 0.2).float()
    holiday = (torch.rand(n, generator=g) < 0.1).float()
    rush = torch.exp(-(((hour - 8) / 2) ** 2)) + torch.exp(-(((hour - 17) / 3) ** 2))
    lent = 3 + (1 - 0.7 * holiday) * rush + 0.04 * temperature - 0.1 * wind - rain + 0.2 * torch.randn(n, generator=g)
    table = torch.stack([hour, temperature, wind, rain, holiday], 1)
    return (table - table.mean(0)) / table.std(0), lent[:, None]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = bikes(3000, 1), bikes(1000, 2)
    order = torch.randperm(len(x))
    x, y = x[order], y[order] if fixed else y
    model = nn.Sequential(
        nn.Linear(5, 64),
        nn.ELU(),
        nn.Linear(64, 64),
        nn.ELU(),
        nn.Linear(64, 1),
    )
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    with watch(model, nn.HuberLoss(), optimizer) as doctor:
        for i in batches(len(x), 50, 12, seed, shuffle=False):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
