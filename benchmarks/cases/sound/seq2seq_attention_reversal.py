"""A GRU encoder and decoder with attention reverses sequences; teacher forcing in half of the batches.

A careless tool could take the right answers among the decoder's inputs (teacher forcing) for a leak.
"""

import random

import torch
from torch import nn

from benchmarks.cases.data import batches

VOCAB, LENGTH, START = 11, 7, 10


class Seq2Seq(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.embed, self.encoder = nn.Embedding(VOCAB, width), nn.GRU(width, width, batch_first=True)
        self.cell, self.out = nn.GRUCell(2 * width, width), nn.Linear(2 * width, VOCAB - 1)
        self.place = nn.Parameter(0.1 * torch.randn(LENGTH, width))

    def forward(self, source, target=None):
        states, last = self.encoder(self.embed(source) + self.place)
        h, token, outputs = last[0], torch.full((len(source),), START), []
        for t in range(LENGTH):
            weights = torch.softmax(((h + self.place[t])[:, None] * states).sum(2) / 4, dim=1)
            context = (weights[:, :, None] * states).sum(1)
            h = self.cell(torch.cat([self.embed(token), context], 1), h)
            outputs.append(self.out(torch.cat([h, context], 1)))
            token = target[:, t] if target is not None else outputs[-1].argmax(1)
        return torch.stack(outputs, 1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    random.seed(seed)
    x = torch.randint(VOCAB - 1, (5000, LENGTH))
    y = x.flip(1)
    model = Seq2Seq()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(4500, 64, 8, seed):
            outputs = model(x[i], y[i] if random.random() < 0.5 else None)
            loss = doctor.loss_fn(outputs.flatten(0, 1), y[i].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    with torch.no_grad():
        score = (model(x[4500:]).argmax(2) == y[4500:]).float().mean().item()
    return {"score": score, "metric": "accuracy of symbols", "doctor": doctor, "probe": None, "test": None}
