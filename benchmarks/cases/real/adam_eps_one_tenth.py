"""Adam with eps = 0.1.

Source: https://github.com/mlpnlp/mlpnlp-nmt/pull/4
Cause: the default eps of 0.1 is far above the size of the gradients, so that Adam's steps are lr * gradient / 0.1
instead of about lr: all steps are tiny.
Fix: eps = 1e-8, the default.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

TRUTH = ("lr-too-low",)
WORDS = 40


def pairs(n, seed, length=9):
    """Return sentences (N, T) and their translation, in which a word depends on the one that follows it."""
    words = torch.randint(1, WORDS, (n, length + 1), generator=torch.Generator().manual_seed(seed))
    formal = words[:, 1:] % 2
    dictionary = torch.stack([torch.randperm(WORDS, generator=torch.Generator().manual_seed(s)) for s in (3, 4)])
    return words[:, :-1], dictionary[formal.roll(0, 1), words[:, :-1]] * (words[:, :-1] > 0)


class Translator(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, width)
        self.encoder = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.out = nn.Sequential(nn.Dropout(0.1), nn.Linear(2 * width, WORDS))

    def forward(self, words):
        return self.out(self.encoder(self.embedding(words))[0]).transpose(1, 2)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = pairs(3000, 1), pairs(500, 2)
    model = Translator()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, eps=1e-8 if fixed else 0.1)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 30, 6, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5)
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = (model(tx).argmax(1) == ty).float().mean().item()
    return {
        "score": score,
        "metric": "test words translated right",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
