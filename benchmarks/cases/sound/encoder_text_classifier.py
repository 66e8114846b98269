"""A transformer encoder classifies short texts: positions of sines, a mask for padding, the mean over words.

A careless tool could take the padding, which is the same in many texts, or the scaled embeddings for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, toy_text


class Classifier(nn.Module):
    def __init__(self, vocab=50, width=32, length=12):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width, padding_idx=0)
        angles = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
        self.register_buffer("positions", torch.stack([angles.sin(), angles.cos()], 2).flatten(1))
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 2)

    def forward(self, words):
        padding = words == 0
        h = self.embedding(words) * self.embedding.embedding_dim**0.5 + self.positions
        h = self.encoder(h, src_key_padding_mask=padding)
        kept = (~padding)[..., None]
        return self.head((h * kept).sum(1) / kept.sum(1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, _ = toy_text(6000, min_length=4)
    x, y, tx, ty = x[:-1000], y[:-1000], x[-1000:], y[-1000:]
    model = Classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            loss = doctor.loss_fn(model(x[i]), y[i])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
