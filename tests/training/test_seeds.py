import torch

from medmamba.training.seeds import AUGMENT, ORDER, seed_for, seeded


def test_every_place_and_purpose_has_a_seed_of_its_own() -> None:
    places = [(purpose, seed, a, b) for purpose in (ORDER, AUGMENT) for seed in (0, 1) for a in (0, 1) for b in (0, 1)]
    seeds = [seed_for(purpose, seed, *where) for purpose, seed, *where in places]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_seed_is_the_same_in_every_version() -> None:
    assert seed_for(AUGMENT, 7, 2, 5) == 2449844468686997678  # changing it changes every run that can be repeated


def test_a_seeded_block_repeats_and_leaves_no_trace() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    draws = []
    for _ in range(2):
        with seeded(9):
            draws.append(torch.rand(2))
    assert torch.equal(*draws)
    assert torch.equal(torch.rand(2), expected)
