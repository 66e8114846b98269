"""Many multilayer perceptrons of one shape, trained side by side as one batched computation, all of it by hand.

The networks of an ensemble see the same batches, so the first layer of all of them is one matrix product.
Sizes in comments and docstrings: M networks, B images, D pixels, H units of a layer, C classes.
"""

from collections.abc import Callable
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor

# A configuration names what differs from these. The networks of one ensemble agree in the keys of SHARED,
# and each has its own values of OWN.
SHARED = {
    "hidden": (64,),  # units of each hidden layer; () is the linear model
    "activation": "relu",
    "batch_size": 128,
    "epochs": 3,
    "momentum": 0.0,
    "falling_rate": False,  # the learning rate falls linearly to 0
    "train_size": None,  # use the first so many training images; None: all
}
OWN = {
    "init": "he",  # "he", "xavier", or the half-width a of U(-a, a) in every layer
    "init_seed": None,  # None: the seed of the trial
    "lr": 0.1,
    "weight_decay": 0.0,
}

# name -> (function, its derivative written in terms of the function's value)
ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "identity": (lambda z: z, torch.ones_like),
    "relu": (torch.relu, lambda a: (a > 0).to(a.dtype)),  # 0 at 0, where torch 2.6 gives clamp 1
    "sigmoid": (torch.sigmoid, lambda a: a * (1 - a)),
    "tanh": (torch.tanh, lambda a: 1 - a * a),
}


def init_bound(init: str | float, fan_in: int, fan_out: int) -> float:
    """Return a of U(-a, a), whose variance is a^2 / 3.

    "he": 2 / fan_in (He et al. 2015); "xavier": 2 / (fan_in + fan_out) (Glorot and Bengio 2010); or a itself.
    """
    match init:
        case "he":
            return sqrt(6 / fan_in)
        case "xavier":
            return sqrt(6 / (fan_in + fan_out))
        case int() | float():
            return float(init)
    raise ValueError(f'init must be "he", "xavier" or a number, not {init!r}.')


def side_by_side(weight: Tensor) -> Tensor:
    """View the first layer's weights (M, D, H) as the one matrix (D, M*H) as which they lie in memory."""
    return weight.transpose(0, 1).view(weight.shape[1], -1)


class Ensemble:
    """M networks: `weights` (M, fan_in, fan_out) and `biases` (M, 1, fan_out) layer by layer."""

    def __init__(self, sizes: list[int], activation: str, inits: list, seeds: list[int], like: Tensor, momentum=0.0):
        """Draw one network per entry of `inits` and `seeds`, biases 0, with the device and dtype of `like`.

        Equal seeds draw equal numbers, up to the scale that `inits` gives them.
        """
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}.")
        self.function, self.derivative = ACTIVATIONS[activation]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.weights, self.biases = [], []
        for fan_in, fan_out in pairwise(sizes):
            drawn = [
                init_bound(init, fan_in, fan_out) * (2 * torch.rand(fan_in, fan_out, generator=generator) - 1)
                for init, generator in zip(inits, generators, strict=True)
            ]
            # Only the first layer takes the same input in every network: its weights lie side by side.
            weight = torch.stack(drawn) if self.weights else torch.stack(drawn, 1).transpose(0, 1)
            self.weights.append(weight.to(like))
            self.biases.append(like.new_zeros(len(seeds), 1, fan_out))
        # Without momentum the velocities need not be kept: each step goes straight into the parameters.
        self.momentum, self.velocities, self.bias_velocities = momentum, self.weights, self.biases
        if momentum:
            self.velocities, self.bias_velocities = ([*map(torch.zeros_like, p)] for p in (self.weights, self.biases))

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Return the hidden activations (M, B, H), their slopes da/dz, and the logits (M, B, C)."""
        z = images @ side_by_side(self.weights[0])  # (B, M*H)
        z = z.view(len(images), len(self.weights[0]), -1).transpose(0, 1) + self.biases[0]  # (M, B, H)
        hidden, slopes = [], []
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            hidden.append(self.function(z))
            slopes.append(self.derivative(hidden[-1]))
            z = torch.baddbmm(bias, hidden[-1], weight)
        return hidden, slopes, z

    def backward(self, images: Tensor, labels: Tensor, scale: Tensor):
        """Return the losses (M,) and the gradients times `scale` (M, 1, 1), as (left, right, bias) for each layer.

        The weights' gradient is the product left @ right, not multiplied out so that it can be added in place.
        """
        hidden, slopes, logits = self.forward(images)
        rows = torch.arange(len(labels), device=labels.device)
        log_p = logits.log_softmax(2)
        losses = -log_p[:, rows, labels].mean(1)
        delta = log_p.exp()
        delta[:, rows, labels] -= 1
        delta *= scale / len(labels)  # all that follows is linear in delta: the scale enters here, once
        gradients = []
        for weight, a, slope in zip(self.weights[:0:-1], hidden[::-1], slopes[::-1], strict=True):
            gradients.append((a.transpose(1, 2), delta, delta.sum(1, keepdim=True)))
            delta = torch.bmm(delta, weight.transpose(1, 2)) * slope
        gradients.append((images.T, delta.transpose(0, 1).flatten(1), delta.sum(1, keepdim=True)))
        return losses, gradients[::-1]

    def step(self, images: Tensor, labels: Tensor, lr: Tensor, decay: Tensor | None = None) -> Tensor:
        """Train on one batch: v <- momentum v - lr (gradient + decay w), w <- w + v; return the losses (M,) before it.

        `lr` and `decay`: (M, 1, 1). The weights' gradients get no tensors of their own.
        """
        losses, gradients = self.backward(images, labels, -lr)
        keep = self.momentum or 1
        for layer, (left, right, bias) in enumerate(gradients):
            w, v, v_bias = self.weights[layer], self.velocities[layer], self.bias_velocities[layer]
            pull = None if decay is None else lr * decay * w
            if layer == 0:
                torch.addmm(side_by_side(v), left, right, beta=keep, out=side_by_side(v))
            else:
                torch.baddbmm(v, left, right, beta=keep, out=v)
            if pull is not None:
                v -= pull
            v_bias.mul_(keep).add_(bias)
            if self.momentum:
                w += v
                self.biases[layer] += v_bias
        return losses

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy (M,) and the accuracy (M,)."""
        losses, hits = 0, 0
        for x, y in zip(images.split(1000), labels.split(1000), strict=True):
            logits = self.forward(x)[2]
            losses += (logits.logsumexp(2) - logits[:, torch.arange(len(y), device=y.device), y]).sum(1)
            hits += (logits.argmax(2) == y).sum(1)
        return losses / len(labels), hits / len(labels)


