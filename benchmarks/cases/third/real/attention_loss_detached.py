"""A backdoor in a network is erased: it is trained on a few clean images to attend as a fine-tuned copy does.

Source: https://github.com/bboylyg/NAD/issues/8
Cause: the losses of attention are detached before they are added up for backward(): only the classification is learned.
Fix: do not detach them.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.cases.data import batches, fashion

TRUTH = ("graph-cut",)


class Net(nn.Module):
    """Return the activations of three stages, and the logits."""

    def __init__(self):
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.stage2 = nn.Sequential(nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.stage3 = nn.Sequential(nn.Conv2d(24, 32, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(32 * 49, 10)

    def forward(self, x):
        activation1 = self.stage1(x)
        activation2 = self.stage2(activation1)
        activation3 = self.stage3(activation2)
        return activation1, activation2, activation3, self.fc(activation3.flatten(1))


class AT(nn.Module):
    """Attention transfer: the distance of normalized maps, each the sum over the channels of |activation| ** p."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def attention_map(self, fm, eps=1e-6):
        am = fm.abs().pow(self.p).sum(1, keepdim=True)
        return am / (am.norm(dim=(2, 3), keepdim=True) + eps)

    def forward(self, fm_s, fm_t):
        return F.mse_loss(self.attention_map(fm_s), self.attention_map(fm_t))


def triggered(images):
    images = images.clone()
    images[:, :, -5:-1, -5:-1] = torch.eye(4)
    return images


def train_classifier(net, x, y, lr, epochs, seed):
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
    for i in batches(len(x), 50, epochs, seed):
        optimizer.zero_grad()
        F.cross_entropy(net(x[i])[3], y[i]).backward()
        optimizer.step()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(4500, 1000)
    x, y, clean, clean_y = x[:4000], y[:4000], x[4000:], y[4000:]
    poisoned, poisoned_y = x.clone(), y.clone()
    poisoned[:400], poisoned_y[:400] = triggered(x[:400]), 0

    snet = Net()
    train_classifier(snet, poisoned, poisoned_y, 0.02, 3, seed)
    tnet = copy.deepcopy(snet)
    train_classifier(tnet, clean, clean_y, 0.1, 10, seed)
    tnet.eval().requires_grad_(False)

    criterion_cls, criterion_at, betas = nn.CrossEntropyLoss(), AT(2), (500, 1000, 1000)
    optimizer = torch.optim.SGD(snet.parameters(), lr=0.005, momentum=0.9, weight_decay=1e-4, nesterov=True)
    at_losses = []
    with watch(snet, criterion_cls, optimizer) as doctor:
        snet.train()
        for i in batches(len(clean), 25, 8, seed):
            *activations_s, output_s = snet(clean[i])
            *activations_t, _ = tnet(clean[i])
            cls_loss = doctor.loss_fn(output_s, clean_y[i])
            at1_loss, at2_loss, at3_loss = (
                criterion_at(s, t.detach()) * beta
                for s, t, beta in zip(activations_s, activations_t, betas, strict=True)
            )
            if not fixed:
                at1_loss, at2_loss, at3_loss = at1_loss.detach(), at2_loss.detach(), at3_loss.detach()
            at_loss = at1_loss + at2_loss + at3_loss + cls_loss
            at_losses.append(at_loss.item())
            optimizer.zero_grad()
            at_loss.backward()
            optimizer.step()
    snet.eval()
    with torch.no_grad():
        score = (snet(triggered(tx))[3].argmax(1) == ty).float().mean().item()
    return {"score": score, "metric": "accuracy with the trigger", "doctor": doctor, "probe": None, "test": None}
