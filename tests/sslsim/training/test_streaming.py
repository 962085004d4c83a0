"""Training on images of a mapped file has the bits of training in memory."""

import threading
from dataclasses import replace

import pytest
import torch

from sslsim.core.checkpoints import load_newest_checkpoint
from sslsim.data.datasets import Images, load_images
from sslsim.data.pixels import pixel_statistics
from sslsim.encoders.build import build_encoder
from sslsim.methods.learner import PairLearner
from sslsim.objectives import barlow_twins
from sslsim.training.batches import joint_batches, training_batches
from sslsim.training.loop import train
from sslsim.training.options import TrainingOptions
from sslsim.training.prefetch import prefetched

CPU = torch.device("cpu")
DATA = load_images(limit=70)
STREAMED = replace(DATA, streamed=True)
PLACES = torch.arange(60, 10, -1)


def bits(batch):
    views, labels = batch
    parts = [*views.views, views.boxes, views.visible, views.masked, labels]
    return [None if part is None else part.numpy().tobytes() for part in parts]


@pytest.mark.parametrize("kind", ["noise", "crops", "simclr", "multicrop", "mask"])
@pytest.mark.parametrize("places", [None, PLACES])
def test_batches_have_the_bits_of_those_in_memory_in_any_order(kind, places):
    options = TrainingOptions(batch=16)
    streamed, read = (
        training_batches(data, kind, options, CPU, places) for data in (STREAMED, DATA)
    )
    for number in (0, 1, 2, 9, 1, 4):
        assert bits(streamed(number)) == bits(read(number))


@pytest.mark.parametrize("kind", ["noise", "simclr"])
def test_joint_batches_have_the_bits_of_those_in_memory(kind):
    places = [torch.arange(30), torch.arange(40, 70)]
    streamed, read = (
        joint_batches(data, kind, TrainingOptions(batch=8), CPU, places, [0, 1])
        for data in (STREAMED, DATA)
    )
    for number in (0, 1, 5):
        assert bits(streamed(number)) == bits(read(number))


@pytest.mark.parametrize("kind", ["noise", "simclr"])
@pytest.mark.parametrize("batches", [training_batches, joint_batches])
def test_streamed_images_are_only_read_in_batches(kind, batches):
    read = []

    class Counted(torch.Tensor):
        def __getitem__(self, places):
            chosen = torch.Tensor.__getitem__(self.as_subclass(torch.Tensor), places)
            read.append(len(chosen))
            return chosen

        def to(self, device):
            raise AssertionError("all images are moved")

    data = replace(STREAMED, images=DATA.images.as_subclass(Counted))
    pixels = pixel_statistics(DATA.images)
    rest = () if batches is training_batches else ([torch.arange(70)], [0])
    batch = batches(data, kind, TrainingOptions(batch=8), CPU, *rest, pixels=pixels)
    for number in range(3):
        batch(number)
    assert max(read) == 8


def test_statistics_of_some_images_are_those_of_a_data_set_of_them():
    for images in (DATA.images, torch.cat([DATA.images] * 3, dim=1)):
        some, part = pixel_statistics(images, PLACES), pixel_statistics(images[PLACES])
        assert torch.equal(some.mean, part.mean)
        assert torch.equal(some.std, part.std)
        values = images[PLACES].double() / 255
        torch.testing.assert_close(some.mean, values.mean(dim=(0, 2, 3)))
        torch.testing.assert_close(some.std, values.std(dim=(0, 2, 3), correction=0))


@pytest.mark.parametrize("places", [None, torch.tensor([], dtype=torch.int64)])
def test_statistics_of_no_image_are_refused(places):
    images = DATA.images if places is not None else DATA.images[:0]
    with pytest.raises(ValueError, match=r"expected uint8 of shape \(n, c, h, w\)"):
        pixel_statistics(images, places)


def run(folder, data: Images, stop=None):
    """Train for nine updates; or die in the update ``stop``, as if killed."""
    learner = PairLearner(build_encoder("convnet", (1, 8, 8), 4, seed=0, widths=(4,)), barlow_twins)
    if stop is not None:
        calls = []

        def die(progress):
            calls.append(progress)
            if len(calls) == stop:
                raise KeyboardInterrupt

        learner.after_step = die
    options = TrainingOptions(steps=9, batch=16, checkpoint_every=4)
    train(learner, data, "simclr", options, folder)


def test_training_ends_with_the_bits_of_training_in_memory_also_after_a_kill(tmp_path):
    run(tmp_path / "memory", DATA)
    run(tmp_path / "streamed", STREAMED)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", STREAMED, stop=7)
    run(tmp_path / "killed", STREAMED)
    states = [
        load_newest_checkpoint(tmp_path / name / "checkpoints", CPU)
        for name in ("memory", "streamed", "killed")
    ]
    assert [state["step"] for state in states] == [9] * 3
    for state in states[1:]:
        for name, tensor in states[0]["learner"].items():
            assert torch.equal(state["learner"][name], tensor)


def test_a_run_in_memory_goes_on_streamed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, DATA, stop=7)
    run(tmp_path, STREAMED)
    assert load_newest_checkpoint(tmp_path / "checkpoints", CPU)["step"] == 9


def test_the_next_result_is_computed_by_another_thread():
    threads, done = {}, threading.Event()

    def work(number):
        threads[number] = threading.get_ident()
        if number == 1:
            done.set()
        return number

    result = prefetched(work)
    assert result(0) == 0
    assert done.wait(60)
    assert threads[1] != threading.get_ident()
    assert result(1) == 1


def test_an_error_of_work_done_ahead_is_raised_where_its_result_is_wanted():
    def work(number):
        if number == 1:
            raise ValueError("no batch 1")
        return number

    result = prefetched(work)
    assert result(0) == 0
    for _ in range(2):
        with pytest.raises(ValueError, match="no batch 1"):
            result(1)
    assert result(2) == 2
