"""Patch transformer whose rate is lowered while the accuracy rises.

Source: https://github.com/md-mohaiminul/ViS4mer/issues/4
Cause: ReduceLROnPlateau gets the validation accuracy but keeps its default mode "min": every better accuracy counts
as a bad epoch, and the rate is cut again and again.
Fix: mode="max".
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion

TRUTH = ("schedule-collapsed",)


class PatchTransformer(nn.Module):
    def __init__(self, dim: int = 48, patch: int = 7):
        super().__init__()
        self.embed = nn.Conv2d(1, dim, patch, stride=patch)
        self.position = nn.Parameter(torch.randn(1, 16, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(dim, 4, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.encoder(tokens).mean(1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(3000, 1000)
    x, y, vx, vy = x[:2000], y[:2000], x[2000:], y[2000:]
    model, criterion = PatchTransformer(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    mode = "max" if fixed else "min"
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode, factor=0.2, patience=1)
    with watch(model, criterion, optimizer) as doctor:
        for epoch in range(14):
            model.train()
            for i in batches(len(x), 50, 1, 1000 * seed + epoch):
                loss = doctor.loss_fn(model(x[i]), y[i])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            scheduler.step(accuracy(model, vx, vy))
    return {
        "score": accuracy(model, tx, ty),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
