"""Digits whose pixels are permuted, the first task of a sequence in continual learning.

Source: https://github.com/aimagelab/mammoth/issues/38
Cause: the transformation draws its permutation when it is first called. Every worker of a loader has a copy of the data
set of its own, so there are as many permutations as workers, new ones in each epoch, and others again for the test.
Fix: draw the permutation once, when the transformation is made.
"""

import copy

import numpy as np
import torch
from torch import nn

from benchmarks.cases.data import mnist

TRUTH = ("inputs-drift", "train-test-mismatch")


class Permutation:
    def __init__(self, size=None):
        self.perm = None if size is None else torch.randperm(size).numpy()

    def __call__(self, sample):
        old_shape = sample.shape
        if self.perm is None:
            self.perm = torch.randperm(sample.size).numpy()
        return sample.flatten()[self.perm].reshape(old_shape)


class PermutedMNIST:
    def __init__(self, images, labels, transform):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.transform(self.images[i]), self.labels[i]


class Loader:
    """Give batches as a loader with workers does: each worker has a copy of the data set, made as an epoch begins."""

    def __init__(self, dataset, batch_size, shuffle, num_workers=4):
        self.dataset, self.batch_size, self.shuffle, self.num_workers = dataset, batch_size, shuffle, num_workers

    def __iter__(self):
        n = len(self.dataset)
        order = torch.randperm(n) if self.shuffle else torch.arange(n)
        workers = [copy.copy(self.dataset) for _ in range(self.num_workers)]
        for worker in workers:
            worker.transform = copy.deepcopy(self.dataset.transform)
        for number, batch in enumerate(order.split(self.batch_size)):
            worker = workers[number % self.num_workers]
            images, labels = zip(*(worker[i] for i in batch.tolist()), strict=True)
            yield torch.from_numpy(np.stack(images)), torch.tensor(labels)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(6000, 1000)
    transform = Permutation(28 * 28) if fixed else Permutation()
    train_loader = Loader(PermutedMNIST(x.numpy(), y.tolist(), transform), batch_size=64, shuffle=True)
    test_loader = Loader(PermutedMNIST(tx.numpy(), ty.tolist(), transform), batch_size=200, shuffle=False)

    backbone = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)
    )
    opt = torch.optim.SGD(backbone.parameters(), lr=0.1)
    with watch(backbone, nn.CrossEntropyLoss(), opt) as doctor:
        for _ in range(5):
            seen = []
            for inputs, labels in train_loader:
                opt.zero_grad()
                loss = doctor.loss_fn(backbone(inputs), labels)
                loss.backward()
                opt.step()
                seen.append((inputs, labels))
    test = list(test_loader)
    with torch.no_grad():
        hits = sum((backbone(inputs).argmax(1) == labels).sum().item() for inputs, labels in test)
    probe = [torch.cat(part) for part in zip(*seen[:16], strict=True)]
    test = [torch.cat(part) for part in zip(*test, strict=True)]
    return {
        "score": hits / len(ty),
        "metric": "accuracy on the task",
        "doctor": doctor,
        "probe": tuple(probe),
        "test": tuple(test),
    }
