"""Transfer: a CNN that knows digits 0 to 6 is frozen, in evaluation mode for good, and a new head learns all clothes.

A careless tool could take the frozen layers, or a backbone that stays in evaluation mode while training, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import fashion, mnist


def make_backbone():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 48, 3, stride=2, padding=1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Flatten(),
    )


def pretrain(images, labels, epochs=2):
    net = nn.Sequential(make_backbone(), nn.Linear(48 * 16, 7))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(epochs):
        for idx in torch.randperm(len(images)).split(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[idx]), labels[idx]).backward()
            optimizer.step()
    return net[0]


class TransferModel(nn.Module):
    def __init__(self, backbone, classes=10):
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.head = nn.Sequential(nn.Linear(48 * 16, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, classes))

    def train(self, mode=True):
        super().train(mode)
        self.backbone.eval()  # its batch norm keeps the averages it came with
        return self

    def forward(self, x):
        with torch.no_grad():
            features = self.backbone(x)
        return self.head(features)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    digits, names, _, _ = mnist(6000, 10)
    known = names < 7
    backbone = pretrain((digits[known] - 0.13) / 0.31, names[known])
    x, y, tx, ty = fashion(6000, 1000)
    x, tx = (x - 0.29) / 0.35, (tx - 0.29) / 0.35

    model = TransferModel(backbone)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=1e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _epoch in range(7):
            model.train()
            for idx in torch.randperm(len(x)).split(64):
                loss = doctor.loss_fn(model(x[idx]), y[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.inference_mode():
                predicted = torch.cat([model(part) for part in tx.split(200)]).argmax(1)
            score = (predicted == ty).float().mean().item()
    probe = (x[:3000], y[:3000])
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": probe, "test": (tx, ty)}
