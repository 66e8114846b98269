"""Distillation for anomaly detection, its accumulated gradients cleared at each small batch.

Source: https://github.com/tientrandinh/Revisiting-Reverse-Distillation/issues/12 (also gaozhihan/PreDiff#33)
Cause: zero_grad() is called for every small batch, while the optimizer steps after 16 of them: what 15 of 16 batches
would teach is thrown away.
Fix: zero_grad() only after a step.
New cause: accumulation-broken: gradients meant to be gathered over several batches are cleared before the step.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, mnist, r2

TRUTH = ("accumulation-broken",)
STEPS = 16


def conv(a: int, b: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, _, tx, _ = mnist(6000, 1000)
    teacher = nn.Sequential(conv(1, 16), conv(16, 16), nn.Flatten(), nn.Linear(784, 32)).requires_grad_(False)
    teacher(x[:500])  # its batch norm has seen images
    teacher.eval()
    y, ty = teacher(x), teacher(tx)
    y, ty = (y - y.mean(0)) / y.std(0), (ty - y.mean(0)) / y.std(0)

    student = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 32))
    criterion = nn.MSELoss()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.005, momentum=0.9)
    with watch(student, criterion, optimizer) as doctor:
        optimizer.zero_grad()
        for k, i in enumerate(batches(len(x), 4, 2, seed)):
            if not fixed:
                optimizer.zero_grad()
            loss = doctor.loss_fn(student(x[i]), y[i])
            loss.backward()
            if (k + 1) % STEPS == 0:
                optimizer.step()
                if fixed:
                    optimizer.zero_grad()
    with torch.no_grad():
        score = r2(student(tx), ty)
    return {
        "score": score,
        "metric": "test R2 of the features",
        "doctor": doctor,
        "probe": (x[:3000], y[:3000]),
        "test": (tx, ty),
    }
