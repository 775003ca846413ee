"""What every kind of tensor keeps to: to numpy and back, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np

from navigator_core.declarations import Tensors
from navigator_core.plugins import discover
from navigator_core.survey import kind
from navigator_core.tensors import NUMPY


class TensorsContract:
    """Run for every kind of tensor. ``module`` is the plugin's, ``kind`` the name it declares.

    ::

        class TestTensors(testing.TensorsContract):
            module = "navigator_tinyrt.plugin"
            kind = "tinyrt"
            widened = ("bfloat16",)   # types that numpy lacks: made of float32, and widened to it, exactly

    ``dtypes`` are numpy's that it holds; ``device`` where the tensors are made.
    """

    module: str
    kind: str
    device: str = "cpu"
    dtypes: ClassVar[tuple[str, ...]] = ("bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64")
    widened: ClassVar[tuple[str, ...]] = ()
    foreign: ClassVar[tuple[Any, ...]] = (3, 2.5, None, "text", [1.0], (1.0,), {"a": 1}, object(), float)

    def test_values_types_and_shapes_survive_the_round_trip(self) -> None:
        source = self.source()
        for dtype in self.dtypes:
            for what, array in arrays(dtype):
                back = source.to_numpy(self.made(array))
                assert isinstance(back, np.ndarray), f"{what} of {dtype} comes back as a {type(back).__name__}"
                same = back.dtype == array.dtype and back.shape == array.shape and bool((back == array).all())
                assert same, f"{what} of {dtype} {array.shape} comes back as {back.dtype} {back.shape}: {back!r}"

    def test_any_layout_in_memory_is_taken(self) -> None:
        source = self.source()
        for what, array in layouts():
            back = source.to_numpy(self.made(array))
            assert np.array_equal(back, array), f"a {what} array comes back as {back!r} instead of {array!r}"

    def test_an_array_that_is_handed_over_keeps_its_values_whatever_its_layout_and_type(self) -> None:
        source = self.source()
        adopt = getattr(source, "adopt", source.from_numpy)
        given = [*layouts(), *(pair for dtype in self.dtypes for pair in arrays(dtype))]
        for what, array in given:
            kept = array.copy()
            back = source.to_numpy(adopt(array, self.device, array.dtype.name))
            same = back.shape == kept.shape and back.dtype.name == kept.dtype.name and np.array_equal(back, kept)
            assert same, f"{what} of {kept.dtype}, handed over, comes back as {back!r} instead of {kept!r}"

    def test_an_array_made_into_a_tensor_beside_another_is_of_its_own_type_and_values(self) -> None:
        source = self.source()
        if not hasattr(source, "beside"):
            raise SkipTest("it leaves `beside` out")
        other = self.made(np.zeros(1, "float32"))
        for what, array in [*layouts(), *(pair for dtype in self.dtypes for pair in arrays(dtype))]:
            kept = array.copy()
            back = source.to_numpy(source.beside(array, other))
            same = back.shape == kept.shape and back.dtype.name == kept.dtype.name and np.array_equal(back, kept)
            assert same, f"{what} of {kept.dtype}, beside a tensor, comes back as {back!r} instead of {kept!r}"

    def test_the_array_given_is_not_changed(self) -> None:
        array = np.arange(6, dtype="float32").reshape(2, 3)
        kept = array.copy()
        self.source().to_numpy(self.made(array))
        assert np.array_equal(array, kept)
        assert array.flags.writeable

    def test_its_own_tensors_are_recognised_and_nothing_else_is(self) -> None:
        source = self.source()
        tensor = self.made(np.zeros(2, "float32"))
        assert source.is_tensor(tensor) is True, f"is_tensor must be True, not {source.is_tensor(tensor)!r}"
        foreign = (*self.foreign, type(tensor), *(() if self.kind == NUMPY else (np.zeros(2), np.float32(1))))
        claimed = [value for value in foreign if source.is_tensor(value) is not False]
        assert claimed == [], f"is_tensor must be False for {claimed!r}"

    def test_the_type_is_told_by_numpys_name(self) -> None:
        tell = getattr(self.source(), "dtype", None)
        told = {dtype: tell(self.made(np.zeros(2, dtype))) for dtype in self.dtypes} if tell else {}
        assert told == {dtype: dtype for dtype in told}

    def test_types_that_numpy_lacks_are_widened_to_float32(self) -> None:
        source = self.source()
        exact = np.asarray([0.0, 1.5, -0.25, 448.0], "float32")
        for dtype in self.widened:
            tensor = source.from_numpy(exact, self.device, dtype)
            assert source.dtype(tensor) == dtype, f"asked for {dtype}, a tensor of {source.dtype(tensor)} was made"
            back = source.to_numpy(tensor)
            assert back.dtype == np.float32, f"{dtype} comes back as {back.dtype}; it must be widened to float32"
            assert np.array_equal(back, exact), f"{dtype} comes back as {back!r} instead of {exact!r}"

    def test_a_tensor_moved_to_where_it_is_stays_the_same(self) -> None:
        source = self.source()
        move = getattr(source, "to_device", None)
        if move is not None:
            array = np.arange(3, dtype="float32")
            moved = move(self.made(array), self.device)
            assert source.is_tensor(moved)
            assert np.array_equal(source.to_numpy(moved), array)

    def test_a_tensor_is_made_where_it_is_asked_for(self) -> None:
        where = getattr(self.source(), "device", None)
        found = where(self.made(np.zeros(2, "float32"))) if where else self.device
        assert kind(found) == kind(self.device), f"asked for {self.device}, a tensor is made on {found}"

    def made(self, array: np.ndarray) -> Any:
        """The array as a tensor of this kind."""
        return self.source().from_numpy(array, self.device, array.dtype.name)

    def source(self) -> Any:
        """The module that the declaration names."""
        declared: Tensors = discover(extra=[("it", import_module(self.module))], entry_points=False).tensors[self.kind]
        return declared.source.resolve()


def arrays(dtype: str) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of one type and of every number of axes that gives trouble, each with a name."""
    yield "a scalar", np.ones((), dtype)
    yield "an array of one element", np.ones((1,), dtype)
    yield "an empty array", np.ones((0, 3), dtype)
    yield "an array", np.asarray([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    yield "an array with an axis of length one", np.asarray([[[0], [1]]]).astype(dtype)


def layouts() -> Iterator[tuple[str, np.ndarray]]:
    """Arrays that do not lie in memory as they usually do, or may not be written to, each with a name."""
    plain = np.arange(24, dtype="float32").reshape(2, 3, 4)
    yield "transposed", plain.T
    yield "Fortran-ordered", np.asfortranarray(plain)
    yield "strided", plain[:, ::2]
    yield "reversed", plain[::-1]
    yield "broadcast", np.broadcast_to(np.asarray([1.0, 2.0], "float32"), (3, 2))
    yield "foreign-endian", plain.astype(plain.dtype.newbyteorder())
    read_only = plain.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only
