"""Recommender whose output block ends with sigmoid, trained with BCEWithLogitsLoss.

Source: https://github.com/NVIDIA-Merlin/models/pull/1175
Cause: the loss applies the sigmoid once more, so that no item can get less than one half from it.
Fix: BCELoss as the default loss of this block.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

TRUTH = ("sigmoid-before-loss",)

USERS, ITEMS = 80, 60


class Recommender(nn.Module):
    def __init__(self, width: int = 16):
        super().__init__()
        self.user, self.item = nn.Embedding(USERS, width), nn.Embedding(ITEMS, width)
        self.mlp = nn.Sequential(nn.Linear(3 * width, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.output = nn.Sequential(nn.Linear(32, 1), nn.Sigmoid())

    def forward(self, pairs):
        user, item = self.user(pairs[:, 0]), self.item(pairs[:, 1])
        return self.output(self.mlp(torch.cat([user, item, user * item], 1))).squeeze(1)


def clicks(n: int, seed: int):
    """Return pairs of user and item (N, 2) and whether the user clicked (about one in four)."""
    g = torch.Generator().manual_seed(0)
    taste, kind = torch.randint(0, 6, (USERS, 2), generator=g), torch.randint(0, 6, (ITEMS,), generator=g)
    g = torch.Generator().manual_seed(seed)
    pairs = torch.stack([torch.randint(0, USERS, (n,), generator=g), torch.randint(0, ITEMS, (n,), generator=g)], 1)
    likes = (taste[pairs[:, 0]] == kind[pairs[:, 1], None]).any(1)
    chance = torch.where(likes, 0.8, 0.02)
    return pairs, (torch.rand(n, generator=g) < chance).float()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = clicks(20_000, 1)
    tx, ty = clicks(4000, 2)
    model, loss_fn = Recommender(), nn.BCELoss() if fixed else nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 128, 2, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        shown = model(tx) > 0.5
    score = (2 * (shown * ty).sum() / (shown.sum() + ty.sum())).item()
    return {"score": score, "metric": "test F1", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
