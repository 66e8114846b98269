"""Sentence pairs of many relations: a sigmoid stands before the cross-entropy of the classes.

Source: https://github.com/cbenge509/BERTVision/pull/96
Cause: sigmoid keeps the logits between 0 and 1, so that no class gets a probability much above the others.
Fix: no sigmoid for labels of several classes.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches

TRUTH = ("activation-on-output", "sigmoid-before-loss", "softmax-before-loss")


class PairClassifier(nn.Module):
    def __init__(self, sigmoid: bool, vocab: int = 60, width: int = 48, classes: int = 20):
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocab, width), nn.Parameter(torch.zeros(16, width))
        layer = nn.TransformerEncoderLayer(width, 4, 96, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.classifier = nn.Linear(width, classes)
        self.sigmoid = sigmoid

    def forward(self, words):
        states = self.encoder(self.embedding(words) + self.position)
        logits = self.classifier(states.mean(1))
        return torch.sigmoid(logits) if self.sigmoid else logits


def sentence_pairs(n: int, seed: int):
    """Return word indices (N, 16) and classes: each has five words of its own, of which some are in a sentence."""
    g = torch.Generator().manual_seed(0)
    typical = torch.randint(0, 60, (20, 5), generator=g)
    g = torch.Generator().manual_seed(seed)
    y, words = torch.randint(0, 20, (n,), generator=g), torch.randint(0, 60, (n, 16), generator=g)
    chosen = typical[y].gather(1, torch.randint(0, 5, (n, 16), generator=g))
    return torch.where(torch.rand(n, 16, generator=g) < 0.35, chosen, words), y


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = sentence_pairs(6000, 1)
    tx, ty = sentence_pairs(1500, 2)
    model, loss_fn = PairClassifier(sigmoid=not fixed), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
