import io
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import cloudpickle
import pytest
import torch
from torch.nn.utils import parametrizations

from navigator_torch import source

from .conftest import Mlp, Tied


class Pickler(cloudpickle.Pickler):
    def reducer_override(self, value):
        reduce = source.reducers().get(type(value))
        return reduce(value) if reduce else super().reducer_override(value)


def dump(model):
    buffers = []
    stream = io.BytesIO()
    Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(model)
    return stream.getvalue(), [buffer.raw() for buffer in buffers]


def writable(buffers):
    """As the core maps them: 64 byte steps, private pages."""
    copies = []
    for raw in buffers:
        storage = torch.empty(raw.nbytes, dtype=torch.uint8).numpy()
        storage[:] = raw
        copies.append(memoryview(storage))
    return copies


def test_weights_travel_out_of_band():
    model = torch.nn.Linear(1000, 1000)
    stream, buffers = dump(model)
    assert len(stream) < 10_000
    assert sum(b.nbytes for b in buffers) == 4 * 1001 * 1000


def test_what_the_framework_ships_itself_lies_out_of_band_too(tmp_path):
    model = torch.nn.Sequential(parametrizations.weight_norm(torch.nn.Linear(500, 500)))
    source.ship(model, tmp_path)
    assert (tmp_path / "model.pkl").stat().st_size < 20_000
    assert (tmp_path / "model.bin").stat().st_size >= 4 * 500 * 500
    received, x = source.receive(tmp_path), torch.ones(2, 500)
    torch.testing.assert_close(received(x), model(x))


def test_ties_views_and_types_survive():
    stream, buffers = dump(Tied())
    model = pickle.loads(stream, buffers=writable(buffers))
    assert model.head.weight is model.embedding.weight
    assert model.first_row.untyped_storage().data_ptr() == model.embedding.weight.untyped_storage().data_ptr()
    assert model.plain.dtype is torch.bfloat16
    assert len(buffers) == 2


def test_nothing_is_copied_on_arrival():
    stream, buffers = dump(torch.nn.Linear(100, 100))
    arrived = writable(buffers)
    model = pickle.loads(stream, buffers=arrived)
    addresses = {torch.frombuffer(b, dtype=torch.uint8).data_ptr() for b in arrived}
    assert {p.data_ptr() for p in model.parameters()} == addresses


@pytest.mark.parametrize("kind", ["read-only", "misaligned"])
def test_awkward_buffers_are_copied_without_a_warning(kind):
    model = torch.nn.Linear(3, 3)
    stream, buffers = dump(model)
    if kind == "read-only":
        awkward = [memoryview(bytes(b)) for b in buffers]
    else:
        awkward = [memoryview(bytearray(b"\0" + bytes(b)))[1:] for b in buffers]
    arrived = pickle.loads(stream, buffers=awkward)
    assert torch.equal(arrived.weight, model.weight)
    arrived.weight.data.add_(1)
    assert arrived.weight.data_ptr() % 16 == 0


def test_in_band_works_too(mlp):
    stream = io.BytesIO()
    Pickler(stream, protocol=5).dump(mlp)
    arrived = pickle.loads(stream.getvalue())
    assert source.fingerprint(arrived) == source.fingerprint(mlp)


def test_empty_and_non_contiguous_tensors_survive():
    model = torch.nn.Module()
    model.empty = torch.zeros(0, 3)
    model.strided = torch.arange(12.0).reshape(3, 4).T[1:]
    stream, buffers = dump(model)
    arrived = pickle.loads(stream, buffers=writable(buffers))
    assert arrived.empty.shape == (0, 3)
    assert arrived.strided.stride() == model.strided.stride()
    assert torch.equal(arrived.strided, model.strided)


def test_a_fingerprint_survives_the_journey(mlp):
    stream, buffers = dump(mlp)
    assert source.fingerprint(pickle.loads(stream, buffers=writable(buffers))) == source.fingerprint(mlp)


def test_scripted_modules_travel_alone_and_inside_others(mlp):
    with pytest.warns(DeprecationWarning, match="jit.script"):
        scripted = torch.jit.script(mlp)
    holder = torch.nn.Sequential(scripted)
    x = (torch.randn(2, 4), torch.zeros(1))
    for model in (scripted, holder):
        stream, buffers = dump(model)
        arrived = pickle.loads(stream, buffers=writable(buffers))
        inner = arrived[0] if isinstance(arrived, torch.nn.Sequential) else arrived
        assert inner.training
        torch.testing.assert_close(
            inner.eval()(*x)["logits"], torch.jit.RecursiveScriptModule.eval(scripted)(*x)["logits"]
        )
        scripted.train()


def test_weight_norm_is_refused_by_pickle_and_shipped(tmp_path):
    model = torch.nn.Sequential(torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 4)), Mlp())
    with pytest.raises(RuntimeError, match="parametrized"):
        dump(model)
    source.ship(model, tmp_path)
    code = "import sys, pathlib, torch\nfrom navigator_torch import source\n"
    code += "m = source.receive(pathlib.Path(sys.argv[1]))\n"
    code += "print(m[0](torch.arange(4.0)).tolist())"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(model[0](torch.arange(4.0)).tolist())


class Guarded(torch.nn.Module):
    """Holds locks, free or taken, a function without a name and an open file."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)
        self.lock, self.condition, self.taken = threading.Lock(), threading.Condition(), threading.RLock()
        self.taken.acquire()
        self.activation = lambda x: torch.relu(x)
        self.notes = Path(__file__).open()  # noqa: SIM115  # to hold an open file is what it is for

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with self.lock, self.condition, self.taken:
            return self.activation(self.inner(x))


def test_locks_functions_without_a_name_and_open_files_travel():
    model = Guarded()
    stream, buffers = dump(model)
    arrived = pickle.loads(stream, buffers=writable(buffers))
    model.taken.release()
    model.notes.close()
    assert torch.equal(arrived(torch.ones(2, 4)), model(torch.ones(2, 4)))
    assert arrived.lock is not model.lock
    assert arrived.notes.read(6) == "import"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_model_on_cuda_arrives_on_the_host():
    stream, buffers = dump(torch.nn.Linear(2, 2).cuda())
    assert pickle.loads(stream, buffers=writable(buffers)).weight.device.type == "cpu"
