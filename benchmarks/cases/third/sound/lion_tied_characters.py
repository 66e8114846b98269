"""A character language model whose output layer is its embedding, trained by a hand-written Lion: signs alone, with a
step under no_grad, and a rate that falls to 0.

A careless tool could take weights that two layers share, or steps all of one size, for a fault.
"""

import math

import torch
from torch import nn

ALPHABET = " abcdefghijklmnopqrstuvwxyz.,"
NOUNS = [
    "river",
    "stone",
    "garden",
    "window",
    "letter",
    "mountain",
    "captain",
    "lantern",
    "winter",
    "village",
    "harbor",
    "engine",
]
VERBS = ["follows", "remembers", "carries", "opens", "watches", "paints", "answers", "crosses"]
ADJECTIVES = ["old", "quiet", "broken", "golden", "distant", "careful", "empty", "heavy"]


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(torch.sign(b1 * momentum + (1 - b1) * p.grad), alpha=-group["lr"])
                momentum.mul_(b2).add_(p.grad, alpha=1 - b2)


def write(sentences):
    def pick(words):
        return words[int(torch.randint(len(words), ()))]

    text = []
    for _ in range(sentences):
        subject, thing = f"the {pick(ADJECTIVES)} {pick(NOUNS)}", f"a {pick(NOUNS)}"
        tail = f", and the {pick(NOUNS)} {pick(VERBS)} it" if torch.rand(()) < 0.3 else ""
        text.append(f"{subject} {pick(VERBS)} {thing}{tail}. ")
    return torch.tensor([ALPHABET.index(c) for c in "".join(text)])


class CharGPT(nn.Module):
    def __init__(self, dim=48, heads=4, depth=2, context=48):
        super().__init__()
        self.embed, self.position = nn.Embedding(len(ALPHABET), dim), nn.Embedding(context, dim)
        layer = nn.TransformerEncoderLayer(dim, heads, 4 * dim, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, depth, nn.LayerNorm(dim), enable_nested_tensor=False)
        self.to_vocab = nn.Linear(dim, len(ALPHABET), bias=False)
        self.to_vocab.weight = self.embed.weight
        nn.init.normal_(self.embed.weight, std=0.05)
        nn.init.normal_(self.position.weight, std=0.05)

    def forward(self, tokens):
        t = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(t)
        h = self.embed(tokens) + self.position(torch.arange(t))
        return self.to_vocab(self.layers(h, mask=mask, is_causal=True))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    text, held = write(1500), write(150)
    context, size, steps, warm = 48, 24, 450, 30
    held = held[: len(held) // (context + 1) * (context + 1)].view(-1, context + 1)

    model = CharGPT()
    criterion = nn.CrossEntropyLoss()
    optimizer = Lion(model.parameters(), lr=1e-3, weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: (s + 1) / warm if s < warm else 0.5 * (1 + math.cos(math.pi * (s - warm) / (steps - warm))),
    )
    with watch(model, criterion, optimizer) as doctor:
        for step in range(steps):
            model.train()
            start = torch.randint(len(text) - context - 1, (size, 1))
            window = text[start + torch.arange(context + 1)]
            logits = model(window[:, :-1])
            loss = doctor.loss_fn(logits.flatten(0, 1), window[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            if (step + 1) % 150 == 0:
                model.eval()
                with torch.no_grad():
                    logits = model(held[:, :-1])
                    bits = criterion(logits.flatten(0, 1), held[:, 1:].flatten()).item() / math.log(2)
                    right = (logits.argmax(-1) == held[:, 1:]).float().mean().item()
    return {
        "score": right,
        "metric": f"characters right ({bits:.2f} bits each)",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
