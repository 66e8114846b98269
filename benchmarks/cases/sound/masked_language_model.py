"""BERT's task: 15 % of the tokens are hidden by [MASK] or changed, and guessed; all others have the target -100.

A careless tool could take targets that are mostly -100, or inputs that hold the targets, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

VOCAB, LENGTH, MASK = 24, 16, 24


def sentences(n):
    """Return tokens of which each is the one before it plus a step that the sentence keeps."""
    start, step = torch.randint(VOCAB, (n, 1)), torch.randint(1, 4, (n, 1))
    return (start + step * torch.arange(LENGTH)) % VOCAB


def hide(tokens):
    chosen = torch.rand(tokens.shape) < 0.15
    inputs, labels = tokens.clone(), torch.where(chosen, tokens, -100)
    inputs[chosen & (torch.rand(tokens.shape) < 0.8)] = MASK
    other = chosen & (inputs != MASK) & (torch.rand(tokens.shape) < 0.5)
    inputs[other] = torch.randint(VOCAB, (int(other.sum()),))
    return inputs, labels


class Bert(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.words, self.places = nn.Embedding(VOCAB + 1, width), nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(width, 4, 96, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, VOCAB)

    def forward(self, tokens):
        return self.head(self.encoder(self.words(tokens) + self.places.weight)).transpose(1, 2)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    train, test = sentences(4000), sentences(500)
    model = Bert()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    with watch(model, nn.CrossEntropyLoss(ignore_index=-100), optimizer) as doctor:
        for i in batches(len(train), 64, 6, seed):
            inputs, labels = hide(train[i])
            loss = doctor.loss_fn(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    inputs, labels = hide(test)
    right = (model(inputs).argmax(1) == labels)[labels != -100]
    score, test = right.float().mean().item(), (inputs, labels)
    return {"score": score, "metric": "tokens guessed", "doctor": doctor, "probe": hide(train), "test": test}
