"""AdamW with two groups of parameters, as for transformers: decay 0.1 for matrices, none for biases and norms.

A careless tool could take the decay of 0.1 for over-regularization.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion


class PatchTransformer(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.patches, self.place = nn.Conv2d(1, width, 7, 7), nn.Parameter(0.02 * torch.randn(1, 17, width))
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        kind = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.blocks = nn.Sequential(*[nn.TransformerEncoderLayer(width, 4, 64, **kind) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), tokens], 1) + self.place
        return self.head(self.norm(self.blocks(tokens)[:, 0]))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(6000, 1000)
    model = PatchTransformer()
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.98))
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
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
