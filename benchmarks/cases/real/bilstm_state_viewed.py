"""Two-way LSTM whose last states (2, B, H) are brought into shape (B, 2 H) by view.

Source: https://github.com/OpenNMT/OpenNMT-py/issues/1521
Cause: view joins the states of two neighbors in the batch, not the two directions of one sample.
Fix: bring the batch to the front (transpose or permute) before the states are joined.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, toy_text

TRUTH = ("samples-mixed",)


class Encoder(nn.Module):
    def __init__(self, transpose: bool, vocab: int = 50, width: int = 24):
        super().__init__()
        self.embedding = nn.Embedding(vocab, 32, padding_idx=0)
        self.lstm = nn.LSTM(32, width, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * width, width)
        self.out = nn.Linear(width, 2)
        self.transpose = transpose

    def forward(self, words):
        _, (state, _) = self.lstm(self.embedding(words))
        if self.transpose:
            state = state.transpose(0, 1)
        state = state.reshape(len(words), -1)
        return self.out(torch.relu(self.bridge(state)))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, _ = toy_text(6000, seed=1)
    tx, ty, _ = toy_text(1200, seed=2)
    model, loss_fn = Encoder(transpose=fixed), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 50, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
    score = accuracy(model, tx, ty, 50)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
