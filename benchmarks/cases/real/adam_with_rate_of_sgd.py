"""Adam with the default learning rate of SGD, 1.0.

Source: https://github.com/OpenNMT/OpenNMT-py/issues/805 (also rajveermalviya/language-modeling#3)
Cause: the optimizer was changed from SGD to Adam, the learning rate stayed 1.0. The perplexity stays high, the accuracy
jumps about.
Fix: a learning rate of 0.001.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches

TRUTH = ("lr-too-high",)
WORDS, LENGTH = 30, 12


def sentences(n, seed):
    """Return texts (N, LENGTH + 1) in which the two words before make the next one likely."""
    likely = torch.rand(6, WORDS, 3, generator=torch.Generator().manual_seed(0)).mul(WORDS).long()
    g = torch.Generator().manual_seed(seed)
    words = [torch.randint(0, WORDS, (n,), generator=g) for _ in range(2)]
    for _ in range(LENGTH - 1):
        choice = torch.multinomial(torch.tensor([0.7, 0.2, 0.1]).expand(n, 3), 1, generator=g).squeeze(1)
        words.append(likely[words[-2] % 6, words[-1], choice])
    return torch.stack(words, 1)


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 48)
        self.lstm = nn.LSTM(48, 96, batch_first=True)
        self.drop, self.out = nn.Dropout(0.1), nn.Linear(96, WORDS)

    def forward(self, tokens):
        states, _ = self.lstm(self.drop(self.embedding(tokens)))
        return self.out(self.drop(states)).transpose(1, 2)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    text, test = sentences(2000, 1), sentences(500, 2)
    x, y, tx, ty = text[:, :-1], text[:, 1:], test[:, :-1], test[:, 1:]
    model = LanguageModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001 if fixed else 1.0)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 25, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5)
            optimizer.step()
    model.eval()
    with torch.no_grad():
        perplexity = F.cross_entropy(model(tx), ty).exp().item()
    return {
        "score": -perplexity,
        "metric": "minus test perplexity",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
