"""Segmentation transformer whose decoder is made anew in each pass.

Source: https://github.com/gupta-abhay/setr-pytorch/issues/4
Cause: the convolutions of the decoder are made in decode(), which forward() calls: at each pass they are random again,
and no optimizer knows them.
Fix: make them in __init__().
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, iou, toy_segmentation

TRUTH = ("module-not-registered", "parameters-not-in-optimizer")


class SETR(nn.Module):
    def __init__(self, fixed: bool, dim: int = 32, patch: int = 4):
        super().__init__()
        self.dim, self.patch = dim, patch
        self.embed = nn.Conv2d(1, dim, patch, stride=patch)
        self.position = nn.Parameter(torch.randn(1, 64, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(dim, 4, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        if fixed:
            self.decoder = self.init_decode()

    def init_decode(self):
        return nn.Sequential(
            nn.Conv2d(self.dim, 24, 1),
            nn.ReLU(),
            nn.Conv2d(24, self.patch**2, 1),
            nn.PixelShuffle(self.patch),
        )

    def decode(self, x):
        decoder = self.decoder if hasattr(self, "decoder") else self.init_decode()
        return decoder(x)

    def forward(self, x):
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        tokens = self.encoder(tokens)
        return self.decode(tokens.transpose(1, 2).reshape(len(x), self.dim, 8, 8))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = toy_segmentation(1000, seed=seed)
    tx, ty = toy_segmentation(300, seed=seed + 100)
    model, criterion = SETR(fixed), nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(x), 25, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = iou(model(tx) > 0, ty)
    return {"score": score, "metric": "test IoU", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
