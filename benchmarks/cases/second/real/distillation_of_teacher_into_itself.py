"""Student whose soft targets are compared with the teacher's own outputs.

Source: https://github.com/labmlai/annotated_deep_learning_paper_implementations/issues/66
Cause: in a refactoring the soft probabilities of the student were computed from large_logits, as those of the teacher
are: the divergence is 0 for good, and the student learns from the few labels alone.
Fix: compute them from the output of the student.
New cause: loss-term-without-effect: a term of the loss does not depend on what the model computes, as where it compares
    other tensors than are meant.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import accuracy, batches, mnist

TRUTH = ("loss-term-without-effect", "graph-cut")


def conv_net(width: int, hidden: int, drop: float = 0.0):
    return nn.Sequential(
        nn.Conv2d(1, width, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(drop),
        nn.Linear(2 * width * 49, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
    )


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(8000, 2000)
    large = conv_net(16, 128, drop=0.3)
    optimizer = torch.optim.Adam(large.parameters(), lr=2e-3)
    for i in batches(len(x), 100, 3, seed):
        optimizer.zero_grad()
        F.cross_entropy(large(x[i]), y[i]).backward()
        optimizer.step()
    large.eval()

    x, y = x[:400], y[:400]  # the transfer set is small
    small = conv_net(6, 32)
    optimizer = torch.optim.Adam(small.parameters(), lr=1e-3)
    kl_div, temperature = nn.KLDivLoss(log_target=True, reduction="batchmean"), 5.0
    with watch(small, None, optimizer) as doctor:
        for i in batches(len(x), 20, 30, seed):
            with torch.no_grad():
                large_logits = large(x[i])
            output = small(x[i])
            soft_targets = F.log_softmax(large_logits / temperature, dim=-1)
            soft_prob = F.log_softmax((output if fixed else large_logits) / temperature, dim=-1)
            loss = 0.9 * temperature**2 * kl_div(soft_prob, soft_targets) + 0.1 * F.cross_entropy(output, y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {
        "score": accuracy(small, tx, ty),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
