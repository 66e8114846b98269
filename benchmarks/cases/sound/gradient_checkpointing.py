"""A deep residual MLP saves memory by checkpoints: the blocks run once more in the backward pass.

A careless tool could take the blocks' second pass for another batch, or count activations twice.
"""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from benchmarks.cases.data import accuracy, batches, mnist


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x):
        return x + self.layers(x)


class Deep(nn.Module):
    def __init__(self, width=64, depth=8):
        super().__init__()
        self.stem, self.head = nn.Linear(784, width), nn.Linear(width, 10)
        self.blocks, self.norm = nn.ModuleList([Block(width) for _ in range(depth)]), nn.LayerNorm(width)

    def forward(self, x):
        h = self.stem(x.flatten(1))
        for block in self.blocks:
            h = checkpoint(block, h, use_reentrant=False) if self.training else block(h)
        return self.head(self.norm(h))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(6000, 1000)
    model = Deep()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 3, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:2000], y[:2000]),
        "test": (tx, ty),
    }
