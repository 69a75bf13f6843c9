"""Numbers that follow from a sample's own seed."""

import torch

from opensapiens.models.sample_noise import sample_uniform


def test_a_seed_gives_its_numbers_in_any_batch() -> None:
    together = sample_uniform(torch.tensor([7, 2**62, 7]), 100)
    assert torch.equal(together[0], together[2]) and not torch.equal(together[0], together[1])
    assert torch.equal(sample_uniform(torch.tensor([2**62]), 100), together[1:2])
    assert torch.equal(sample_uniform(torch.tensor([7]), 50), together[:1, :50])


def test_the_numbers_are_uniform_and_independent() -> None:
    values = sample_uniform(torch.arange(400), 500).double()
    assert values.min() >= 0 and values.max() < 1
    assert abs(values.mean() - 0.5) < 0.003 and abs(values.var() - 1 / 12) < 0.002
    centerd = values - 0.5
    for neighbors in (centerd[1:] * centerd[:-1], centerd[:, 1:] * centerd[:, :-1]):  # next seed, next place
        assert abs(neighbors.mean()) < 0.002


def test_the_published_generator() -> None:
    """SplitMix64 of seed 0 starts with e220a8397b1dcdaf, 6e789e6aa1b965f4 (its authors' reference)."""
    expected = [(number >> 40) / 2**24 for number in (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4)]
    assert sample_uniform(torch.tensor([0]), 2)[0].tolist() == expected
