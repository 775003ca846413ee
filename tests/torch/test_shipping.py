"""What plain pickle refuses reaches a worker all the same, or stays here and the report says so."""

import threading

import pytest
import torch
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

import navigator as nav


class Awkward(torch.nn.Module):
    """A lock and a function without a name."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.activation = lambda x: torch.tanh(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with self.lock:
            return self.activation(x)


def of_all_kinds():
    """Each of its layers is refused by plain pickle, or was by an older torch."""
    with pytest.warns((DeprecationWarning, FutureWarning)):
        return torch.nn.Sequential(
            parametrizations.weight_norm(torch.nn.Linear(4, 8)),
            parametrizations.spectral_norm(torch.nn.Linear(8, 8)),
            weight_norm(torch.nn.Linear(8, 8)),
            spectral_norm(torch.nn.Linear(8, 8)),
            torch.jit.script(torch.nn.Linear(8, 3)),
            Awkward(),
        )


class Streaming(torch.nn.Module):
    """Holds a generator, which nothing can send or copy."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        self.stream = (number for number in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


@pytest.mark.parametrize(("make", "travels"), [(of_all_kinds, True), (Streaming, False)])
def test_a_model_that_pickle_refuses_is_optimized(make, travels, tmp_path):
    torch.manual_seed(0)
    model = make().train()
    samples = [torch.randn(2, 4), torch.randn(3, 4)]
    report = nav.optimize(model, samples, runners=["torch-eager"], batch_sizes=[1], workspace=tmp_path / "workspace")
    assert report.best is not None
    kept_here = [note for note in report.notes if "cannot be sent to a worker" in note]
    assert bool(kept_here) != travels
    assert all("'generator'" in note and "steps on it run in this process" in note for note in kept_here)
    assert not any("no truth" in note for note in report.notes)
    assert model.training
    with report.load() as loaded:
        found = loaded(samples[0])
    torch.testing.assert_close(found, model.eval()(samples[0]))
