"""A model in the manner of Hugging Face: called with input_ids, attention_mask and labels, it returns a dataclass.

A careless tool could miss the loss function, or stumble over outputs that are no tensor.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, toy_text


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


class ForSequenceClassification(nn.Module):
    def __init__(self, vocab=50, width=32, num_labels=2):
        super().__init__()
        self.embeddings, self.norm = nn.Embedding(vocab, width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.pooler, self.classifier = nn.Linear(width, width), nn.Linear(width, num_labels)

    def forward(self, input_ids, attention_mask, labels=None):
        h = self.embeddings(input_ids)
        mixed, _ = self.attention(h, h, h, key_padding_mask=~attention_mask, need_weights=False)
        h = self.norm(h + mixed) * attention_mask[..., None]
        pooled = torch.tanh(self.pooler(h.sum(1) / attention_mask.sum(1, keepdim=True)))
        logits = self.classifier(pooled)
        return Output(logits, None if labels is None else F.cross_entropy(logits, labels))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, _ = toy_text(6000, min_length=5, seed=3)
    n = len(x) - 1000
    model = ForSequenceClassification()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    with watch(model, None, optimizer) as doctor:
        for i in batches(n, 64, 4, seed):
            batch = {"input_ids": x[i], "attention_mask": x[i] != 0, "labels": y[i]}
            outputs = model(**batch)
            outputs.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        score = (model(x[n:], x[n:] != 0).logits.argmax(1) == y[n:]).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": None, "test": None}
