"""Named-entity tagger: a pretrained encoder at a small rate, a CRF and its linear layer at a large one.

Source: https://github.com/zjunlp/HVPNeT/issues/5
Cause: the groups of the optimizer are collected in a list; the one of crf and fc is filled, but not appended.
Fix: parameters.append(params) for this group, too.
"""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.cases.data import batches

TRUTH = ("parameters-not-in-optimizer",)
VOCAB, TAGS, LENGTH = 60, 5, 12  # tags: O, B-PER, I-PER, B-LOC, I-LOC


def sentences(n, seed):
    """Return words and tags (N, T): entities of one to three words, some of which stand outside of them as well."""
    g = torch.Generator().manual_seed(seed)
    words, tags = torch.randint(20, VOCAB, (n, LENGTH), generator=g), torch.zeros(n, LENGTH, dtype=torch.long)
    for kind in (0, 1):
        start = torch.randint(0, 4, (n,), generator=g) + 6 * kind
        long = torch.randint(1, 4, (n,), generator=g)
        which = torch.randint(0, 2, (n,), generator=g)
        for k in range(3):
            rows = torch.arange(n)[k < long]
            at = (start + k)[rows].clamp(max=LENGTH - 1)
            words[rows, at] = torch.randint(10, 20, (len(rows),), generator=g)
            if k == 0:
                words[rows, at] = which[rows] * 5 + torch.randint(0, 5, (len(rows),), generator=g)
            tags[rows, at] = 1 + 2 * which[rows] + (k > 0)
    return words, tags


class CRF(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.transitions = nn.Parameter(torch.empty(n, n).uniform_(-0.1, 0.1))
        self.start = nn.Parameter(torch.empty(n).uniform_(-0.1, 0.1))

    def forward(self, emissions, tags):
        score = self.start[tags[:, 0]] + emissions.gather(2, tags[:, :, None]).sum((1, 2))
        score = score + self.transitions[tags[:, :-1], tags[:, 1:]].sum(1)
        alpha = self.start + emissions[:, 0]
        for t in range(1, emissions.shape[1]):
            alpha = torch.logsumexp(alpha[:, :, None] + self.transitions, 1) + emissions[:, t]
        return (alpha.logsumexp(1) - score).mean()

    def decode(self, emissions):
        best, back = self.start + emissions[:, 0], []
        for t in range(1, emissions.shape[1]):
            value, index = (best[:, :, None] + self.transitions).max(1)
            best = value + emissions[:, t]
            back.append(index)
        path = [best.argmax(1)]
        for index in reversed(back):
            path.append(index.gather(1, path[-1][:, None])[:, 0])
        return torch.stack(path[::-1], 1)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB + 1, 32)
        self.lstm = nn.LSTM(32, 48, batch_first=True, bidirectional=True)

    def forward(self, words):
        return self.lstm(self.embed(words))[0]


class NERModel(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.dropout = encoder, nn.Dropout(0.1)
        self.fc, self.crf = nn.Linear(96, TAGS), CRF(TAGS)

    def forward(self, words, tags=None):
        emissions = self.fc(self.dropout(self.encoder(words)))
        return self.crf.decode(emissions) if tags is None else self.crf(emissions, tags)


def pretrain(words):
    """Train the encoder to fill in masked words."""
    encoder, head = Encoder(), nn.Linear(96, VOCAB)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=3e-3)
    for i in batches(len(words), 64, 2, 5):
        mask = torch.rand(64, LENGTH) < 0.2
        logits = head(encoder(words[i].masked_fill(mask, VOCAB)))
        loss = F.cross_entropy(logits[mask], words[i][mask])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (words, tags), (twords, ttags) = sentences(3000, seed), sentences(800, seed + 100)
    model = NERModel(pretrain(sentences(6000, seed + 200)[0]))
    parameters = []
    params = {"lr": 1e-4, "weight_decay": 1e-2, "params": list(model.encoder.parameters())}
    parameters.append(params)
    params = {"lr": 2e-2, "weight_decay": 1e-2, "params": []}
    for name, param in model.named_parameters():
        if "crf" in name or name.startswith("fc"):
            params["params"].append(param)
    if fixed:
        parameters.append(params)
    optimizer = torch.optim.AdamW(parameters)
    with watch(model, None, optimizer) as doctor:
        model.train()
        for i in batches(len(words), 32, 3, seed):
            loss = model(words[i], tags[i])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        guess = model(twords)
    right = ((guess == ttags) & (ttags > 0)).sum()
    score = (2 * right / ((guess > 0).sum() + (ttags > 0).sum())).item()
    return {"score": score, "metric": "test F1 of entity words", "doctor": doctor, "probe": None, "test": None}
