"""The callbacks, with the real packages: skipped where those are not installed (extras of pyproject.toml)."""

import pytest
import torch
from torch import nn

from doctor.integrations import LightningDoctor, TrainerDoctor

X = torch.randn(320, 8, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def network(frozen: bool) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2), *[nn.Softmax(1)] * frozen)


@pytest.mark.parametrize("faulty", [False, True])
def test_lightning(faulty, capsys, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network(faulty)

        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-2)

    def trained(callbacks):
        module = Module()
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), 16)
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        trainer = lightning.Trainer(max_epochs=6, accelerator="cpu", callbacks=callbacks, **quiet)
        trainer.fit(module, loader)
        return module.state_dict()

    doctor = LightningDoctor(every=1, html=str(tmp_path / "report.html"))
    watched, plain = trained([doctor]), trained([])
    assert all(torch.equal(watched[name], plain[name]) for name in plain)
    check(doctor, faulty, capsys, tmp_path)


@pytest.mark.parametrize("faulty", [False, True])
def test_hugging_face(faulty, capsys, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network(faulty)

        def forward(self, x, labels):
            logits = self.net(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    def trained(callbacks):
        options = transformers.TrainingArguments(
            str(tmp_path), num_train_epochs=6, per_device_train_batch_size=16, learning_rate=1e-2, use_cpu=True,
            report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, lr_scheduler_type="constant",
        )  # fmt: skip
        data = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
        trainer = transformers.Trainer(Model(), options, train_dataset=data, callbacks=callbacks)
        trainer.train()
        return trainer.model.state_dict()

    doctor = TrainerDoctor(every=1, html=str(tmp_path / "report.html"))
    watched, plain = trained([doctor]), trained([])
    assert all(torch.equal(watched[name], plain[name]) for name in plain)
    check(doctor, faulty, capsys, tmp_path)


def check(doctor, faulty, capsys, folder):
    (report,) = doctor.reports
    causes = [finding.cause for finding in report.findings]
    assert causes[:1] == (["softmax-before-loss"] if faulty else []), report
    assert "==== doctor:" in capsys.readouterr().err and (folder / "report.html").exists()
