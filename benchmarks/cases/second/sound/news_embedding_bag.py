"""News topics as in the PyTorch tutorial: EmbeddingBag with offsets, SGD with rate 5, clipping at 0.1, StepLR.

A careless tool could take the rate of 5, the clipping at 0.1, or one long tensor of words for a batch for a fault.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader

TOPICS = ("World", "Sports", "Business", "Sci/Tech")


def write_news(n, vocab_size=800):
    """Each topic has 60 words of its own among 800; a text of 15 to 40 words holds some, often of others too."""
    news = []
    for _ in range(n):
        topic = int(torch.randint(4, (1,)))
        length = int(torch.randint(15, 41, (1,)))
        common = 240 + (torch.rand(length) ** 2 * (vocab_size - 240)).long()
        other = torch.randint(4, (length,)) * 60 + torch.randint(60, (length,))
        own = topic * 60 + (torch.rand(length) ** 2 * 60).long()
        kind = torch.multinomial(torch.tensor([0.72, 0.14, 0.14]), length, replacement=True)
        news.append((topic + 1, torch.stack([common, other, own])[kind, torch.arange(length)]))
    return news


def collate_batch(batch):
    label_list, text_list, offsets = [], [], [0]
    for label, text in batch:
        label_list.append(label - 1)
        text_list.append(text)
        offsets.append(text.size(0))
    return torch.tensor(label_list), torch.cat(text_list), torch.tensor(offsets[:-1]).cumsum(dim=0)


class TextClassificationModel(nn.Module):
    def __init__(self, vocab_size, embed_dim, num_class):
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocab_size, embed_dim, sparse=False)
        self.fc = nn.Linear(embed_dim, num_class)
        self.init_weights()

    def init_weights(self):
        initrange = 0.5
        self.embedding.weight.data.uniform_(-initrange, initrange)
        self.fc.weight.data.uniform_(-initrange, initrange)
        self.fc.bias.data.zero_()

    def forward(self, text, offsets):
        return self.fc(self.embedding(text, offsets))


def evaluate(model, dataloader):
    model.eval()
    total_acc, total_count = 0, 0
    with torch.no_grad():
        for label, text, offsets in dataloader:
            predicted_label = model(text, offsets)
            total_acc += (predicted_label.argmax(1) == label).sum().item()
            total_count += label.size(0)
    return total_acc / total_count


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    train_news, valid_news, test_news = write_news(4000), write_news(400), write_news(1000)
    train_dataloader = DataLoader(train_news, batch_size=8, shuffle=True, collate_fn=collate_batch)
    valid_dataloader = DataLoader(valid_news, batch_size=64, collate_fn=collate_batch)
    test_dataloader = DataLoader(test_news, batch_size=64, collate_fn=collate_batch)
    model = TextClassificationModel(800, 64, len(TOPICS))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1.0, gamma=0.1)
    total_accu = None
    with watch(model, criterion, optimizer) as doctor:
        for _epoch in range(6):
            model.train()
            for label, text, offsets in train_dataloader:
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(text, offsets), label)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                optimizer.step()
            accu_val = evaluate(model, valid_dataloader)
            if total_accu is not None and total_accu > accu_val:
                scheduler.step()
            else:
                total_accu = accu_val
    return {
        "score": evaluate(model, test_dataloader),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
