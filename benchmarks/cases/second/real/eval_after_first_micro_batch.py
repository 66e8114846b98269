"""Image classifier trained by micro-batches, with metrics of the training that are measured along the way.

Source: https://github.com/mosaicml/composer/pull/1516
Cause: the metrics of a micro-batch are computed in evaluation mode, and train() is called only when the batch begins:
all micro-batches but the first are trained in evaluation mode.
Fix: evaluate inside a context that brings the old mode back.
"""

import contextlib

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion

TRUTH = ("left-in-eval-mode",)


@contextlib.contextmanager
def model_eval_mode(model, restore):
    was = model.training
    model.eval()
    try:
        yield
    finally:
        if restore:
            model.train(was)


def conv_block(a, b, stride):
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(5000, 1000)
    model = nn.Sequential(
        conv_block(1, 8, 2), conv_block(8, 16, 2), conv_block(16, 16, 1), conv_block(16, 16, 1),
        conv_block(16, 32, 2), conv_block(32, 32, 1), conv_block(32, 32, 1), nn.Flatten(), nn.Linear(32 * 16, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    train_correct = train_seen = 0
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 128, 4, seed):
            model.train()
            optimizer.zero_grad()
            for part in i.split(32):
                loss = doctor.loss_fn(model(x[part]), y[part]) * len(part) / len(i)
                loss.backward()
                with model_eval_mode(model, restore=fixed), torch.no_grad():
                    train_correct += (model(x[part]).argmax(1) == y[part]).sum().item()
                    train_seen += len(part)
            optimizer.step()
    score = accuracy(model, tx, ty)
    probe = x[:1000], y[:1000]
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": probe, "test": (tx, ty)}
