"""The graph of formats and conversions, and each guarantee of its paths."""

import itertools
import time

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from navigator_core import FP16, Converter, Exporter, Format, Framework, Ref, Requirement, Runner, Variant
from navigator_core.availability import Unavailable
from navigator_core.graph import PASSES, Execution, build, paths, runners_by_format
from navigator_core.plugins import Plugins

REF = Ref("package.module:name")


def plugins(*edges, frameworks=("torch",), formats=(), runners=()):
    declared = [Framework(name=name, source=Ref("m"), reference="r") for name in frameworks]
    declared += [Format(name=name, file="f") for name in formats]
    return Plugins(
        formats={value.name: value for value in declared},
        exporters=tuple(edge for edge in edges if isinstance(edge, Exporter)),
        converters=tuple(edge for edge in edges if isinstance(edge, Converter)),
        runners={runner.name: runner for runner in runners},
    )


def edge(text, *variants, requirements=(), kind=None, from_passes=True):
    """ "torch->onnx": exporter from torch, else converter."""
    source, target = text.split("->")
    kind = kind or (Exporter if source == "torch" else Converter)
    made = tuple(Variant(v) if isinstance(v, str) else v for v in variants)
    more = {} if from_passes or kind is Exporter else {"from_passes": False}
    return kind(source=source, target=target, implementation=REF, variants=made, requirements=requirements, **more)


def absent(*names):
    """Says that these distributions are not installed."""

    def ask(requirements):
        for requirement in requirements:
            if isinstance(requirement, Requirement) and requirement.any_of[0] in names:
                return Unavailable(f"needs {requirement.any_of[0]}", f"pip install {requirement.any_of[0]}")
        return None

    return ask


def names(found):
    return ["; ".join(conversion.name for conversion in path) for path in found]


USUAL = plugins(
    edge("torch->onnx", "dynamo", Variant("trace", requirements="old"), requirements=("onnx",)),
    edge("torch->torchscript"),
    edge("onnx->onnx", Variant("fp16", precision=FP16), "slim"),
    edge("onnx->tensorrt", requirements=("tensorrt",)),
    edge("onnx->openvino"),
    formats=("onnx", "torchscript", "tensorrt"),
    runners=(
        Runner(name="ort", formats=("onnx",), implementation=REF),
        Runner(name="eager", formats=("torch",), implementation=REF),
        Runner(name="both", formats=("torch", "onnx"), implementation=REF),
    ),
)
GRAPH = build(USUAL, absent("tensorrt", "old"))


# building


def test_a_conversion_is_named_by_its_edge_and_variant():
    assert [conversion.name for conversion in GRAPH.conversions] == [
        "onnx->onnx[fp16]",
        "onnx->onnx[slim]",
        "onnx->openvino",
        "onnx->tensorrt",
        "torch->onnx[dynamo]",
        "torch->onnx[trace]",
        "torch->torchscript",
    ]


def test_each_conversion_keeps_what_was_declared():
    conversion = next(c for c in GRAPH.conversions if c.name == "onnx->onnx[fp16]")
    assert conversion.declaration is USUAL.converters[0]
    assert conversion.variant.precision == FP16


def test_what_is_missing_makes_a_conversion_unavailable_and_a_variant_alone():
    found = {c.name: c.unavailable for c in GRAPH.conversions}
    assert found["onnx->tensorrt"] == Unavailable("needs tensorrt", "pip install tensorrt")
    assert found["torch->onnx[trace]"] == Unavailable("needs old", "pip install old")
    assert found["torch->onnx[dynamo]"] is None


def test_a_runner_is_in_the_graph_with_what_it_lacks():
    lacking = Runner(name="lacking", formats=("onnx",), implementation=REF, requirements="gone")
    whole = Runner(name="whole", formats=("onnx",), implementation=REF)
    found = build(plugins(formats=("onnx",), runners=(whole, lacking)), absent("gone")).runners
    assert found == (Execution(lacking, Unavailable("needs gone", "pip install gone")), Execution(whole))


