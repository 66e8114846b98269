"""Attentional factorization machine that drops units in evaluation, too.

Source: https://github.com/rixwew/pytorch-fm/issues/21
Cause: F.dropout is called without training=self.training; its default is True, so model.eval() does not stop it.
Fix: F.dropout(..., training=self.training).
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches

TRUTH = ("not-in-eval-mode",)
FIELDS, VALUES = 6, 8


def clicks(n: int, seed: int):
    """Return the fields of an advertisement (N, F) and whether it was clicked, which depends on pairs of fields."""
    taste = torch.randn(FIELDS, VALUES, 3, generator=torch.Generator().manual_seed(7))
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(VALUES, (n, FIELDS), generator=g)
    v = taste[torch.arange(FIELDS), x]
    y = (v[:, 0] * v[:, 1]).sum(1) + (v[:, 2] * v[:, 3]).sum(1) + (v[:, 4] * v[:, 5]).sum(1)
    return x + VALUES * torch.arange(FIELDS), (y > 0).float()


class AFM(nn.Module):
    def __init__(self, fixed: bool, dim: int = 16):
        super().__init__()
        self.fixed = fixed
        self.embedding = nn.Embedding(FIELDS * VALUES, dim)
        self.linear = nn.Embedding(FIELDS * VALUES, 1)
        self.attention, self.projection = nn.Linear(dim, dim), nn.Linear(dim, 1)
        self.fc = nn.Linear(dim, 1)
        self.row, self.col = torch.triu_indices(FIELDS, FIELDS, 1)

    def dropout(self, x, p: float):
        return F.dropout(x, p=p, training=self.training) if self.fixed else F.dropout(x, p=p)

    def forward(self, x):
        v = self.embedding(x)
        product = v[:, self.row] * v[:, self.col]
        scores = torch.softmax(self.projection(torch.relu(self.attention(product))), dim=1)
        scores = self.dropout(scores, 0.3)
        out = self.dropout((scores * product).sum(1), 0.3)
        return (self.linear(x).sum(1) + self.fc(out)).squeeze(1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = clicks(8000, seed), clicks(2000, seed + 100)
    model, criterion = AFM(fixed), nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with watch(model, criterion, optimizer) as doctor:
        model.train()
        for i in batches(len(x), 100, 10, seed):
            loss = doctor.loss_fn(model(x[i]), y[i])
            model.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            score = ((model(tx) > 0) == ty.bool()).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
