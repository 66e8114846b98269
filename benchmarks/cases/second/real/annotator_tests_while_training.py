"""A small residual network whose test asks for one image at a time, after a checkpoint has been loaded.

Source: https://github.com/PaulCCCCCCH/Robustar_implementation/pull/165
Cause: the program never calls model.eval(): batch norm normalizes each test image by its own mean and variance, and
dropout stays on. The saved weights were taken for wrong, but were right.
Fix: call model.eval() before the test.
"""

import io

import torch
from torch import nn

from benchmarks.cases.data import batches, fashion

TRUTH = ("not-in-eval-mode",)


class BasicBlock(nn.Module):
    def __init__(self, a, b, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b)
        self.conv2, self.bn2 = nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b)
        self.shortcut = nn.Conv2d(a, b, 1, stride, bias=False)

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def resnet():
    return nn.Sequential(
        BasicBlock(1, 8, 2), BasicBlock(8, 16, 2), BasicBlock(16, 32, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(32, 10),
    )  # fmt: skip


class Server:
    """Trains a model, keeps its checkpoint, and tests it when asked to."""

    def __init__(self, model, fixed):
        self.model, self.fixed, self.checkpoint = model, fixed, io.BytesIO()

    def save(self):
        self.checkpoint.seek(0)
        torch.save(self.model.state_dict(), self.checkpoint)

    def test(self, images, labels):
        self.checkpoint.seek(0)
        self.model.load_state_dict(torch.load(self.checkpoint, weights_only=True))
        if self.fixed:
            self.model.eval()
        correct = 0
        with torch.no_grad():
            for image, label in zip(images, labels, strict=True):
                correct += int(self.model(image[None]).argmax(1).item() == label)
        return correct / len(images)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(6000, 1000)
    model = resnet()
    server = Server(model, fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        model.train()
        for i in batches(len(x), 64, 2, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
        server.save()
        score = server.test(tx, ty)
    probe = x[:2000], y[:2000]
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": probe, "test": (tx, ty)}