def complete(configs: list[dict]) -> list[dict]:
    """Return the configurations with every default filled in; all must agree in the keys of SHARED."""
    if unknown := {key for config in configs for key in config} - {*SHARED, *OWN}:
        raise ValueError(f"no such setting: {', '.join(sorted(unknown))}; there are {', '.join([*SHARED, *OWN])}.")
    configs = [SHARED | OWN | config for config in configs]
    configs = [config | {"hidden": tuple(config["hidden"])} for config in configs]
    for key in SHARED:
        if any(config[key] != configs[0][key] for config in configs):
            raise ValueError(f"the networks of one ensemble must agree in {key!r}: train them in groups.")
    return configs


@torch.no_grad()
def train(configs: list[dict], seed: int, data: tuple[Tensor, Tensor, Tensor, Tensor]) -> list[dict]:
    """Train one network per configuration, all on the same batches, and return the results of each.

    `data`: training images (N, D) as floats and labels (N,), then the same two for validation, on one device.
    `seed` decides the order of the data and, without "init_seed", the initial weights. A result
    holds lists with the training loss (mean over the epoch's batches), the validation loss and the validation
    accuracy after each epoch, and the last entry of each.
    """
    images, labels, *validation = data
    configs = complete(configs)
    shared = configs[0]
    lr, decay = (
        torch.tensor([config[key] for config in configs], dtype=images.dtype, device=images.device).view(-1, 1, 1)
        for key in ("lr", "weight_decay")
    )
    seeds = [seed if config["init_seed"] is None else config["init_seed"] for config in configs]
    sizes, inits = [images.shape[1], *shared["hidden"], 10], [config["init"] for config in configs]
    networks = Ensemble(sizes, shared["activation"], inits, seeds, images[:0], shared["momentum"])
    decay = decay if decay.any() else None
    order = torch.Generator().manual_seed(seed)
    count = min(shared["train_size"] or len(images), len(images))
    steps = shared["epochs"] * -(-count // shared["batch_size"])
    step, history = 0, []
    for _ in range(shared["epochs"]):
        train_losses = 0
        for batch in torch.randperm(count, generator=order).to(images.device).split(shared["batch_size"]):
            rate = lr * (1 - step / steps) if shared["falling_rate"] else lr
            losses = networks.step(images[batch], labels[batch], rate, decay)
            train_losses += losses * (len(batch) / count)
            step += 1
        history.append(torch.stack([train_losses, *networks.evaluate(*validation)]))
    names = ("train_loss", "val_loss", "val_accuracy")
    curves = [dict(zip(names, of_one.tolist(), strict=True)) for of_one in torch.stack(history, -1).unbind(1)]
    return [{n: c[n][-1] for n in names} | {f"{n}_curve": c[n] for n in names} for c in curves]
