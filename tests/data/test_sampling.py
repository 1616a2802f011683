import numpy as np
import pytest

from visionlab.data.sampling import EvalBatches, Keys, Loader, TrainBatches, mix, sample_seeds


def epoch_of(batches: TrainBatches, epoch: int, start: int = 0) -> list[Keys]:
    batches.epoch, batches.start = epoch, start
    return list(batches)


def order(batches: TrainBatches, epoch: int) -> list[int]:
    return np.concatenate([keys.indices for keys in epoch_of(batches, epoch)]).tolist()


def test_an_epoch_is_a_permutation_by_seed_and_epoch_alone():
    first = order(TrainBatches(100, 10, seed=1), epoch=2)
    assert sorted(first) == list(range(100))
    assert order(TrainBatches(100, 10, seed=1), epoch=2) == first
    assert order(TrainBatches(100, 10, seed=1), epoch=3) != first
    assert order(TrainBatches(100, 10, seed=2), epoch=2) != first
    batches = TrainBatches(100, 10, seed=1)
    order(batches, epoch=7)
    assert order(batches, epoch=2) == first  # whatever came before
    assert all(keys.epoch == 2 and keys.padded == 0 for keys in epoch_of(batches, 2))


def test_the_last_incomplete_batch_is_left_out():
    batches = epoch_of(TrainBatches(25, 4, seed=0), 0)
    assert [len(keys.indices) for keys in batches] == [4] * 6 == [4] * len(TrainBatches(25, 4, seed=0))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_each_global_batch(world):
    alone = epoch_of(TrainBatches(50, 12, seed=5), 3)
    ranks = [epoch_of(TrainBatches(50, 12 // world, seed=5, rank=rank, world=world), 3) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {len(alone)}
    for step, keys in enumerate(alone):
        shares = [batches[step].indices for batches in ranks]
        assert {len(share) for share in shares} == {12 // world}
        assert sorted(np.concatenate(shares)) == sorted(keys.indices)


@pytest.mark.parametrize("world", [1, 2])
def test_continues_at_any_global_batch_even_in_another_number_of_processes(world):
    whole = epoch_of(TrainBatches(50, 8, seed=5), 1)
    for done in range(len(whole) + 1):
        ranks = [
            epoch_of(TrainBatches(50, 8 // world, seed=5, rank=rank, world=world), 1, start=8 * done)
            for rank in range(world)
        ]
        assert {len(batches) for batches in ranks} == {len(whole) - done}
        for step, keys in enumerate(whole[done:]):
            assert sorted(np.concatenate([batches[step].indices for batches in ranks])) == sorted(keys.indices)


def test_the_next_epoch_after_a_continued_one_is_whole():
    batches = TrainBatches(50, 10, seed=0)
    assert len(epoch_of(batches, 0, start=30)) == 2
    assert len(list(batches)) == 5


GROUPS = np.random.default_rng(0).choice([-3, 0, 2, 5], 210, p=[0.05, 0.15, 0.3, 0.5])


def test_grouped_batches_hold_each_image_once():
    batches = epoch_of(TrainBatches(210, 8, seed=1, groups=GROUPS), 2)
    seen = np.concatenate([keys.indices for keys in batches]).tolist()
    assert len(batches) == 26
    assert len(seen) == len(set(seen)) == 208
    assert order(TrainBatches(210, 10, seed=1, groups=GROUPS), 2) != order(TrainBatches(210, 10, seed=1), 2)
    assert sorted(order(TrainBatches(210, 10, seed=1, groups=GROUPS), 2)) == list(range(210))


def test_grouped_batches_are_alike_but_for_one_at_each_border_between_groups():
    for epoch in range(5):
        batches = epoch_of(TrainBatches(210, 8, seed=1, groups=GROUPS), epoch)
        groups = [set(GROUPS[keys.indices].tolist()) for keys in batches]
        assert sum(len(each) > 1 for each in groups) <= 3
        dominant = [max(each) for each in groups]
        assert dominant != sorted(dominant)  # the batches are in random order


def test_grouped_epochs_differ_in_batches_and_in_what_they_leave_out():
    batches = TrainBatches(210, 8, seed=1, groups=GROUPS)
    epochs = [[frozenset(keys.indices.tolist()) for keys in epoch_of(batches, epoch)] for epoch in range(8)]
    assert not set(epochs[0]) & set(epochs[1])
    left_out = [set(range(210)) - set().union(*epoch) for epoch in epochs]
    assert {len(each) for each in left_out} == {2}
    assert len({int(GROUPS[image]) for each in left_out for image in each}) > 1
    assert epoch_of(batches, 3)[0].indices.tolist() == epoch_of(batches, 3)[0].indices.tolist()


@pytest.mark.parametrize("world", [1, 2, 4])
def test_grouped_global_batches_are_the_same_in_any_number_of_processes_and_continued_anywhere(world):
    alone = epoch_of(TrainBatches(210, 8, seed=5, groups=GROUPS), 3)
    for done in (0, 1, 17, 26):
        ranks = [
            epoch_of(TrainBatches(210, 8 // world, 5, rank=rank, world=world, groups=GROUPS), 3, start=8 * done)
            for rank in range(world)
        ]
        assert {len(batches) for batches in ranks} == {26 - done}
        for step, keys in enumerate(alone[done:]):
            assert sorted(np.concatenate([batches[step].indices for batches in ranks])) == sorted(keys.indices)


def test_a_split_smaller_than_a_global_batch_is_an_error_that_says_what_fits():
    TrainBatches(20, 10, seed=0, world=2)
    with pytest.raises(ValueError, match=r"19 images.*10 on 2 processes.*9 or less"):
        TrainBatches(19, 10, seed=0, world=2)


@pytest.mark.parametrize("size", [1, 2, 7, 12, 13])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_evaluation_sees_each_image_once_in_equally_many_batches(size, world):
    ranks = [list(EvalBatches(size, 3, rank=rank, world=world)) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {len(EvalBatches(size, 3, world=world))}
    counted = []
    for batches in ranks:
        for keys in batches:
            assert 0 < len(keys.indices) <= 3
            assert 0 <= keys.indices.min() <= keys.indices.max() < size
            counted += keys.indices[: len(keys.indices) - keys.padded].tolist()
    assert sorted(counted) == list(range(size))


def test_seeds_are_functions_of_seed_epoch_and_index():
    indices = np.array([5, 0, 99])
    seeds = sample_seeds(3, Keys(7, indices))
    assert seeds.dtype == np.uint64
    assert sample_seeds(3, Keys(7, indices[::-1])).tolist() == seeds.tolist()[::-1]
    assert sample_seeds(3, Keys(7, indices[1:2])).tolist() == seeds.tolist()[1:2]


def test_seeds_do_not_repeat():
    everything = np.arange(5000)
    seeds = np.concatenate([sample_seeds(seed, Keys(epoch, everything)) for seed in range(4) for epoch in range(5)])
    assert len(np.unique(seeds)) == 4 * 5 * 5000


def test_seeds_take_any_run_seed():
    assert len({sample_seeds(seed, Keys(0, np.array([0])))[0] for seed in (0, -1, 2**64 - 2, 2**70 + 1)}) == 4


def test_mixing_is_splitmix64():
    """The first outputs for seed 1234567, which are published with the generator's reference code."""
    gamma = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + i * gamma) % 2**64 for i in (1, 2, 3)], dtype=np.uint64)
    assert mix(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


class Recorder:
    def __len__(self):
        return 20

    def __getitems__(self, keys):
        return keys


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_gives_the_sampler_s_batches_epoch_after_epoch(num_workers):
    loader = Loader(Recorder(), TrainBatches(20, 6, seed=1), num_workers=num_workers)
    for _ in range(2):
        got = [keys.indices.tolist() for keys in loader]
        assert got == [keys.indices.tolist() for keys in epoch_of(TrainBatches(20, 6, seed=1), 0)]


def test_making_an_iterator_draws_nothing_from_the_global_stream():
    import torch

    state = torch.get_rng_state()
    iter(Loader(Recorder(), TrainBatches(20, 6, seed=1)))
    iter(Loader(Recorder(), EvalBatches(20, 6)))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_finished_epoch_continues_with_the_next():
    loader = Loader(Recorder(), TrainBatches(20, 6, seed=1))
    loader.load_state_dict({"images": 18})
    assert len(list(loader)) == 3
    loader.load_state_dict({"images": 12})
    assert len(list(loader)) == 1
