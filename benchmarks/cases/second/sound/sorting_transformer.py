"""A transformer encoder sorts digits: each place of the output says which digit stands there; AdamW, warm-up.

A careless tool could take outputs (B, T, 10), transposed for cross-entropy, or the linear warm-up for a fault.
"""

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


class Sorter(nn.Module):
    def __init__(self, length=12, n_digits=10, d_model=48, nhead=4, num_layers=2):
        super().__init__()
        self.token_emb = nn.Embedding(n_digits, d_model)
        self.pos_emb = nn.Parameter(0.02 * torch.randn(1, length, d_model))
        layer = nn.TransformerEncoderLayer(d_model, nhead, dim_feedforward=96, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers)
        self.head = nn.Linear(d_model, n_digits)

    def forward(self, tokens):
        return self.head(self.encoder(self.token_emb(tokens) + self.pos_emb))


def sample_batch(size, length=12):
    tokens = torch.randint(0, 10, (size, length))
    return tokens, tokens.sort(dim=1).values


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    model = Sorter()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    scheduler = LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 40))
    criterion = nn.CrossEntropyLoss()
    val_tokens, val_sorted = sample_batch(500)
    with watch(model, criterion, optimizer) as doctor:
        model.train()
        for _step in range(400):
            tokens, target = sample_batch(64)
            logits = model(tokens)
            loss = doctor.loss_fn(logits.transpose(1, 2), target)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
    model.eval()
    with torch.no_grad():
        score = (model(val_tokens).argmax(-1) == val_sorted).float().mean().item()
    return {"score": score, "metric": "digits in the right place", "doctor": doctor, "probe": None, "test": None}
