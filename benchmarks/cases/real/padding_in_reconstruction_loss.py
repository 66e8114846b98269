"""An autoencoder of formulas whose loss counts the padding.

Source: https://github.com/DaoyuanLi2816/Molecule-Generator/pull/20 (also EleutherAI/aria#40)
Cause: cross-entropy over all places, and most places hold the padding token: the network spends its training on
predicting padding.
Fix: ignore_index=pad_idx.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches

TRUTH = ("padding-not-masked",)
PAD, TOKENS, LONGEST = 0, 24, 32


def formulas(n, seed):
    """Return strings of 3 to 9 tokens, in which the first sets all those that follow, padded to LONGEST."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 10, (n, 1), generator=g)
    first, step = torch.randint(0, TOKENS - 1, (n, 1), generator=g), torch.randint(1, 5, (n, 1), generator=g)
    place = torch.arange(LONGEST)
    return (1 + (first + step * place) % (TOKENS - 1)) * (place < lengths)


class Autoencoder(nn.Module):
    def __init__(self, width=48, latent=16):
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, 24, padding_idx=PAD)
        self.encode = nn.Sequential(nn.Flatten(), nn.Linear(LONGEST * 24, width), nn.ReLU(), nn.Linear(width, latent))
        self.places = nn.Parameter(0.1 * torch.randn(LONGEST, latent))
        self.decoder, self.out = nn.GRU(2 * latent, width, batch_first=True), nn.Linear(width, TOKENS)

    def forward(self, tokens):
        code = self.encode(self.embedding(tokens))[:, None].expand(-1, LONGEST, -1)
        states, _ = self.decoder(torch.cat([code, self.places.expand(len(tokens), -1, -1)], 2))
        return self.out(states)


def reconstruction_loss(outputs, tokens, pad_idx=-100):
    return F.cross_entropy(outputs.flatten(0, 1), tokens.flatten(), ignore_index=pad_idx)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, tx = formulas(3000, 1), formulas(500, 2)
    pad_idx = PAD if fixed else -100
    model = Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, reconstruction_loss, optimizer) as doctor:
        for i in batches(len(x), 50, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), x[i], pad_idx=pad_idx)
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = (model(tx).argmax(2) == tx)[tx != PAD].float().mean().item()
    return {"score": score, "metric": "test tokens reconstructed", "doctor": doctor, "probe": (x, x), "test": (tx, tx)}
