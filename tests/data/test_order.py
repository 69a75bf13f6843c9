"""The order of the samples."""

import numpy as np

from opensapiens.data.order import sample_generator, sample_index


def test_each_epoch_is_another_permutation_of_all() -> None:
    line = [sample_index(position, 10, seed=3) for position in range(30)]
    epochs = [line[:10], line[10:20], line[20:]]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_position_depends_on_nothing_before_it() -> None:
    late = sample_index(25, 10, seed=3)
    assert late == [sample_index(position, 10, seed=3) for position in range(30)][25]
    assert [sample_index(p, 100, 0) for p in range(20)] != [sample_index(p, 100, 1) for p in range(20)]


def test_each_position_has_its_own_randomness() -> None:
    draws = {float(sample_generator(position, seed).random()) for position in range(50) for seed in range(3)}
    assert len(draws) == 150
    assert sample_generator(7, 1).random() == sample_generator(7, 1).random()
    assert not np.array_equal(sample_generator(0, 0).permutation(50), np.random.default_rng((0, 0, 0)).permutation(50))
