"""Attention whose weights are what was left in memory.

Source: https://github.com/huggingface/torchMoji/issues/11
Cause: the vector of the attention is never initialized; the values that lie there are huge, so that one word takes all
the attention from the first step on. (Here they are drawn, for memory cannot be had twice.)
Fix: initialize it uniformly from -0.05 to 0.05.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, toy_text

TRUTH = ("init-too-large", "saturated-activations")


class Attention(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.attention_vector = nn.Parameter(torch.randn(size) * 1e4)

    def forward(self, x):
        logits = x @ self.attention_vector
        unnorm = (logits - logits.amax(1, keepdim=True)).exp()
        weights = unnorm / unnorm.sum(1, keepdim=True)
        return (x * weights[..., None]).sum(1)


class Moji(nn.Module):
    def __init__(self, fixed: bool):
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        self.features = nn.Sequential(nn.Linear(32, 48), nn.Tanh())
        self.attention = Attention(48)
        self.output = nn.Sequential(nn.Dropout(0.2), nn.Linear(48, 2))
        if fixed:
            nn.init.uniform_(self.attention.attention_vector, -0.05, 0.05)

    def forward(self, words):
        return self.output(self.attention(self.features(self.embed(words))))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, _ = toy_text(6500, length=14, seed=seed)
    x, y, tx, ty = x[:-1500], y[:-1500], x[-1500:], y[-1500:]
    model, loss_op = Moji(fixed), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-6)
    with watch(model, loss_op, optimizer) as doctor:
        for i in batches(len(x), 50, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return {
        "score": accuracy(model, tx, ty),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
