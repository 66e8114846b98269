"""Distillation by kl_div of the student's probabilities instead of their logarithms.

Source: https://github.com/microsoft/ProDA/issues/20
Cause: kl_div expects log-probabilities first: of probabilities p it makes -t p, and the student learns to bet all on
    the teacher's favorite.
Fix: log_softmax for the student.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, cifar

TRUTH = ("wrong-loss", "softmax-before-loss")


def network(width: int):
    return nn.Sequential(
        *(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()),
        *(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32 * width, 10)),
    )


class Student(nn.Module):
    def __init__(self, log: bool):
        super().__init__()
        self.net, self.log = network(8), log

    def forward(self, x):
        return F.log_softmax(self.net(x), dim=1) if self.log else F.softmax(self.net(x), dim=1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = cifar(4000, 1000)
    teacher = network(16)
    first = torch.optim.Adam(teacher.parameters(), lr=2e-3)
    for i in batches(len(x), 64, 2):
        first.zero_grad()
        F.cross_entropy(teacher(x[i]), y[i]).backward()
        first.step()
    teacher.eval()
    with torch.no_grad():
        soft, test_soft = F.softmax(teacher(x), dim=1), F.softmax(teacher(tx), dim=1)

    model, loss_fn = Student(log=fixed), nn.KLDivLoss(reduction="batchmean")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 64, 3, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), soft[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        chances = model(tx).exp() if fixed else model(tx)
    score = chances[torch.arange(len(ty)), ty].clamp(min=1e-6).log().mean().item()
    return {
        "score": score,
        "metric": "test log-likelihood",
        "doctor": doctor,
        "probe": (x, soft),
        "test": (tx, test_soft),
    }
