"""What a process saves of itself."""

import torch

from visionlab.callbacks.resume import _random_states, _restore_random_states


def test_a_process_keeps_the_random_state_of_its_own_gpu(monkeypatch):
    """There may be fewer of them where it goes on."""
    restored = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.tensor([device.index]))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: restored.append((int(state), device.index)))
    states = _random_states(torch.device("cuda", 6))
    _restore_random_states(states, torch.device("cuda", 2))
    of_all = {**states, "cuda": [torch.tensor([number]) for number in range(8)]}  # as it was saved before
    _restore_random_states(of_all, torch.device("cuda", 2))
    _restore_random_states(of_all, torch.device("cpu"))
    assert restored == [(6, 2), (2, 2)]
    assert "cuda" not in _random_states(torch.device("cpu"))
