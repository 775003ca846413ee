"""What a run does to the process that asks for it: nothing. Each script here is a user's own, run by itself."""

import shutil

import pytest

# As one writes it in a hurry: the model's class in the script, a module beside it, and no `if __name__ == "__main__"`.
SCRIPT = """
    import logging, multiprocessing, os, signal, sys, threading, warnings

    logging.basicConfig(level=logging.INFO, format="mine %(message)s")
    import torch
    import navigator as nav
    from navigator_core import playoff
    from parts import Head

    playoff.MOST = 1  # who is fastest is not asked

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = torch.nn.Linear(4, 8), Head(8, 2)

        def forward(self, x):
            return {"answer": self.head(torch.relu(self.body(x)))}

    def state():
        root = logging.getLogger()
        return (
            list(root.handlers), root.level, multiprocessing.get_start_method(allow_none=True), os.getcwd(),
            list(sys.path), list(warnings.filters), threading.active_count(), signal.getsignal(signal.SIGINT),
            sys.excepthook, torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(), torch.random.get_rng_state().sum().item(), dict(os.environ),
        )

    print("started")
    torch.manual_seed(0)
    model = Model()
    samples = [torch.randn(2, 4), torch.randn(3, 4)]
    before = state()
    report = nav.optimize(model, samples, runners=["torch-eager", "onnxruntime-cpu"], batch_sizes=[1])
    for position, (was, now) in enumerate(zip(before, state())):
        assert was == now, (position, was, now)
    assert report.best is not None, report
    status = {c.name: c.status for c in report.candidates}
    assert status["torch @ torch-eager"] == status["torch->onnx[dynamo] @ onnxruntime-cpu"] == "ok", report
    print(report.save("model.nav").name, model.eval()(torch.ones(1, 4))["answer"].sum().item())
"""
PARTS = """
    import torch

    class Head(torch.nn.Linear):
        def forward(self, x):
            return torch.tanh(super().forward(x))
"""
ELSEWHERE = """
    import sys
    import numpy as np
    import navigator as nav

    assert "torch" not in sys.modules
    with nav.load("model.nav").load() as model:
        print(float(model(np.ones((1, 4), "float32"))["answer"].sum()))
    for name in ("torch", "parts", "onnx", "transformers"):
        assert name not in sys.modules, name
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The folder with the script."""
    return tmp_path_factory.mktemp("script")


@pytest.fixture(scope="module")
def lines(script, in_process):
    """What the script prints."""
    return in_process(SCRIPT, folder=script, beside={"parts.py": PARTS}).splitlines()


def test_a_script_without_a_guard_runs_once_and_finds_itself_unchanged(lines):
    assert lines.count("started") == 1
    assert lines[-1].startswith("model.nav")


def test_its_package_is_loaded_where_its_source_and_its_framework_are_not(lines, script, in_process, tmp_path):
    shutil.copy(script / "model.nav", tmp_path)
    assert float(in_process(ELSEWHERE, folder=tmp_path)) == pytest.approx(float(lines[-1].split()[1]), abs=1e-5)


def test_optimizing_a_file_imports_no_framework(in_process):
    in_process(
        """
        import sys
        import navigator as nav

        assert not {"numpy", "rich"} & set(sys.modules)
        import onnx
        from onnx import TensorProto, helper

        x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 3]) for n in "xy")
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [x], [y])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), "relu.onnx")

        report = nav.optimize("relu.onnx", runners=["onnxruntime-cpu"], batch_sizes=[1])
        print(report)
        assert report.best.name == "onnx @ onnxruntime-cpu", report.best
        assert not {"torch", "tensorflow", "jax", "transformers", "onnxruntime"} & set(sys.modules)
        """
    )


def test_optimizing_a_function_imports_no_framework(in_process):
    in_process(
        """
        import sys
        import numpy as np
        import navigator as nav

        offset = np.arange(3.0)
        report = nav.optimize(lambda x: x + offset, np.ones((2, 3)), batch_sizes=[1])
        assert report.best.name == "python @ python", report
        assert not {"torch", "tensorflow", "jax", "transformers", "onnx", "onnxruntime"} & set(sys.modules)
        """
    )


RAISES = """
    import torch
    import navigator as nav

    class WrongTurn(ValueError):
        def __init__(self, size, why):
            super().__init__(f"{why}: {size}")
            self.size = size

    class Model(torch.nn.Module):
        def forward(self, x):
            return self.inner(x)

        def inner(self, x):
            raise WrongTurn(x.shape[1], "the user's own words")

    try:
        nav.optimize(Model(), torch.ones(2, 5))
    except WrongTurn as error:
        print(type(error).__name__, error, error.__notes__)
        raise
"""


def test_users_see_their_own_exception_and_where_it_was_raised(in_process):
    error = in_process(RAISES, fails=True)
    assert "__main__.WrongTurn: the user's own words: 5" in error or "WrongTurn: the user's own words: 5" in error
    assert "in inner" in error
    assert "the model raised on sample 0" in error


def test_an_exception_that_pickle_refuses_is_shown_as_text(in_process):
    error = in_process(
        """
        import threading
        import numpy as np
        import navigator as nav

        class Stuck(Exception):
            def __init__(self):
                super().__init__("no way out")
                self.lock = threading.Lock()

        def model(x):
            raise Stuck

        nav.optimize(model, np.ones((2, 3)))
        """,
        fails=True,
    )
    assert "RuntimeError: Stuck: no way out" in error
    assert "in model" in error


def test_a_model_that_ends_its_process_is_told_from_one_that_raises(in_process):
    error = in_process(
        """
        import ctypes
        import numpy as np
        import navigator as nav

        nav.optimize(lambda x: ctypes.string_at(0), np.ones((2, 3)))
        """,
        fails=True,
    )
    assert "NavigatorError: " in error
    assert "SIGSEGV" in error


def test_a_model_that_cannot_leave_the_process_is_run_in_it(in_process):
    in_process(
        """
        import torch
        import navigator as nav
        from navigator_core import playoff

        class Counting(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.numbers, self.layer = (n for n in range(10)), torch.nn.Linear(3, 2)

            def forward(self, x):
                return self.layer(x)

        model = Counting().eval()
        playoff.MOST = 1  # who is fastest is not asked
        report = nav.optimize(model, torch.ones(2, 3), runners=["torch-eager", "torchscript"], batch_sizes=[1])
        assert report.best is not None, report
        assert any("cannot be sent to a worker" in note for note in report.notes), report.notes
        with report.load() as loaded:
            torch.testing.assert_close(loaded(torch.ones(4, 3)), model(torch.ones(4, 3)))
        """
    )
