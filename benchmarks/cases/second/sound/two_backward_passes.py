"""A shared encoder with a classifier and a decoder: two losses, a backward pass for each, then one step.

A careless tool could take gradients that two passes add up for ones that nobody clears.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, mnist


class LadderLite(nn.Module):
    def __init__(self, code=32):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 4, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(784, code),
        )
        self.decoder = nn.Sequential(
            nn.ReLU(),
            nn.Linear(code, 784),
            nn.ReLU(),
            nn.Unflatten(1, (16, 7, 7)),
            nn.ConvTranspose2d(16, 8, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 1, 4, 2, 1),
        )
        self.classifier = nn.Sequential(nn.ReLU(), nn.Linear(code, 10))

    def forward(self, x):
        z = self.encoder(x)
        return self.classifier(z), self.decoder(z)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(5000, 1000)
    model = LadderLite()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, None, optimizer) as doctor:
        for idx in batches(len(x), 50, 4, seed):
            optimizer.zero_grad()
            logits, restored = model(x[idx])
            class_loss = F.cross_entropy(logits, y[idx])
            pixel_loss = F.binary_cross_entropy_with_logits(restored, x[idx])
            class_loss.backward(retain_graph=True)
            pixel_loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        logits, restored = model(tx)
        accuracy = (logits.argmax(1) == ty).float().mean().item()
        explained = 1 - F.mse_loss(restored.sigmoid(), tx) / F.mse_loss(x.mean(0, keepdim=True).expand_as(tx), tx)
    return {
        "score": min(accuracy, explained.item()),
        "metric": "accuracy or explained variance of pixels, the lesser",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
