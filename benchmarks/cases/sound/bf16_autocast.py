"""Mixed precision on the CPU: the forward pass in bfloat16 under autocast, the loss and the weights in float32.

A careless tool could take outputs of bfloat16, or the rounding of activations, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(6000, 1000)
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 128),
        nn.LayerNorm(128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                outputs = model(x[i])
                loss = doctor.loss_fn(outputs, y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:3000], y[:3000]),
        "test": (tx, ty),
    }
