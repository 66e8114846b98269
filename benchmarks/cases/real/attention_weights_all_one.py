"""Attention whose softmax runs over the single column of the scores.

Source: https://github.com/DEEP-PolyU/KEQA_WSDM19/issues/2
Cause: the scores have shape (B, T, 1) and the softmax takes the last dimension: all weights are 1, nothing is chosen.
Fix: softmax over the words (dim=1).
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches

TRUTH = ("softmax-wrong-dim",)


class RelationDetector(nn.Module):
    def __init__(self, dim: int, vocab: int = 80, width: int = 32, relations: int = 8):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.context = nn.Conv1d(width, width, 3, padding=1)
        self.score = nn.Linear(width, 1)
        self.out = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, relations))
        self.dim = dim

    def forward(self, words):
        embedded = self.embedding(words)
        context = torch.tanh(self.context(embedded.transpose(1, 2)).transpose(1, 2))
        weights = torch.softmax(self.score(context), dim=self.dim)
        return self.out((weights * embedded).sum(1))


def questions(n: int, seed: int, length: int = 24):
    """Return questions (N, T) with many words of relations 0 to 7 (words 0 to 31); the one after word 79 is meant."""
    g = torch.Generator().manual_seed(seed)
    words = torch.randint(0, 79, (n, length), generator=g)
    where, y = torch.randint(0, length - 1, (n,), generator=g), torch.randint(0, 8, (n,), generator=g)
    words[torch.arange(n), where] = 79
    words[torch.arange(n), where + 1] = 4 * y + torch.randint(0, 4, (n,), generator=g)
    return words, y


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = questions(8000, 1)
    tx, ty = questions(1500, 2)
    model, loss_fn = RelationDetector(dim=1 if fixed else -1), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
