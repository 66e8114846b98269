"""Networks built from genes (widths, dropout, activation, optimizer), of which the best is looked for.

Source: https://github.com/offbit/evo-design/issues/3
Cause: the optimizer is made with lr=weight_decay: the gene of the learning rate is never used, and the rate is that of
the weight decay, which is far smaller.
Fix: lr=lr.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion

TRUTH = ("lr-too-low",)

GENES = {
    "layers": [
        {"nb_units": 128, "dropout_rate": 0.1, "activation": "elu"},
        {"nb_units": 64, "dropout_rate": 0.0, "activation": "relu"},
    ],
    "optimizer": "sgd",
    "lr": 2e-2,
    "weight_decay": 1e-4,
}
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "elu": nn.ELU}


class CustomModel:
    def __init__(self, build_info, fixed):
        units = 28 * 28
        self.model = nn.Sequential()
        self.model.add_module("flatten", nn.Flatten())
        for i, layer in enumerate(build_info["layers"]):
            self.model.add_module(f"fc_{i}", nn.Linear(units, layer["nb_units"]))
            self.model.add_module(f"dropout_{i}", nn.Dropout(p=layer["dropout_rate"]))
            self.model.add_module(f"act_{i}", ACTIVATIONS[layer["activation"]]())
            units = layer["nb_units"]
        self.model.add_module("classification_layer", nn.Linear(units, 10))
        self.model.add_module("softmax", nn.LogSoftmax(dim=1))
        rate = build_info["lr"] if fixed else build_info["weight_decay"]
        decay = build_info["weight_decay"]
        if build_info["optimizer"] == "adam":
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate, weight_decay=decay)
        elif build_info["optimizer"] == "rmsprop":
            self.optimizer = torch.optim.RMSprop(self.model.parameters(), lr=rate, weight_decay=decay)
        else:
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=rate, weight_decay=decay, momentum=0.9)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(10_000, 2_000)
    individual = CustomModel(GENES, fixed)
    net, optimizer = individual.model, individual.optimizer
    with watch(net, nn.NLLLoss(), optimizer) as doctor:
        net.train()
        for i in batches(len(x), 32, 2, seed):
            optimizer.zero_grad()
            output = net(x[i])
            loss = doctor.loss_fn(output, y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(net, tx, ty)
    probe = x[:1000], y[:1000]
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": probe, "test": (tx, ty)}
