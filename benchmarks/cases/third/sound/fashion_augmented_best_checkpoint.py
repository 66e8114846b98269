"""Clothes with flips, shifts and erased patches in training, plain pictures in each evaluation, the best weights kept.

A careless tool could take training pictures that differ from the test pictures for a mismatch, or the weights that
are loaded at the end for a step back.
"""

import copy

import torch
from torch import nn

from benchmarks.cases.data import fashion


class Augment:
    """Flip, shift by up to 2 pixels, and erase a patch, each picture on its own."""

    def __init__(self, pad=2, erase=0.25):
        self.pad, self.erase = pad, erase

    def __call__(self, images):
        n, _, h, w = images.shape
        flipped = torch.where(torch.rand(n, 1, 1, 1) < 0.5, images.flip(3), images)
        padded = nn.functional.pad(flipped, [self.pad] * 4)
        out = torch.empty_like(images)
        tops = torch.randint(2 * self.pad + 1, (n,)).tolist()
        lefts = torch.randint(2 * self.pad + 1, (n,)).tolist()
        for k, (top, left) in enumerate(zip(tops, lefts, strict=True)):
            out[k] = padded[k, :, top : top + h, left : left + w]
        for k in (torch.rand(n) < self.erase).nonzero().flatten().tolist():
            r, c = torch.randint(h - 8, (2,)).tolist()
            out[k, :, r : r + 8, c : c + 8] = 0
        return out


def conv_bn(c_in, c_out):
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


class FashionNet(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.stem = nn.Sequential(conv_bn(1, 12), nn.MaxPool2d(2))
        self.body = nn.Sequential(conv_bn(12, 24), nn.MaxPool2d(2), conv_bn(24, 48), nn.MaxPool2d(2))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(48 * 9, classes))

    def forward(self, x):
        return self.head(self.body(self.stem(x)))


@torch.no_grad()
def evaluate(model, images, labels, criterion):
    model.eval()
    total_loss, correct = 0.0, 0
    for xb, yb in zip(images.split(250), labels.split(250), strict=True):
        logits = model(xb)
        total_loss += criterion(logits, yb).item() * len(xb)
        correct += (logits.argmax(dim=1) == yb).sum().item()
    return total_loss / len(images), correct / len(images)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    images, labels, test_images, test_labels = fashion(6000, 1500)
    mean, std = images.mean(), images.std()
    x, y = (images[:5000] - mean) / std, labels[:5000]
    vx, vy = (images[5000:] - mean) / std, labels[5000:]
    tx = (test_images - mean) / std
    augment = Augment()

    model = FashionNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.3)
    best_acc, best_state = 0.0, None
    with watch(model, criterion, optimizer) as doctor:
        for _epoch in range(7):
            model.train()
            for idx in torch.randperm(len(x)).split(50):
                outputs = model(augment(x[idx]))
                loss = doctor.loss_fn(outputs, y[idx])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            scheduler.step()
            _val_loss, val_acc = evaluate(model, vx, vy, criterion)
            if val_acc > best_acc:
                best_acc, best_state = val_acc, copy.deepcopy(model.state_dict())
        model.load_state_dict(best_state)
        _, score = evaluate(model, tx, test_labels, criterion)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (augment(x[:2000]), y[:2000]),
        "test": (tx, test_labels),
    }
