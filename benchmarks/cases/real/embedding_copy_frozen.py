"""Bag of words whose embedding is frozen by the way it is put together.

Source: https://github.com/huggingface/optimum-graphcore/pull/304
Cause: the parts of a split embedding are put together by nn.Embedding.from_pretrained, which freezes the weights
unless told otherwise.
Fix: from_pretrained(..., freeze=False).
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, toy_text

TRUTH = ("layer-frozen",)
VOCAB = 60


class SplitEmbedding(nn.Module):
    """An embedding in several parts, as devices with little memory need it."""

    def __init__(self, n: int, dim: int, parts: int = 3):
        super().__init__()
        self.split_embeddings = nn.ModuleList(nn.Embedding(n // parts, dim) for _ in range(parts))

    def deserialize(self, freeze: bool) -> nn.Embedding:
        weights = torch.vstack([part.weight for part in self.split_embeddings]).detach()
        return nn.Embedding.from_pretrained(weights, freeze=freeze, padding_idx=0)


class BagOfWords(nn.Module):
    def __init__(self, dim: int = 8):
        super().__init__()
        self.embedding = SplitEmbedding(VOCAB, dim)
        self.fc = nn.Sequential(nn.Linear(dim, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, words):
        return self.fc(self.embedding(words).mean(1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, _ = toy_text(7000, length=16, vocab=VOCAB, seed=seed)
    x, y, tx, ty = x[:-1500], y[:-1500], x[-1500:], y[-1500:]
    model = BagOfWords()
    model.embedding = model.embedding.deserialize(freeze=not fixed)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(x), 50, 6, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    return {
        "score": accuracy(model, tx, ty),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
