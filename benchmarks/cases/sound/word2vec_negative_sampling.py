"""Skip-gram with negative sampling: two tables, the second one zero at start, the loss inside the model.

A careless tool could take a table of zeros, or rows of rare words that never change, for a fault.
"""

import torch
from torch import nn
from torch.nn import functional as F


class SkipGram(nn.Module):
    def __init__(self, vocab, width):
        super().__init__()
        self.center, self.context = nn.Embedding(vocab, width), nn.Embedding(vocab, width)
        nn.init.uniform_(self.center.weight, -0.5 / width, 0.5 / width)
        nn.init.zeros_(self.context.weight)

    def forward(self, center, context, negative):
        v = self.center(center)
        right = (v * self.context(context)).sum(1)
        wrong = torch.bmm(self.context(negative), v[:, :, None]).squeeze(2)
        return -(F.logsigmoid(right) + F.logsigmoid(-wrong).sum(1)).mean()


def corpus(length=12_000, topics=6, vocab=120):
    """Return words in runs of one topic each; word w belongs to topic w % 6; frequent words have small numbers."""
    topic = torch.randint(topics, (length // 10 + 1,)).repeat_interleave(10)[:length]
    rank = (torch.rand(length) ** 2 * (vocab // topics)).long()
    return rank * topics + topic


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    words = corpus()
    weights = torch.bincount(words, minlength=120).float() ** 0.75
    model = SkipGram(120, 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with watch(model, None, optimizer) as doctor:
        for _ in range(500):
            at = torch.randint(3, len(words) - 3, (128,))
            away = torch.randint(1, 4, (128,)) * (1 - 2 * torch.randint(2, (128,)))
            negative = torch.multinomial(weights, 128 * 5, replacement=True).view(128, 5)
            loss = model(words[at], words[at + away], negative)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    v = F.normalize(model.center.weight.detach())
    nearest = (v @ v.T).fill_diagonal_(-1).topk(3).indices
    score = (nearest % 6 == torch.arange(120)[:, None] % 6).float().mean().item()
    return {"score": score, "metric": "neighbors of one topic (0.17)", "doctor": doctor, "probe": None, "test": None}
