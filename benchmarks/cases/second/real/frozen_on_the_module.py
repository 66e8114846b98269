"""A pretrained encoder, meant to be kept as it is, and a new classifier for a handful of labeled images.

Source: https://github.com/catalyst-team/catalyst/issues/79 (also CSCYQJ/MICCAI23-ProtoContra-SFDA#18)
Cause: frozen=True sets requires_grad on the module, where nothing reads it, and not on its parameters: the encoder is
trained along with the new layer, at the rate that is meant for this layer, and forgets what it has learned.
Fix: set it on each parameter.
New cause: layer-not-frozen: a part that should be kept as it is, such as a pretrained encoder, is trained.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion

TRUTH = ("layer-not-frozen",)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.out_features = 64
        self.feature_net = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * 49, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(),
        )  # fmt: skip

    def freeze(self, fixed):
        if fixed:
            for param in self.feature_net.parameters():
                param.requires_grad = False
        else:
            self.feature_net.requires_grad = False

    def forward(self, x):
        return self.feature_net(x)


class Net(nn.Module):
    def __init__(self, enc):
        super().__init__()
        self.enc, self.logits = enc, nn.Linear(enc.out_features, 10)

    def forward(self, x):
        return self.logits(self.enc(x))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(6000, 1500)
    model, criterion = Net(Encoder()), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for i in batches(len(x), 50, 3, seed):  # pretraining on many images
        loss = criterion(model(x[i]), y[i])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    few, labels = x[-80:], y[-80:]
    model.enc.freeze(fixed)
    model.logits = nn.Linear(model.enc.out_features, 10)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-2)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(few), 16, 20, seed):
            loss = doctor.loss_fn(model(few[i]), labels[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (few, labels), "test": (tx, ty)}
