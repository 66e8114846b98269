"""Self-attention whose heads (B, heads, T, D) are joined by reshape alone.

Source: https://github.com/jsbaan/transformer-from-scratch/pull/6
Cause: without permute(0, 2, 1, 3), a position gets parts of other positions, all of one head.
Fix: permute before the reshape.
New cause: axes-scrambled: view or reshape where permute was meant: the numbers of a sample land in wrong places.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

TRUTH = ("axes-scrambled",)

PAIRS, VALUES = 8, 10


class Attention(nn.Module):
    def __init__(self, permute: bool, width: int, heads: int = 4):
        super().__init__()
        self.qkv, self.out, self.heads, self.permute = (
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
            heads,
            permute,
        )

    def forward(self, x):
        b, t, e = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = torch.softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, dim=-1) @ v
        if self.permute:
            mixed = mixed.permute(0, 2, 1, 3)
        return self.out(mixed.reshape(b, t, e))


class Lookup(nn.Module):
    def __init__(self, permute: bool, width: int = 64):
        super().__init__()
        self.key, self.value = nn.Embedding(PAIRS, width), nn.Embedding(VALUES + 1, width)
        self.norm1, self.attention = nn.LayerNorm(width), Attention(permute, width)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.head = nn.Linear(width, VALUES)

    def forward(self, x):
        h = self.key(x[..., 0]) + self.value(x[..., 1])
        h = h + self.attention(self.norm1(h))
        return self.head(h + self.mlp(h))[:, PAIRS:].transpose(1, 2)  # (B, values, questions)


def lists(n: int, seed: int):
    """Return lists of (key, value), then the keys in another order with value 10 (N, 16, 2), and what belongs there."""
    g = torch.Generator().manual_seed(seed)
    keys, asked = (torch.rand(n, PAIRS, generator=g).argsort(1) for _ in range(2))
    values = torch.randint(0, VALUES, (n, PAIRS), generator=g)
    wanted = values.gather(1, keys.argsort(1)).gather(1, asked)
    unknown = torch.full_like(asked, VALUES)
    return torch.stack([torch.cat([keys, asked], 1), torch.cat([values, unknown], 1)], 2), wanted


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = lists(8000, 1)
    tx, ty = lists(1000, 2)
    model, loss_fn = Lookup(permute=fixed), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = (model(tx).argmax(1) == ty).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
