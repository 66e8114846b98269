"""Depth from images: outputs (B, 1, H, W) against depth maps (B, H, W).

Source: https://github.com/jiwei0921/CoNet/issues/3
Cause: the depth maps lack the dimension of the channel: each output is compared with the maps of the whole batch.
Fix: target.unsqueeze(1).
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, r2

TRUTH = ("shape-broadcast",)


def conv(a: int, b: int, stride: int = 1):
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1), nn.BatchNorm2d(b), nn.ReLU())


class DepthNet(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.stem, self.down = conv(1, width), conv(width, 2 * width, 2)
        self.middle, self.fuse = conv(2 * width, 2 * width), conv(3 * width, width)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        fine = self.stem(x)
        coarse = F.interpolate(self.middle(self.down(fine)), scale_factor=2)
        return self.head(self.fuse(torch.cat([fine, coarse], 1)))


def scenes(n: int, seed: int, size: int = 24):
    """Return foggy images (N, 1, S, S) of smooth surfaces, and their depth (N, S, S): what is far is pale."""
    g = torch.Generator().manual_seed(seed)
    depth = F.interpolate(torch.rand(n, 1, 4, 4, generator=g), size=(size, size), mode="bicubic")
    depth = depth - depth.amin((2, 3), keepdim=True)
    texture = torch.rand(n, 1, size, size, generator=g)
    image = 1 - torch.exp(-2 * depth) * (0.5 + 0.5 * texture)
    return image + 0.05 * torch.randn(n, 1, size, size, generator=g), depth.squeeze(1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = scenes(1000, 1)
    tx, ty = scenes(300, 2)
    if fixed:
        y, ty = y.unsqueeze(1), ty.unsqueeze(1)
    model, loss_fn = DepthNet(), nn.SmoothL1Loss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 16, 3, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