@pytest.mark.parametrize(
    ("requirements", "remedy"),
    [
        ((), "install a plugin that declares the format 'onnx'"),
        (("here",), "install a plugin that declares the format 'onnx'"),
        (("here", "navigator-onnx"), "pip install navigator-onnx"),
    ],
)
@pytest.mark.parametrize("text", ["torch->onnx", "onnx->torchscript"])
def test_an_edge_may_name_a_format_that_nobody_declares(text, requirements, remedy):
    graph = build(plugins(edge(text, requirements=requirements), formats=("torchscript",)), absent("navigator-onnx"))
    (conversion,) = graph.conversions
    assert conversion.unavailable == Unavailable("no installed plugin declares the format 'onnx'", remedy)
    assert graph.formats["onnx"] is None


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("onnx->ort", Exporter, "'onnx' is an artifact, so what goes from it is a converter"),
        ("torch->onnx", Converter, "'torch' is a live model, so what goes from it is an exporter"),
        ("onnx->torch", Converter, "'torch' is a live model, and a conversion writes an artifact"),
    ],
)
def test_an_edge_that_does_not_fit_its_formats_is_unavailable(text, kind, reason):
    (conversion,) = build(plugins(edge(text, kind=kind), formats=("onnx", "ort")), absent()).conversions
    assert conversion.unavailable.reason == reason


def test_runners_for_a_format_come_by_name():
    found = {name: [runner.name for runner in runners] for name, runners in runners_by_format(USUAL).items()}
    assert found == {"torch": ["both", "eager"], "onnx": ["both", "ort"]}


# paths


def test_the_paths_of_a_usual_graph():
    assert names(paths(GRAPH, "torch", limit=2)) == [
        "",
        "torch->onnx[dynamo]",
        "torch->onnx[trace]",
        "torch->torchscript",
        "torch->onnx[dynamo]; onnx->onnx[fp16]",
        "torch->onnx[dynamo]; onnx->onnx[slim]",
        "torch->onnx[dynamo]; onnx->openvino",
        "torch->onnx[dynamo]; onnx->tensorrt",
    ]


def test_from_a_format_nobody_knows_there_is_only_the_empty_path():
    assert list(paths(GRAPH, "unheard-of")) == [()]


def test_with_a_limit_of_zero_there_is_only_the_empty_path():
    assert list(paths(GRAPH, "torch", limit=0)) == [()]


def test_passes_are_not_chained():
    graph = build(plugins(edge("onnx->onnx", "a", "b", "c"), formats=("onnx",)), absent())
    assert names(paths(graph, "onnx", limit=4)) == ["", "onnx->onnx[a]", "onnx->onnx[b]", "onnx->onnx[c]"]


def test_a_path_goes_on_after_a_pass():
    found = names(paths(GRAPH, "torch", limit=3))
    assert "torch->onnx[dynamo]; onnx->onnx[fp16]; onnx->tensorrt" in found
    assert "torch->onnx[dynamo]; onnx->onnx[fp16]; onnx->onnx[slim]" not in found


def test_a_converter_that_does_not_start_from_passes_starts_from_what_nobody_changed():
    edges = [edge("torch->onnx", "", Variant("half", precision=FP16)), edge("onnx->onnx", "slim"), edge("onnx->plan")]
    own = plugins(*edges, edge("onnx->ir", from_passes=False), edge("ir->ir", "int8"), formats=("onnx", "plan", "ir"))
    found = names(paths(build(own, absent()), "torch", limit=4))
    assert [name for name in found if name.endswith("ir") or name.endswith("ir[int8]")] == [
        "torch->onnx; onnx->ir",
        "torch->onnx; onnx->ir; ir->ir[int8]",
    ]
    assert {"torch->onnx; onnx->onnx[slim]; onnx->plan", "torch->onnx[half]; onnx->plan"} <= set(found)


def test_targets_keep_only_what_leads_to_them():
    assert names(paths(GRAPH, "torch", targets=["torchscript"])) == ["", "torch->torchscript"]
    assert names(paths(GRAPH, "torch", targets=["torch"])) == [""]
    assert names(paths(GRAPH, "torch", targets=["unheard-of"])) == [""]
    assert names(paths(GRAPH, "torch", limit=2, targets=["tensorrt"])) == [
        "",
        "torch->onnx[dynamo]",
        "torch->onnx[trace]",
        "torch->onnx[dynamo]; onnx->tensorrt",
    ]


def test_paths_are_made_as_they_are_asked_for():
    everything = [f"f{i}" for i in range(30)]
    edges = [edge(f"{a}->{b}") for a, b in itertools.permutations(everything, 2)]
    found = paths(build(plugins(*edges, formats=everything), absent()), "f0", limit=20)
    assert len(list(itertools.islice(found, 100))) == 100


