"""The core names no framework, and no module anywhere keeps a list of them."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "navigator_core" / "src").rglob("*.py"))
ALL = sorted([*ROOT.glob("navigator_*/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")])

FOREIGN = "torch|pytorch|tensorflow|keras|jax|flax|onnx|onnxruntime|openvino|tensorrt|triton|cuda"
FOREIGN_NAME = re.compile(rf"(?<![a-z])({FOREIGN})(?![a-z])", re.IGNORECASE)
FAMILY = {"torch": "torch", "tensorflow": "tensorflow", "keras": "tensorflow", "jax": "jax", "flax": "jax"}


def foreign_names(source):
    """(line, word) for each framework named by the code itself; comments and docstrings may give examples."""
    docstrings = {
        (node.value.lineno, node.value.col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT or token.start in docstrings:
            continue
        found += [(token.start[0], word) for word in FOREIGN_NAME.findall(token.string)]
    return found


def framework_lists(source):
    """(line, families) for each literal collection that names frameworks of more than one family."""
    found = []
    for node in ast.walk(ast.parse(source)):
        values = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", ())
        texts = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
        families = {
            FAMILY[word] for word in (re.split(r"[^a-z]", text, maxsplit=1)[0] for text in texts) if word in FAMILY
        }
        if len(families) > 1:
            found.append((node.lineno, sorted(families)))
    return found


@pytest.mark.parametrize("module", CORE, ids=lambda path: str(path.relative_to(ROOT / "navigator_core" / "src")))
def test_the_core_names_no_framework(module):
    assert foreign_names(module.read_text()) == []


@pytest.mark.parametrize("module", ALL, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_keeps_a_list_of_frameworks(module):
    assert framework_lists(module.read_text()) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import torch", ["torch"]),
        ("device = 'cuda:0'", ["cuda"]),
        ("remedy = 'pip install navigator-onnx[cpu]'", ["onnx"]),
        ("def f(x):\n    return x.__module__ == 'jax.numpy'", ["jax"]),
        ('def f():\n    """Such as torch."""\n    # and jax', []),
        ("frozen_onnxlike = relax = 1", []),
    ],
)
def test_a_name_is_found_in_code_and_allowed_in_prose(source, words):
    assert [word for _, word in foreign_names(source)] == words


@pytest.mark.parametrize("source", ["KNOWN = ('torch', 'jax')", "{'torch.nn.Module': 1, 'keras.Model': 2}"])
def test_a_list_of_frameworks_is_found(source):
    assert framework_lists(source) != []


@pytest.mark.parametrize("source", ["('torch>=2.6', 'onnx>=1.17')", "('tensorflow', 'keras')"])
def test_the_parts_of_one_framework_are_no_list(source):
    assert framework_lists(source) == []
