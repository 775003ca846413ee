"""What an .onnx file says about itself."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import linear, model, node, value, write, write_external

from navigator_core import Dim, Signature, TensorSpec
from navigator_core.errors import RequestError
from navigator_onnx.source import companions, dtype_name, signature


def identity(path, shape, dtype=TensorProto.FLOAT):
    return write(path, model([node("Identity", "x", "y")], [value("x", shape, dtype)], [value("y", shape, dtype)]))


def test_fixed_axes_are_numbers_and_symbols_keep_their_names(tmp_path):
    found = signature(identity(tmp_path / "m.onnx", [2, "tokens", 3]))
    shape = (2, Dim("tokens"), 3)
    assert found == Signature((TensorSpec("x", "float32", shape),), (TensorSpec("y", "float32", shape),))


def test_initializers_that_are_listed_as_inputs_are_weights(tmp_path):
    proto = linear()
    proto.graph.input.append(value("w", [3, 2]))
    assert [spec.name for spec in signature(write(tmp_path / "m.onnx", proto)).inputs] == ["x"]


def test_anonymous_axes_get_names_of_their_own(tmp_path):
    proto = model(
        [node("MatMul", "a b", "y")],
        [value("a", [None, "b_0"]), value("b", [None, None])],
        [value("y", [None, None])],
    )
    found = signature(write(tmp_path / "m.onnx", proto))
    names = [dim.name for spec in (*found.inputs, *found.outputs) for dim in spec.shape]
    assert names == ["a_0", "b_0", "b_0_", "b_1", "y_0", "y_1"]


def test_a_negative_size_is_an_unknown_one(tmp_path):
    (spec,) = signature(identity(tmp_path / "m.onnx", [-1, 3])).inputs
    assert spec.shape == (Dim("x_0"), 3)


@pytest.mark.parametrize("symbol", ["batch", "batch_size", "Batch", "BATCH_SIZE", "batchsize", "N", "bs"])
def test_an_axis_named_like_a_batch_is_the_batch_wherever_it_stands(tmp_path, symbol):
    found = signature(identity(tmp_path / "m.onnx", [4, symbol]))
    assert [spec.batch_axis for spec in (*found.inputs, *found.outputs)] == [1, 1]


@pytest.mark.parametrize("symbol", ["unk__0", "n", "s0", "batch*2", "sequence", "B"])
def test_other_symbols_are_left_to_be_found_out(tmp_path, symbol):
    (spec,) = signature(identity(tmp_path / "m.onnx", [symbol, 4])).inputs
    assert spec.shape == (Dim(symbol), 4)


def test_of_two_that_could_be_the_batch_only_the_likelier_is(tmp_path):
    (spec,) = signature(identity(tmp_path / "m.onnx", ["N", "batch_size"])).inputs
    assert spec.shape == (Dim("N"), Dim("batch"))


def test_a_scalar_has_no_axes(tmp_path):
    (spec,) = signature(identity(tmp_path / "m.onnx", [])).inputs
    assert spec.shape == ()


@pytest.mark.parametrize(
    ("element", "name"),
    [
        ("FLOAT", "float32"),
        ("DOUBLE", "float64"),
        ("FLOAT16", "float16"),
        ("BFLOAT16", "bfloat16"),
        ("INT64", "int64"),
        ("UINT8", "uint8"),
        ("BOOL", "bool"),
        ("FLOAT8E4M3FN", "float8_e4m3fn"),
        ("COMPLEX64", "complex64"),
    ],
)
def test_element_types_have_numpys_names(element, name):
    assert dtype_name(getattr(TensorProto, element)) == name


def test_outputs_without_declared_axes_are_inferred(tmp_path):
    proto = linear()
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    (spec,) = signature(write(tmp_path / "m.onnx", proto)).outputs
    assert spec == TensorSpec("y", "float32", (Dim("batch"), 2))


def test_outputs_whose_rank_nobody_knows_are_left_to_the_first_run(tmp_path):
    proto = model(
        [node("Reshape", "x s", "y")], [value("x", [6]), value("s", ["k"], TensorProto.INT64)], [value("y", None)]
    )
    found = signature(write(tmp_path / "m.onnx", proto))
    assert [spec.name for spec in found.inputs] == ["x", "s"]
    assert found.outputs == ()


def test_an_input_without_axes_is_refused(tmp_path):
    proto = model([node("Identity", "x", "y")], [value("x", None)], [value("y", None)])
    with pytest.raises(RequestError, match=r"input 'x' of m\.onnx declares no axes"):
        signature(write(tmp_path / "m.onnx", proto))


def sequence(name):
    return helper.make_tensor_sequence_value_info(name, TensorProto.FLOAT, [2])


@pytest.mark.parametrize(
    ("nodes", "inputs", "outputs", "words"),
    [
        ([node("Identity", "x", "y")], [value("x", [1], 8)], [value("y", [1], 8)], "'x' of m.onnx is text"),
        ([node("SequenceLength", "x", "y")], [sequence("x")], [value("y", [], 7)], "'x' of m.onnx is a sequence"),
        ([node("SequenceConstruct", "x", "y")], [value("x", [2])], [sequence("y")], "'y' of m.onnx is a sequence"),
    ],
)
def test_ends_that_are_no_tensors_of_numbers_are_refused(tmp_path, nodes, inputs, outputs, words):
    with pytest.raises(RequestError, match=words.replace(".", r"\.")):
        signature(write(tmp_path / "m.onnx", model(nodes, inputs, outputs)))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RequestError, match=r"nowhere\.onnx does not exist"):
        signature(tmp_path / "nowhere.onnx")


def test_a_folder_is_no_model(tmp_path):
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(RequestError, match="is a folder"):
        signature(tmp_path / "m.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x08\x08"], ids=["empty", "garbage", "no graph"])
def test_a_file_that_holds_no_model_is_refused(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(RequestError, match=rf"\({len(content)} bytes\) holds no ONNX model"):
        signature(tmp_path / "m.onnx")


def test_a_truncated_file_is_refused(tmp_path, linear):
    linear.write_bytes(linear.read_bytes()[:-20])
    with pytest.raises(RequestError, match="cut short"):
        signature(linear)


def test_a_git_lfs_pointer_is_recognised(tmp_path):
    (tmp_path / "m.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(RequestError, match="git lfs pull"):
        signature(tmp_path / "m.onnx")


def test_external_data_belongs_to_the_file_and_is_not_needed_to_read_it(tmp_path):
    path = write_external(tmp_path / "m.onnx", linear(), "m.weights")
    (tmp_path / "m.weights").write_bytes(b"")
    assert [str(name) for name in companions(path)] == ["m.weights"]
    assert [spec.name for spec in signature(path).inputs] == ["x"]


def test_a_file_without_external_data_stands_alone(linear):
    assert companions(linear) == ()


@pytest.mark.parametrize("ask", [signature, companions])
def test_missing_external_data_is_named_with_the_place_it_belongs(tmp_path, ask):
    path = write_external(tmp_path / "m.onnx", linear())
    (tmp_path / "weights.data").unlink()
    with pytest.raises(RequestError, match=rf"m\.onnx keeps weights in weights\.data.*{tmp_path}/weights\.data"):
        ask(path)


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret", "a/../../secret", "", "..\\secret"])
def test_external_data_outside_the_folder_is_never_read(tmp_path, location):
    proto = linear()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(RequestError, match="outside its own folder"):
        companions(tmp_path / "m.onnx")


def test_external_data_of_inner_graphs_and_attributes_is_found(tmp_path):
    def elsewhere(location):
        tensor = helper.make_tensor("t", TensorProto.FLOAT, [2], np.ones(2, np.float32).tobytes(), raw=True)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        (tmp_path / location).write_bytes(bytes(8))
        return tensor

    then = helper.make_graph([node("Identity", "t", "out")], "then", [], [value("out", [2])], [elsewhere("a.bin")])
    constant = helper.make_node("Constant", [], ["out"], value=elsewhere("b.bin"))
    other = helper.make_graph([constant], "else", [], [value("out", [2])])
    choice = node("If", "c", "y", then_branch=then, else_branch=other)
    proto = model([choice], [value("c", [], TensorProto.BOOL)], [value("y", [2])])
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    assert sorted(map(str, companions(tmp_path / "m.onnx"))) == ["a.bin", "b.bin"]
