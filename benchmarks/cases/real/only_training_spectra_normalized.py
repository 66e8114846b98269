"""Spectra that are normalized for training, but not for the test.

Source: https://github.com/JeasunLok/ResNet-pytorch/issues/1 (also nttcslab/byol-a#5, leeyeehoo/CSRNet-pytorch#25)
Cause: each band of the training set is normalized, the test set is used as it was measured. Training accuracy is good,
test accuracy is close to chance.
Fix: normalize the test set with the numbers of the training set.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import accuracy, batches

TRUTH = ("train-test-mismatch",)
KINDS, BANDS = 6, 64


def spectra(n, seed):
    """Return the light that soils and plants reflect (N, 1, BANDS), in counts of the sensor, and their kind."""
    g = torch.Generator().manual_seed(0)
    band = torch.linspace(0, 1, BANDS)
    center, depth = torch.rand(KINDS, 3, 1, generator=g), 0.04 * torch.rand(KINDS, 3, 1, generator=g)
    curves = 0.3 + 0.4 * band - (depth * torch.exp(-(((band - center) / 0.08) ** 2))).sum(1)
    g.manual_seed(seed)
    kind = torch.randint(0, KINDS, (n,), generator=g)
    bright = 1 + 0.1 * torch.randn(n, 1, generator=g)
    reflected = bright * curves[kind] + 0.01 * torch.randn(n, BANDS, generator=g)
    return 1000 * reflected[:, None], kind


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first, self.second = (nn.Conv1d(channels, channels, 5, padding=2, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(2))

    def forward(self, x):
        return F.relu(x + self.norms[1](self.second(F.relu(self.norms[0](self.first(x))))))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = spectra(3000, 1), spectra(1000, 2)
    mean, std = x.mean(0), x.std(0)
    x = (x - mean) / std
    if fixed:
        tx = (tx - mean) / std
    stem = (nn.Conv1d(1, 16, 5, 2, 2), nn.ReLU())
    head = (nn.AdaptiveAvgPool1d(8), nn.Flatten(), nn.Linear(128, KINDS))
    model = nn.Sequential(*stem, Residual(16), Residual(16), *head)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for epoch in range(5):
            for i in batches(len(x), 60, 1, seed + epoch):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x[i]), y[i])
                loss.backward()
                optimizer.step()
            score = accuracy(model, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
