"""Mean Teacher: 200 labels, many images without; the teacher is a moving average of the student, and is what is used.

A careless tool could take the second model, which no optimizer holds, or the weight that starts at 0, for a fault.
"""

import copy
import math

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import accuracy, mnist


def noisy(x):
    dx, dy = torch.randint(-2, 3, (2,)).tolist()
    return torch.roll(x, (dx, dy), (2, 3)) + 0.15 * torch.randn_like(x)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(6000, 1000)
    student = nn.Sequential(
        nn.Conv2d(1, 12, 5, 2), nn.ReLU(), nn.Conv2d(12, 24, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10)
    )
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    steps = 250
    with watch(student, nn.CrossEntropyLoss(), optimizer) as doctor:
        for step in range(steps):
            known, unknown = torch.randint(200, (32,)), torch.randint(200, len(x), (96,))
            images = x[torch.cat([known, unknown])]
            outputs, wanted = student(noisy(images)), teacher(noisy(images))
            weight = 10 * math.exp(-5 * (1 - min(1, step / 100)) ** 2)
            apart = F.mse_loss(outputs.softmax(1), wanted.softmax(1))
            loss = doctor.loss_fn(outputs[:32], y[known]) + weight * apart
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay = min(1 - 1 / (step + 1), 0.97)
            for slow, p in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.mul_(decay).add_(p.detach(), alpha=1 - decay)
    score = accuracy(teacher, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy, 200 labels",
        "doctor": doctor,
        "probe": (x[:200], y[:200]),
        "test": (tx, ty),
    }
