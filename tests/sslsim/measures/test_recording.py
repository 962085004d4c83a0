"""Snapshots are the literal metrics, leave the network as it is, and files stay valid."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from sslsim.coding_rate import coding_rate
from sslsim.core.distributed import GlobalBatchNorm
from sslsim.data.datasets import load_images
from sslsim.encoders.build import Encoder, build_encoder
from sslsim.measures.embeddings import alignment, lidar, uniformity
from sslsim.measures.snapshots import RANK, HeldOutPairs, draw_held_out_pairs, snapshot
from sslsim.objectives import barlow_twins
from sslsim.training.records import Records


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def probe_of(n=20):
    return HeldOutPairs(*torch.rand(2, n, 1, 8, 8, generator=generator(1)))


def batch_norm_encoder(layer):
    encoder = build_encoder("mlp", (1, 8, 8), 5, seed=0, widths=(7,), projector="linear")
    backbone = nn.Sequential(encoder.backbone, layer, nn.Dropout(0.5))
    return Encoder(backbone, encoder.projector, 7, 5)


def test_a_snapshot_is_the_literal_metrics():
    encoder, probe = build_encoder("mlp", (1, 8, 8), 5, seed=0, widths=(7,)), probe_of()
    found = snapshot(encoder, probe, barlow_twins)
    with torch.no_grad():
        z, z_prime = (encoder(x).double().numpy() for x in (probe.x, probe.x_prime))
    n, centred = len(z), z - z.mean(0)
    descending = np.linalg.eigvalsh((z.T @ z_prime + z_prime.T @ z) / (2 * n))[::-1]
    scale = np.abs(descending).max()
    np.testing.assert_allclose(found["cross_spectrum"], descending, atol=1e-13 * scale)
    spectrum = np.linalg.svd(centred, compute_uv=False) ** 2
    ratio = found["covariance_spectrum"] / spectrum
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)  # one divisor, n or n - 1
    assert 1 / ratio[0] in (pytest.approx(n), pytest.approx(n - 1))
    share = spectrum / spectrum.sum()
    assert found["effective_rank"] == pytest.approx(np.exp(-(share * np.log(share)).sum()))
    assert found["probe_loss"] == pytest.approx(
        barlow_twins(torch.tensor(z), torch.tensor(z_prime)).item()
    )
    z, z_prime = torch.tensor(z), torch.tensor(z_prime)
    groups = torch.arange(n).repeat(2)
    assert found["lidar"] == pytest.approx(lidar(torch.cat([z, z_prime]), groups).item())
    assert found["alignment"] == pytest.approx(alignment(z, z_prime).item())
    assert found["uniformity"] == pytest.approx(uniformity(z).item())
    assert found["coding_rate"] == pytest.approx(coding_rate(torch.tensor(centred), 0.1).item())
    np.testing.assert_allclose(found["mean"], z.mean(0).numpy(), rtol=1e-12)
    np.testing.assert_allclose(found["scores"] @ found["axes"].T, centred, atol=1e-12)
    np.testing.assert_allclose(found["axes"].T @ found["axes"], np.eye(5), atol=1e-12)
    assert "probe_loss" not in snapshot(encoder, probe)


def test_no_more_components_are_kept_than_said():
    encoder = build_encoder("linear", (1, 8, 8), RANK + 4, seed=0)
    found = snapshot(encoder, probe_of(30))
    assert found["scores"].shape == (30, RANK)
    assert found["axes"].shape == (RANK + 4, RANK)
    assert found["cross_spectrum"].shape == (RANK + 4,)


class Failing(nn.Module):
    """Raises."""

    def forward(self, x):
        """Raise."""
        raise RuntimeError("inside the network")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("ours", [False, True])
def test_the_network_and_the_random_state_are_left_as_they_are(fails, training, ours):
    layer = nn.BatchNorm1d(7, momentum=0.3)
    encoder = batch_norm_encoder(GlobalBatchNorm(layer) if ours else layer).train(training)
    encoder.backbone[2].train(not training)  # modes may be mixed
    if fails:
        encoder.projector = Failing()
    state = {k: v.clone() for k, v in encoder.state_dict().items()}
    tensors = {k: id(v) for k, v in [*encoder.named_parameters(), *encoder.named_buffers()]}
    modes = [part.training for part in encoder.modules()]
    attributes = [
        {k: v for k, v in vars(part).items() if not k.startswith("_")} for part in encoder.modules()
    ]
    rng = torch.get_rng_state()
    if fails:
        with pytest.raises(RuntimeError, match="inside the network"):
            snapshot(encoder, probe_of())
    else:
        first, second = (snapshot(encoder, probe_of()) for _ in range(2))
        assert all(np.array_equal(first[k], second[k]) for k in first)
    assert torch.equal(torch.get_rng_state(), rng)
    assert encoder.state_dict().keys() == state.keys()
    assert all(torch.equal(v, state[k]) for k, v in encoder.state_dict().items())
    named = [*encoder.named_parameters(), *encoder.named_buffers()]
    assert {k: id(v) for k, v in named} == tensors
    assert [part.training for part in encoder.modules()] == modes
    assert all(p.grad is None for p in encoder.parameters())
    after = [
        {k: v for k, v in vars(part).items() if not k.startswith("_")} for part in encoder.modules()
    ]
    assert after == attributes


@pytest.mark.parametrize("ours", [False, True])
def test_batch_norm_uses_the_statistics_of_the_probe_set(ours):
    layer = nn.BatchNorm1d(7)
    encoder = batch_norm_encoder(GlobalBatchNorm(layer) if ours else layer)
    with torch.no_grad():
        layer.running_mean.fill_(100.0)
        layer.running_var.fill_(1e6)
        hidden = encoder.backbone[0](probe_of().x)
        hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + layer.eps).sqrt()
        expected = encoder.projector(hidden).mean(0)
    found = snapshot(encoder, probe_of())
    np.testing.assert_allclose(found["mean"], expected, atol=1e-6)
    assert found["covariance_spectrum"].max() > 1e-3


def test_embeddings_that_are_not_finite_are_an_error_in_one_line():
    encoder = build_encoder("linear", (1, 8, 8), 2, seed=0)
    with torch.no_grad():
        next(encoder.parameters())[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"^embeddings of the probe set are not finite; exp.*$"):
        snapshot(encoder, probe_of())


def test_the_probe_set_is_spread_over_the_images_and_drawn_from_its_seed():
    images = load_images(limit=40).images
    one, again, other = (draw_held_out_pairs(images, "noise", 10, seed) for seed in (3, 3, 4))
    assert torch.equal(one.x, again.x)
    assert torch.equal(one.x_prime, again.x_prime)
    assert not torch.equal(one.x, other.x)
    assert not torch.equal(one.x, one.x_prime)
    # Noise of 0.1 does not hide which image it is.
    flat = images.flatten(1).float() / 255
    assert torch.cdist(one.x.flatten(1), flat).argmin(1).tolist() == list(range(0, 40, 4))
    assert len(draw_held_out_pairs(images, "noise", 100, seed=0).x) == 40
    with pytest.raises(ValueError, match=r"the probe set has 1 image\(s\); expected at least 2"):
        draw_held_out_pairs(images[:1], "noise", 10, seed=0)


def fill(recorder, steps):
    for step in steps:
        numbers = {"step": step, "time": step / 7, "rank_me": 1.5, "loss": float("nan")}
        recorder.add({**numbers, "lidar": float("inf"), "mean": np.full(3, step / 3)})


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_files_are_strict_json_and_stacked_arrays(tmp_path):
    recorder = Records(tmp_path)
    fill(recorder, (0, 2, 5))
    path = tmp_path / "records.jsonl"
    assert [line["step"] for line in strict(path.read_text())] == [0, 2, 5]  # before saving
    recorder.save()
    lines = strict(path.read_text())
    assert lines == recorder.lines
    assert lines[1] == {"step": 2, "time": 2 / 7, "rank_me": 1.5, "loss": None, "lidar": None}
    with np.load(tmp_path / "records.npz") as file:
        assert file["steps"].tolist() == [0, 2, 5]
        assert file["times"].tolist() == [0, 2 / 7, 5 / 7]
        assert file["mean"].shape == (3, 3)
        assert file["mean"].dtype == np.float32


@pytest.mark.parametrize("step", [-1, 0, 2, 4, 5, 100])
def test_resuming_drops_later_records_only(tmp_path, step):
    recorder = Records(tmp_path / "run")
    recorder.resume(-1)
    fill(recorder, (0, 2, 5))
    recorder.save()
    fill(recorder, (7,))  # in the lines alone: the process ended before the next save
    with (tmp_path / "run" / "records.jsonl").open("a") as file:
        file.write('{"step": 9, "ti')
    (tmp_path / "run" / ".records.npz.123.tmp").write_bytes(b"half")
    resumed = Records(tmp_path / "run")
    resumed.resume(step)
    kept = [k for k in (0, 2, 5) if k <= step]
    assert [line["step"] for line in resumed.lines] == kept
    assert strict((tmp_path / "run" / "records.jsonl").read_text()) == resumed.lines
    assert not (tmp_path / "run" / ".records.npz.123.tmp").exists()
    fill(resumed, (6, 8))
    resumed.save()
    fresh = Records(tmp_path)
    fill(fresh, [*kept, 6, 8])
    fresh.save()
    for name in ("records.jsonl", "records.npz"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="run cannot be made: Not a directory"):
        Records(tmp_path / "file" / "run").resume(-1)


def test_the_second_view_of_a_probe_set_is_the_second_of_its_recipe():
    """Of ``strong`` every first view is blurred and no first view solarised."""
    images = load_images(limit=400).images.repeat_interleave(4, 2).repeat_interleave(4, 3)
    probe = draw_held_out_pairs(images, "strong", 400, seed=0)
    # A tenth of the second views is blurred: they keep more of their sharp edges.
    sharp = [
        view.diff(dim=-1).abs().amax(dim=(1, 2, 3)).mean() for view in (probe.x, probe.x_prime)
    ]
    assert sharp[1] > 1.2 * sharp[0]