FORMATS = ("torch", "a", "b", "c", "d")
random_edges = st.lists(
    st.tuples(
        st.sampled_from(FORMATS),
        st.sampled_from(FORMATS),
        st.sampled_from([(), ("x",), ("x", "y"), ("x", "y", "z")]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=8,
    unique_by=lambda drawn: drawn[:2],
)


@st.composite
def random_paths(draw):
    """A graph with some unavailable edges, a limit, targets or None, and all paths from "torch"."""
    drawn = [one for one in draw(random_edges) if one[1] != "torch"]
    edges = [
        edge(f"{a}->{b}", *v, requirements=("gone",) if gone else (), from_passes=goes_on)
        for a, b, v, gone, goes_on in drawn
    ]
    graph = build(plugins(*edges, formats=FORMATS[1:]), absent("gone"))
    limit = draw(st.integers(0, 4))
    targets = draw(st.none() | st.sets(st.sampled_from(FORMATS)))
    return graph, limit, targets, list(paths(graph, "torch", limit, targets))


def drawn(test):
    """For every random graph, however busy the machine."""
    return settings(deadline=None)(given(random_paths())(test))


@drawn
def test_the_first_path_is_the_empty_one(case):
    assert case[3][0] == ()


@drawn
def test_prefixes_come_before(case):
    seen = set()
    for path in names(case[3]):
        assert not path or path.rpartition("; ")[0] in seen
        seen.add(path)


@drawn
def test_shorter_paths_come_first_and_equal_ones_by_name(case):
    keys = [(len(path), [conversion.name for conversion in path]) for path in case[3]]
    assert keys == sorted(keys)


@drawn
def test_no_path_comes_twice(case):
    found = names(case[3])
    assert len(found) == len(set(found))


@drawn
def test_a_path_is_connected_and_within_the_limit(case):
    _, limit, _, found = case
    for path in found:
        assert len(path) <= limit
        assert not path or path[0].source == "torch"
        assert all(before.target == after.source for before, after in itertools.pairwise(path))


@drawn
def test_no_format_is_entered_twice_except_by_passes(case):
    for path in case[3]:
        moves = ["torch", *(conversion.target for conversion in path if conversion.source != conversion.target)]
        assert len(moves) == len(set(moves))
        passes = [conversion.name for conversion in path if conversion.source == conversion.target]
        assert len(passes) == len(set(passes)) <= PASSES


@drawn
def test_nothing_goes_on_from_an_unavailable_conversion(case):
    for path in case[3]:
        assert all(conversion.unavailable is None for conversion in path[:-1])


def walks(graph, limit):
    """Every path by the rules as they are written, the slow way."""
    found = [()]
    for path in found:
        for c in graph.conversions if len(path) < limit and not (path and path[-1].unavailable) else ():
            here = path[-1].target if path else "torch"
            entered = {"torch", *(taken.target for taken in path)}
            passes = [taken.name for taken in path if taken.source == taken.target]
            fresh = c.name not in passes and len(passes) < PASSES if c.source == c.target else c.target not in entered
            follows = getattr(c.declaration, "from_passes", True) or not passes
            if c.source == here and fresh and follows:
                found.append((*path, c))
    return found


@drawn
def test_all_paths_come_that_the_rules_allow(case):
    graph, limit, targets, found = case
    if targets is None:
        assert names(found) == names(walks(graph, limit))


@drawn
def test_with_targets_all_that_reach_one_come_with_their_prefixes_and_nothing_hopeless(case):
    graph, limit, targets, found = case
    if targets is None:
        return
    every = names(paths(graph, "torch", limit))
    pruned = set(names(found))
    assert pruned <= set(every)
    for path in paths(graph, "torch", limit):
        if path and path[-1].target in targets:
            assert {name for i in range(len(path) + 1) for name in names([path[:i]])} <= pruned
    for path in found[1:]:
        left = limit - len(path)
        assert any(t in ahead(graph, path[-1].target, left) for t in targets)


def ahead(graph, start, steps):
    """What lies within some conversions of a format, available or not."""
    near = {start}
    for _ in range(steps):
        near |= {c.target for c in graph.conversions if c.source in near}
    return near


@settings(deadline=None, max_examples=30)
@given(st.permutations(USUAL.exporters), st.permutations(USUAL.converters))
def test_the_order_of_declarations_means_nothing(exporters, converters):
    edges = {"exporters": tuple(exporters), "converters": tuple(converters)}
    assert build(evolve(USUAL, **edges), absent("tensorrt", "old")) == GRAPH


def test_a_thousand_formats_are_no_burden():
    formats = [f"f{i:03}" for i in range(1000)]
    ends = [(i, (i * 7 + step * step + 1) % 1000) for i in range(1000) for step in range(10)]
    edges = [edge(f"{formats[a]}->{formats[b]}", str(n)) for n, (a, b) in enumerate(ends)]
    given_plugins = plugins(*edges, formats=formats)
    started = time.process_time()
    graph = build(given_plugins, absent())
    count = sum(1 for _ in paths(graph, "f000", limit=3))
    spent = time.process_time() - started
    assert count > 900
    assert spent < 0.5  # 0.06 s on an idle machine; the bound leaves room for a busy one
