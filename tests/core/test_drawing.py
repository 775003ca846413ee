"""The graph as text, as plain values, and as a picture."""

import re

import pytest

from navigator_core import FP16, Converter, Exporter, Format, Framework, Ref, Requirement, Runner, Variant
from navigator_core.availability import Unavailable
from navigator_core.graph import build
from navigator_core.plugins import Plugins

REF = Ref("package.module:name")
ODD = 'a"b`c#d;e|f]g}<b>&h\\i\nj@{k}%%[l](m)'


def absent(*names):
    """Says that these distributions are not installed."""

    def ask(requirements):
        gone = [one.any_of[0] for one in requirements if isinstance(one, Requirement) and one.any_of[0] in names]
        return Unavailable(f"needs {gone[0]}, which is not installed", f"pip install {gone[0]}") if gone else None

    return ask


def converter(target, *variants, **rest):
    return Converter(source="onnx", target=target, implementation=REF, variants=variants, **rest)


def runner(name, *formats, **rest):
    return Runner(name=name, formats=formats, implementation=REF, **rest)


PLUGINS = Plugins(
    formats={
        "torch": Framework(name="torch", source=REF, reference="eager"),
        **{name: Format(name=name, file="f") for name in ("onnx", "engine", "torchscript")},
    },
    exporters=(
        Exporter(source="torch", target="onnx", implementation=REF, variants=(Variant("trace"), Variant("dynamo"))),
        Exporter(source="torch", target="torchscript", implementation=REF),
    ),
    converters=(
        converter("onnx", Variant("slim", requirements="slimmer>=1"), Variant("fp16", precision=FP16)),
        converter("onnx", Variant("bf16"), devices=("cuda",)),
        converter("engine", devices=("cuda", "npu"), requirements="builder"),
        converter("elsewhere"),
    ),
    runners={
        one.name: one
        for one in (
            runner("ort", "onnx"),
            runner("ort-cuda", "onnx", devices=("cuda",)),
            runner("ort-fast", "onnx"),
            runner("engine", "engine", requirements="builder"),
            runner("both", "torch", "torchscript", devices=("cpu", "cuda")),
            runner("beyond", "nowhere"),
        )
    },
)
GRAPH = build(PLUGINS, absent("builder", "slimmer>=1"))


def labels(picture):
    return re.findall(r'"([^"]*)"', picture)


def test_the_picture_of_a_small_graph():
    assert GRAPH.to_mermaid().splitlines() == [
        "flowchart LR",
        '  n0["elsewhere"]',
        '  n1["engine"]',
        '  n2["nowhere"]',
        '  n3["onnx"]',
        '  n4(["torch"])',
        '  n5["torchscript"]',
        '  r0{{"engine"}}',
        '  r1{{"beyond"}}',
        '  r2{{"ort<br>ort-fast"}}',
        '  r3{{"ort-cuda"}}',
        '  r4{{"both"}}',
        "  n3 -.->|\"no installed plugin declares the format 'elsewhere'\"| n0",
        '  n3 -.->|"cuda or npu only<br>needs builder"| n1',
        '  n3 -->|"fp16"| n3',
        '  n3 -->|"bf16<br>cuda only"| n3',
        '  n3 -.->|"slim<br>needs slimmer#62;=1"| n3',
        '  n4 -->|"dynamo, trace"| n3',
        "  n4 --> n5",
        '  n1 -.-|"needs builder"| r0',
        "  n2 --- r1",
        "  n3 --- r2",
        '  n3 ---|"cuda only"| r3',
        "  n4 --- r4",
        "  n5 --- r4",
        "  classDef absent stroke-dasharray: 4",
        "  class n0,n2,r0 absent",
    ]


def test_every_format_variant_and_runner_is_in_the_picture():
    said = {name for label in labels(GRAPH.to_mermaid()) for line in label.split("<br>") for name in line.split(", ")}
    assert {conversion.variant.name for conversion in GRAPH.conversions if conversion.variant} <= said
    assert GRAPH.formats.keys() | PLUGINS.runners.keys() <= said


def test_where_all_is_installed_nothing_in_the_picture_is_dashed():
    whole = Plugins(formats=PLUGINS.formats, exporters=PLUGINS.exporters, converters=PLUGINS.converters[:3])
    picture = build(whole, absent()).to_mermaid()
    assert "-.-" not in picture
    assert "absent" not in picture


def test_names_that_mermaid_would_take_for_syntax_are_harmless():
    node = Plugins(
        formats={ODD: Format(name=ODD, file="f"), "onnx": Format(name="onnx", file="f")},
        converters=(converter(ODD, Variant(ODD), devices=(ODD,)),),
        runners={ODD: runner(ODD, ODD)},
    )
    picture = build(node, lambda requirements: Unavailable(ODD, "")).to_mermaid()
    token = r'n\d|r\d|\["[^"]*"\]|\(\["[^"]*"\]\)|\{\{"[^"]*"\}\}|-->|-\.->|---|-\.-|\|"[^"]*"\|'
    body = [line for line in picture.splitlines()[1:] if not line.startswith("  class")]
    assert all(re.fullmatch(rf"  (?:(?:{token}) ?)+", line) for line in body)
    assert all(re.fullmatch(r"(?:[\w .,:+=()/'-]|#\d+;|<br>)*", label) for label in labels(picture))
    written = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), picture)
    assert written.count(ODD) == 6  # node, arrow with device and reason, hexagon with reason


def test_a_plain_variant_shares_its_arrow_and_has_no_name_there():
    plain = Exporter(source="torch", target="onnx", implementation=REF, variants=(Variant(""), Variant("fast")))
    found = build(Plugins(formats=PLUGINS.formats, exporters=(plain,)), absent())
    assert [line for line in found.to_mermaid().splitlines() if "-->" in line] == ['  n2 -->|"fast"| n1']


@pytest.mark.parametrize("name", ["end", "graph", "subgraph", "class"])
def test_a_format_may_be_called_like_a_keyword(name):
    found = Plugins(formats={name: Format(name=name, file="f")})
    assert build(found, absent()).to_mermaid() == f'flowchart LR\n  n0["{name}"]'


def test_text_says_why_and_what_to_do():
    assert str(GRAPH).splitlines()[:3] == [
        "onnx->elsewhere  unavailable: no installed plugin declares the format 'elsewhere'; "
        "install a plugin that declares the format 'elsewhere'",
        "onnx->engine  unavailable: needs builder, which is not installed; pip install builder",
        "onnx->onnx[bf16]",
    ]


def test_a_dict_holds_plain_values_only():
    found = GRAPH.to_dict()
    assert found["formats"][:2] == [{"name": "elsewhere", "kind": "undeclared"}, {"name": "engine", "kind": "format"}]
    missing = {"reason": "needs builder, which is not installed", "remedy": "pip install builder"}
    conversions = {one["name"]: one for one in found["conversions"]}
    assert conversions["onnx->engine"]["unavailable"] == missing
    assert conversions["onnx->onnx[fp16]"] == {
        "name": "onnx->onnx[fp16]",
        "source": "onnx",
        "target": "onnx",
        "environment": None,
        "variant": "fp16",
        "precision": "fp16",
        "unavailable": None,
        "dead_ends": {},
    }
    runners = {one["name"]: one for one in found["runners"]}
    assert runners["both"] == {
        "name": "both",
        "environment": None,
        "formats": ["torch", "torchscript"],
        "unavailable": None,
    }
    assert runners["engine"]["unavailable"] == missing
