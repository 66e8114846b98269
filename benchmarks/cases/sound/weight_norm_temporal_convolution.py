"""A temporal convolutional network (Bai et al. 2018): causal, dilated, weight norm, dropout; tags a signal's steps.

A careless tool could take layers with two weights each, or the padding at the left, for a fault.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from benchmarks.cases.data import batches


class Block(nn.Module):
    def __init__(self, a, b, dilation):
        super().__init__()
        self.left = 2 * dilation
        self.conv1 = weight_norm(nn.Conv1d(a, b, 3, dilation=dilation))
        self.conv2 = weight_norm(nn.Conv1d(b, b, 3, dilation=dilation))
        self.drop, self.skip = nn.Dropout(0.1), nn.Conv1d(a, b, 1) if a != b else nn.Identity()

    def forward(self, x):
        h = self.drop(self.conv1(F.pad(x, (self.left, 0))).relu())
        h = self.drop(self.conv2(F.pad(h, (self.left, 0))).relu())
        return (h + self.skip(x)).relu()


def alarms(n, length=64):
    """Return noisy pulses (N, 1, T), and whether two of them came in the last 12 steps (N, T)."""
    pulse = (torch.rand(n, 1, length) < 0.1).float()
    count = F.conv1d(F.pad(pulse, (11, 0)), torch.ones(1, 1, 12))
    return pulse + 0.15 * torch.randn_like(pulse), (count >= 2).float().squeeze(1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = alarms(2000), alarms(500)
    blocks = [Block(1, 16, 1), Block(16, 16, 2), Block(16, 16, 4)]
    model = nn.Sequential(*blocks, nn.Conv1d(16, 1, 1), nn.Flatten())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.BCEWithLogitsLoss(), optimizer) as doctor:
        for i in batches(len(x), 32, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = ((model(tx) > 0).float() == ty).float().mean().item()
    return {"score": score, "metric": "accuracy of steps (0.69)", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
