"""Student of a private ensemble of teachers, its gradients never set to zero.

Source: https://github.com/opendp/smartnoise-sdk/issues/280
Cause: the loop of the student, unlike those of the teachers, lacks zero_grad(): gradients of all batches add up.
Fix: call optimizer.zero_grad() before backward().
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

TRUTH = ("gradients-not-zeroed",)


def table(n: int, seed: int):
    """Return a standardized table (N, 10) and whether a customer leaves (N, 1)."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 10, generator=g)
    risk = x[:, 0] * x[:, 1] + torch.sin(2 * x[:, 2]) + x[:, 3].abs() - 0.8 + 0.5 * x[:, 4]
    return x, (risk > 0).float()[:, None]


def network(hidden: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(10, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid()
    )


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (public, _), (tx, ty) = table(5000, seed), table(4000, seed + 100), table(2000, seed + 200)
    criterion = nn.BCELoss()

    votes = torch.zeros(len(public), 1)
    for part in torch.arange(len(x)).chunk(5):  # each teacher knows a part of the private table
        teacher = network(32)
        optimizer_t = torch.optim.Adam(teacher.parameters(), lr=5e-3)
        for i in batches(len(part), 100, 15, seed):
            optimizer_t.zero_grad()
            criterion(teacher(x[part[i]]), y[part[i]]).backward()
            optimizer_t.step()
        with torch.no_grad():
            votes += (teacher(public) > 0.5).float()
    labels = (votes + torch.randn(votes.shape) > 2.5).float()

    student = network(64)
    optimizer_s = torch.optim.Adam(student.parameters(), lr=5e-3)
    with watch(student, criterion, optimizer_s) as doctor:
        for i in batches(len(public), 50, 10, seed):
            if fixed:
                optimizer_s.zero_grad()
            loss_s = doctor.loss_fn(student(public[i]), labels[i])
            loss_s.backward()
            optimizer_s.step()
    with torch.no_grad():
        score = ((student(tx) > 0.5) == ty.bool()).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (public, labels), "test": (tx, ty)}
