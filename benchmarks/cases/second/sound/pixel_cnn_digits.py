"""A PixelCNN: masked convolutions give each pixel's logit from the pixels before it; digits in black and white.

A careless tool could take targets that equal the inputs for a leak, or kernels of which half is zero for dead weights.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from benchmarks.cases.data import mnist


class MaskedConv2d(nn.Conv2d):
    def __init__(self, mask_type, *args, **kwargs):
        super().__init__(*args, **kwargs)
        assert mask_type in ("A", "B")
        self.register_buffer("mask", torch.ones_like(self.weight))
        _, _, kh, kw = self.weight.shape
        self.mask[:, :, kh // 2, kw // 2 + (mask_type == "B") :] = 0
        self.mask[:, :, kh // 2 + 1 :] = 0

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class ResidualBlock(nn.Module):
    def __init__(self, h):
        super().__init__()
        self.net = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(2 * h, h, 1),
            nn.ReLU(),
            MaskedConv2d("B", h, h, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(h, 2 * h, 1),
        )

    def forward(self, x):
        return x + self.net(x)


class PixelCNN(nn.Module):
    def __init__(self, h=12, n_blocks=3):
        super().__init__()
        self.input = MaskedConv2d("A", 1, 2 * h, 7, padding=3)
        self.blocks = nn.Sequential(*[ResidualBlock(h) for _ in range(n_blocks)])
        self.output = nn.Sequential(nn.ReLU(), nn.Conv2d(2 * h, 2 * h, 1), nn.ReLU(), nn.Conv2d(2 * h, 1, 1))

    def forward(self, x):
        return self.output(self.blocks(self.input(2 * x - 1)))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    train, _, test, _ = mnist(4000, 800)
    train, test = ((F.avg_pool2d(part, 2) > 0.4).float() for part in (train, test))
    model = PixelCNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.BCEWithLogitsLoss(), optimizer) as doctor:
        for _ in range(4):
            for idx in torch.randperm(len(train)).split(50):
                images = train[idx]
                loss = doctor.loss_fn(model(images), images)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    rate = train.mean(0, keepdim=True).clamp(1e-3, 1 - 1e-3).expand_as(test)
    independent = F.binary_cross_entropy(rate, test)
    with torch.no_grad():
        nll = F.binary_cross_entropy_with_logits(model(test), test)
    return {
        "score": (1 - nll / independent).item(),
        "metric": "share of independent pixels' entropy that is gone",
        "doctor": doctor,
        "probe": (train, train),
        "test": (test, test),
    }
