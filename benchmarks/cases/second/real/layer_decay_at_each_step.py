"""Patch transformer whose layer-wise decay of the rate is applied at every step.

Source: https://github.com/jaehyunnn/ViTPose_pytorch/issues/20 (fixed by its commit 0a2848e)
Cause: the optimizer is wrapped so that layers get rates multiplied by a decay; the multiplication stands in step(), not
in the constructor, so that after the warm-up all rates shrink exponentially to 0.
Fix: multiply once, when the wrapper is made.
"""

import torch
from torch import nn
from torch.optim import AdamW

from benchmarks.cases.data import accuracy, batches, fashion

TRUTH = ("schedule-collapsed", "lr-too-low")


class LayerDecayOptimizer:
    def __init__(self, optimizer, layerwise_decay_rate, fixed: bool):
        self.optimizer, self.rates, self.fixed = optimizer, layerwise_decay_rate, fixed
        self.param_groups = optimizer.param_groups
        if fixed:
            self.decay()

    def decay(self):
        for group, rate in zip(self.param_groups, self.rates, strict=True):
            group["lr"] *= rate

    def step(self):
        if not self.fixed:
            self.decay()
        self.optimizer.step()

    def zero_grad(self):
        self.optimizer.zero_grad()


class PatchTransformer(nn.Module):
    def __init__(self, dim: int = 48, depth: int = 3):
        super().__init__()
        self.patch = nn.Conv2d(1, dim, 7, 7)
        self.place = nn.Parameter(0.02 * torch.randn(16, dim))
        self.blocks = nn.ModuleList(
            [nn.TransformerEncoderLayer(dim, 4, 96, 0.0, batch_first=True, norm_first=True) for _ in range(depth)]
        )
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x):
        h = self.patch(x).flatten(2).transpose(1, 2) + self.place
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h).mean(1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(4000, 1000)
    model, epochs, warmup, layer_decay_rate = PatchTransformer(), 3, 40, 0.75
    base = AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.999), weight_decay=0.1)
    optimizer = LayerDecayOptimizer(base, [layer_decay_rate], fixed)
    start, step = base.param_groups[0]["lr"], 0
    with watch(model, nn.CrossEntropyLoss(), base) as doctor:
        for i in batches(len(x), 50, epochs, seed):
            if step <= warmup:
                base.param_groups[0]["lr"] = start * (0.05 + 0.95 * step / warmup)
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
    return {
        "score": accuracy(model, tx, ty),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
