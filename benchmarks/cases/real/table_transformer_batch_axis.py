"""Transformer over the columns of a table that attends over the rows of the batch.

Source: https://github.com/IBM/TabFormer/pull/14
Cause: the encoder expects (T, B, E) and gets (B, T, E): rows of the batch attend to each other, columns never meet.
Fix: swap the two dimensions (or batch_first=True).
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches

TRUTH = ("samples-mixed",)


class TabTransformer(nn.Module):
    def __init__(self, batch_first: bool, columns: int = 6, values: int = 8, width: int = 32):
        super().__init__()
        self.embedding = nn.Embedding(columns * values, width)
        self.register_buffer("offset", torch.arange(columns) * values)
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.classifier = nn.Linear(width, 2)

    def forward(self, rows):
        return self.classifier(self.encoder(self.embedding(rows + self.offset)).mean(1))


def payments(n: int, seed: int):
    """Return rows of categories (N, 6) and labels: fraud, if card and shop are of unlike regions (4 values each)."""
    g = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, 8, (n, 6), generator=g)
    fraud = (rows[:, 0] < 4) ^ (rows[:, 3] < 4)
    return rows, (fraud ^ (torch.rand(n, generator=g) < 0.05)).long()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = payments(5000, 1)
    tx, ty = payments(2000, 2)
    model, loss_fn = TabTransformer(batch_first=fixed), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 100, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty, 100)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
