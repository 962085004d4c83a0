"""The callback records what a Trainer does, with losses of lightly too."""

import pytest
import torch
from torch import nn

import sslsim
from sslsim.core.files import read_json, read_lines
from sslsim.runs.recording import lightning_callback

GENERATOR = torch.Generator().manual_seed(0)
X, NOISE = torch.randn(2, 64, 6, generator=GENERATOR)
X_PRIME = X + 0.2 * NOISE


def test_a_missing_package_is_said_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(lightning_callback, "Callback", object)
    with pytest.raises(ValueError, match=r"not installed; .* pip install 'sslsim\[lightning\]'"):
        lightning_callback.RecorderCallback(tmp_path, X, X_PRIME)


@pytest.mark.filterwarnings("ignore")  # of packages that are not ours
@pytest.mark.parametrize("loss", ["lightly", "own"])
def test_a_trainer_is_recorded(tmp_path, loss):
    lightning = pytest.importorskip("lightning.pytorch")
    if loss == "lightly":
        objective = pytest.importorskip("lightly.loss").BarlowTwinsLoss()
    else:
        objective = sslsim.objectives.vicreg

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = nn.Linear(6, 3)

        def training_step(self, batch, _):
            return objective(self.network(batch[0]), self.network(batch[1]))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.5)

    callback = sslsim.RecorderCallback(
        tmp_path / "run", X, X_PRIME, encoder="network", method=objective, records=20
    )
    pairs = torch.utils.data.TensorDataset(X, X_PRIME)
    trainer = lightning.Trainer(
        max_steps=12,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Module(), torch.utils.data.DataLoader(pairs, batch_size=16))
    lines = read_lines(tmp_path / "run" / "records.jsonl")
    assert lines[-1]["step"] == 12
    assert lines[-1]["time"] == pytest.approx(12 * 0.01 / 0.5)
    assert lines[-1]["probe_loss"] < lines[0]["probe_loss"]
    assert lines[-1]["loss"] > 0
    options = read_json(tmp_path / "run" / "config.json")["options"]
    assert (options["momentum"], options["encoder"]) == (0.5, "Linear")
    assert read_json(tmp_path / "run" / "training.json")["steps"] == 12
