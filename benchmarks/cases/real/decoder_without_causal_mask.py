"""A language model whose attention sees the tokens that it has to predict.

Source: https://github.com/alex-matton/causal-transformer-decoder/issues/1 (also pytorch/tutorials#2662)
Cause: no causal mask in training. Each place attends to the next token, which is its target, so the loss falls to
almost 0, and text that is written token by token is worthless.
Fix: pass the causal mask.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches

TRUTH = ("target-leak",)
WORDS, LENGTH = 16, 12


class Decoder(nn.Module):
    def __init__(self, causal, width=32):
        super().__init__()
        self.causal = causal
        self.words, self.places = nn.Embedding(WORDS, width), nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(width, WORDS)

    def forward(self, tokens):
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length) if self.causal else None
        return self.out(self.layers(self.words(tokens) + self.places.weight[:length], mask=mask))


def sequences(n, seed):
    """Return counts upwards (N, LENGTH + 1), modulo WORDS, by 1, 2 or 3, which the first two tokens tell."""
    g = torch.Generator().manual_seed(seed)
    start, step = torch.randint(0, WORDS, (n, 1), generator=g), torch.randint(1, 4, (n, 1), generator=g)
    return (start + step * torch.arange(LENGTH + 1)) % WORDS


def next_token_loss(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


@torch.no_grad()
def continued_right(model, texts, given=4):
    model.eval()
    written = texts[:, :given]
    while written.shape[1] < LENGTH:
        written = torch.cat([written, model(written)[:, -1:].argmax(2)], 1)
    return (written[:, given:] == texts[:, given:LENGTH]).float().mean().item()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    texts, test = sequences(2000, 1), sequences(500, 2)
    model = Decoder(causal=fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    with watch(model, next_token_loss, optimizer) as doctor:
        for i in batches(len(texts), 40, 6, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(texts[i, :-1]), texts[i, 1:])
            loss.backward()
            optimizer.step()
    score = continued_right(model, test)
    probe, test = ((part[:, :-1], part[:, 1:]) for part in (texts, test))
    return {"score": score, "metric": "tokens written right", "doctor": doctor, "probe": probe, "test": test}
