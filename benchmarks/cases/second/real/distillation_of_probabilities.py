"""Segmentation of a new domain, distilled from a teacher by a KL divergence of probabilities.

Source: https://github.com/microsoft/ProDA/issues/20 (also #43)
Cause: F.kl_div takes log-probabilities of the student and gets its softmax. What is left is linear in the
probabilities: the student is hardly pushed where it gives a class almost no probability.
Fix: student = F.log_softmax(...).
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches

TRUTH = ("wrong-loss",)

CLASSES = 5


def streets(n: int, seed: int, dark: bool):
    """Return pictures (N, 3, 24, 24) of road, walls, sky, poles and signs, and the class of each pixel."""
    g = torch.Generator().manual_seed(seed)
    label = torch.ones(n, 24, 24, dtype=torch.long)
    color = torch.tensor([[0.3, 0.3, 0.3], [0.6, 0.4, 0.3], [0.5, 0.7, 1.0], [0.2, 0.5, 0.2], [0.9, 0.8, 0.1]])
    for k in range(n):
        horizon, roof = (int(torch.randint(a, b, (), generator=g)) for a, b in ((14, 19), (4, 9)))
        label[k, horizon:] = 0
        label[k, :roof] = 2
        for _ in range(2):
            col, top = int(torch.randint(1, 22, (), generator=g)), int(torch.randint(5, 10, (), generator=g))
            label[k, top : horizon + 2, col] = 3
            label[k, top : top + 2, col - 1 : col + 2] = 4
    x = color[label].permute(0, 3, 1, 2)
    if dark:
        x = 0.6 * x + torch.tensor([0.0, 0.0, 0.12])[:, None, None]
    return x + 0.12 * torch.randn(x.shape, generator=g), label


class Segmenter(nn.Module):
    def __init__(self, width: int = 12):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
        self.out = nn.Conv2d(2 * width, CLASSES, 3, padding=1)

    def forward(self, x):
        h = self.stem(x - 0.5)
        return self.out(torch.cat([h, F.interpolate(F.relu(self.down(h)), scale_factor=2.0)], 1))


def mean_iou(guess, label):
    ious = [((guess == c) & (label == c)).sum() / ((guess == c) | (label == c)).sum().clamp(min=1) for c in range(5)]
    return torch.stack(ious).mean().item()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (sx, sy), (x, _), (tx, ty) = streets(400, 1, False), streets(500, 2, True), streets(200, 3, True)
    teacher = Segmenter(16)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=5e-3)
    for i in batches(len(sx), 10, 6, seed):  # stage 1: with labels of the day, brightness at random
        bright = 0.5 + 0.6 * torch.rand(len(i), 1, 1, 1)
        optimizer.zero_grad()
        F.cross_entropy(teacher(sx[i] * bright), sy[i]).backward()
        optimizer.step()
    teacher.requires_grad_(False)

    def loss_kd(outputs, images):
        target = F.softmax(teacher(images), dim=1)
        student = F.log_softmax(outputs, dim=1) if fixed else F.softmax(outputs, dim=1)
        return F.kl_div(student, target, reduction="none").mean()

    model = Segmenter()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, loss_kd, optimizer) as doctor:
        for i in batches(len(x), 10, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), x[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = mean_iou(model(tx).argmax(1), ty)
    return {"score": score, "metric": "test mean IoU", "doctor": doctor, "probe": None, "test": None}
