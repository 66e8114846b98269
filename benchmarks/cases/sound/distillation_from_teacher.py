"""A small student follows a frozen teacher (softened outputs, temperature 4) and the labels, 3 to 1.

A careless tool could take the teacher, which is not trained, for a frozen layer, or the softmaxes for one too many.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import accuracy, batches, fashion


def kd_loss(student, teacher, labels, t=4.0, alpha=0.75):
    soft = F.kl_div(F.log_softmax(student / t, 1), F.softmax(teacher / t, 1), reduction="batchmean") * t * t
    return alpha * soft + (1 - alpha) * F.cross_entropy(student, labels)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(6000, 1000)
    teacher = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(1152, 10)
    )
    optimizer = torch.optim.Adam(teacher.parameters(), lr=2e-3)
    for i in batches(len(x), 64, 3, seed):
        optimizer.zero_grad()
        F.cross_entropy(teacher(x[i]), y[i]).backward()
        optimizer.step()
    teacher.eval().requires_grad_(False)
    student = nn.Sequential(nn.Flatten(), nn.Linear(784, 24), nn.ReLU(), nn.Linear(24, 10))
    optimizer = torch.optim.Adam(student.parameters(), lr=2e-3)
    with watch(student, kd_loss, optimizer) as doctor:
        for i in batches(len(x), 64, 8, seed + 1):
            with torch.no_grad():
                wanted = teacher(x[i])
            loss = doctor.loss_fn(student(x[i]), wanted, y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    score = accuracy(student, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": None, "test": None}
