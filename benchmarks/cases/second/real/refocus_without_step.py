"""Refocusing of images: from one picture out of focus to the picture at another focal distance.

Source: https://github.com/tedlasai/learn2refocus/issues/5
Cause: optimizer.step() was lost between backward() and the step of the schedule: the weights never change.
Fix: put it back.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import fashion, r2

TRUTH = ("no-optimizer-step",)


def blur(images, width):
    """Blur images (N, 1, H, W) by a Gaussian, one width (N,) for each."""
    axis = torch.arange(-4, 5).float()
    kernel = (-(axis / width[:, None]).square() / 2).exp()
    kernel = kernel / kernel.sum(1, keepdim=True)
    x = F.pad(images.transpose(0, 1), (4, 4, 4, 4))
    x = F.conv2d(x, kernel[:, None, None, :], groups=len(images))
    return F.conv2d(x, kernel[:, None, :, None], groups=len(images)).transpose(0, 1)


def focal_stack(images, g):
    """Return blurred images, their focal offset and the one that is wanted (N, 2), and the images wanted."""
    widths = torch.rand(len(images), 2, generator=g) * 1.6 + 0.2
    return blur(images, widths[:, 0]), widths, blur(images, widths[:, 1])


class Refocus(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.enter = nn.Conv2d(1, c, 3, padding=1)
        self.focus = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 2 * c))
        self.body = nn.ModuleList([nn.Conv2d(c, c, 3, padding=1) for _ in range(2)])
        self.leave = nn.Conv2d(c, 1, 3, padding=1)

    def forward(self, image, widths):
        scale, shift = self.focus(widths)[:, :, None, None].chunk(2, 1)
        h = self.enter(image)
        for conv in self.body:
            h = h + F.silu(conv(h) * (1 + scale) + shift)
        return self.leave(h)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x, _, tx, _ = fashion(1500, 300)
    model = Refocus()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    epochs, size = 2, 30
    lr_scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * len(x) // size)
    with watch(model, None, optimizer) as doctor:
        for _ in range(epochs):
            for i in torch.randperm(len(x), generator=g).split(size):
                source, widths, wanted = focal_stack(x[i], g)
                loss = F.mse_loss(model(source, widths), wanted)
                loss.backward()
                if fixed:
                    optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()
    source, widths, wanted = focal_stack(tx, g)
    with torch.no_grad():
        score = r2(model(source, widths), wanted)
    return {"score": score, "metric": "test R2 of the pixels", "doctor": doctor, "probe": None, "test": None}
