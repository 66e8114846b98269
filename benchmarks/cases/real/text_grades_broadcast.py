"""Regression on texts whose outputs (B,) are compared with grades (B, 1).

Source: https://github.com/deepset-ai/FARM/issues/229
Cause: the head squeezes its outputs to (B,), the grades stay (B, 1): each is compared with each, so the mean is fitted.
Fix: outputs and grades of the same shape.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("shape-broadcast",)


class Grader(nn.Module):
    def __init__(self, squeeze: bool, vocab: int = 60, width: int = 32):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 1))
        self.squeeze = squeeze

    def forward(self, words):
        states, _ = self.gru(self.embedding(words))
        grades = self.head(states.mean(1))
        return grades.squeeze(1) if self.squeeze else grades


def answers(n: int, seed: int, length: int = 16):
    """Return word indices (N, T) and grades (N, 1) from 0 to 16: how many of the words are to the point."""
    g = torch.Generator().manual_seed(seed)
    words = torch.randint(0, 60, (n, length), generator=g)
    knows = torch.rand(n, 1, generator=g)
    words = torch.where(torch.rand(n, length, generator=g) < knows, words % 20, words)
    return words, (words < 20).sum(1, keepdim=True).float()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = answers(4000, 1)
    tx, ty = answers(1000, 2)
    model, loss_fn = Grader(squeeze=not fixed), nn.MSELoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 32, 2, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
