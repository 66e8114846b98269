"""Text classifier whose hidden state goes on from batch to batch.

Source: https://github.com/JulesBelveze/text-summarizer/pull/8
Cause: the hidden state of the encoder is made once and never again: each text starts with what is left of another one.
Fix: make it anew for each batch.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, toy_text

TRUTH = ("samples-mixed",)


class Encoder(nn.Module):
    def __init__(self, hidden: int = 48):
        super().__init__()
        self.hidden_size, self.hidden = hidden, None
        self.embedding = nn.Embedding(50, 24)
        self.gru = nn.GRU(24, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, 2)

    def init_hidden(self, n: int):
        self.hidden = torch.zeros(1, n, self.hidden_size)

    def forward(self, words):
        if self.hidden is None or self.hidden.shape[1] != len(words):
            self.init_hidden(len(words))
        _, hidden = self.gru(self.embedding(words), self.hidden)
        self.hidden = hidden.detach()
        return self.fc(hidden[-1])


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, _ = toy_text(6500, length=12, seed=seed)
    tx, ty, x, y = x[:1500], y[:1500], x[1500:], y[1500:]
    model, criterion = Encoder(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(x), 50, 3, seed):
            if fixed:
                model.init_hidden(len(i))
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    right = 0
    model.eval()
    with torch.no_grad():
        for a, b in zip(tx.split(50), ty.split(50), strict=True):
            if fixed:
                model.init_hidden(len(a))
            right += (model(a).argmax(1) == b).sum().item()
    return {"score": right / len(tx), "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
