"""Stars from reviews of unequal length: a bidirectional LSTM, attention over real words alone, batches cut to length.

A careless tool could take the zeros behind the end of a text, or batches of unequal width, for a fault.
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

VOCAB, CLASSES = 400, 3


def write_reviews(n):
    """Words 1-60 praise and 61-120 blame, the others are neutral; bad, so-so and good are the labels."""
    texts, labels = [], []
    while len(texts) < n:
        length = int(torch.randint(8, 36, ()))
        lean = torch.randn(()) * 0.25
        chance = torch.rand(length)
        words = torch.randint(121, VOCAB, (length,))
        words = torch.where(chance < 0.2 + 0.2 * lean.clamp(-1, 1), torch.randint(1, 61, (length,)), words)
        words = torch.where(chance > 0.8 + 0.2 * lean.clamp(-1, 1), torch.randint(61, 121, (length,)), words)
        tone = (words <= 60).float().mean() - ((words > 60) & (words <= 120)).float().mean()
        texts.append(words)
        labels.append(0 if tone < -0.1 else 2 if tone > 0.1 else 1)
    return texts, torch.tensor(labels)


class AttentionLSTM(nn.Module):
    def __init__(self, emb_dim=32, hidden=32, dropout=0.3):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, emb_dim, padding_idx=0)
        self.lstm = nn.LSTM(emb_dim, hidden, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(2 * hidden, 1)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(2 * hidden, CLASSES)

    def forward(self, tokens):
        mask = tokens != 0
        packed = pack_padded_sequence(
            self.dropout(self.embedding(tokens)), mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=tokens.shape[1])
        energy = self.attention(states).squeeze(2).masked_fill(~mask, float("-inf"))
        alpha = energy.softmax(dim=1)
        context = torch.einsum("bt,bth->bh", alpha, states)
        return self.out(self.dropout(context))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    texts, y = write_reviews(3500)
    test_texts, ty = write_reviews(800)
    x, tx = pad_sequence(texts, batch_first=True), pad_sequence(test_texts, batch_first=True)

    model = AttentionLSTM()
    optimizer = torch.optim.Adam(model.parameters(), lr=8e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _epoch in range(7):
            model.train()
            for idx in torch.randperm(len(x)).split(64):
                batch = x[idx]
                batch = batch[:, : int((batch != 0).sum(1).max())]
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(batch), y[idx])
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()

            model.eval()
            hits = 0
            with torch.no_grad():
                for k in range(0, len(tx), 200):
                    hits += (model(tx[k : k + 200]).argmax(-1) == ty[k : k + 200]).sum().item()
            score = hits / len(tx)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
