"""What will be tried: a trie of steps, runners on every end of it, and a reason for all that cannot be."""

import attrs
import pytest

from navigator_core import (
    FP16,
    FP32,
    FP64,
    TF32,
    Converter,
    Exporter,
    Format,
    Framework,
    Probe,
    Ref,
    Requirement,
    Runner,
    Variant,
)
from navigator_core import graph as graphs
from navigator_core.availability import Unavailable
from navigator_core.declarations import DeviceInfo
from navigator_core.errors import NoPathError, RequestError
from navigator_core.obstacles import questions_of
from navigator_core.offers import Wishes
from navigator_core.planning import baseline_name, check, make
from navigator_core.plugins import Plugins
from navigator_core.survey import Survey

REF = Ref("package.module:name")


@attrs.frozen(kw_only=True)
class Onnx:
    opset: int = 18
    method: str = "dynamo"


@attrs.frozen(kw_only=True)
class Threads:
    threads: int = 0


def exporter(target, *variants, **more):
    return Exporter(source="torch", target=target, implementation=REF, variants=variants, **more)


def converter(source, target, *variants, **more):
    return Converter(source=source, target=target, implementation=REF, variants=variants, **more)


def runner(name, *formats, **more):
    return Runner(name=name, formats=formats, implementation=REF, **more)


PLUGINS = Plugins(
    formats={
        "torch": Framework(name="torch", source=Ref("m"), reference="eager"),
        **{name: Format(name=name, file="f") for name in ("onnx", "torchscript", "tensorrt", "openvino")},
    },
    exporters=(
        exporter("onnx", Variant("dynamo", Onnx()), Variant("trace", Onnx(opset=17, method="trace")), options=Onnx),
        exporter("torchscript"),
    ),
    converters=(
        converter("onnx", "onnx", Variant("fp16", precision=FP16)),
        converter("onnx", "tensorrt", devices=("cuda",)),
        converter("onnx", "openvino", requirements=(Probe(Ref("vino:check"), "install the drivers"),)),
    ),
    runners={
        r.name: r
        for r in (
            runner("eager", "torch", variants=(Variant("fp32"), Variant("tf32", precision=TF32))),
            runner("ort", "onnx", options=Threads),
            runner("ort-cuda", "onnx", devices=("cuda",)),
            runner("script", "torchscript", requirements=(Requirement("no-such-distribution"),)),
            runner("trt", "tensorrt", devices=("cuda",), variants=(Variant("fp32", precision=FP32),)),
            runner("vino", "openvino"),
        )
    },
)
GRAPH = graphs.build(PLUGINS, lambda requirements: None)
CPU = Survey(devices=(DeviceInfo("cpu", "a CPU", 1),))
CUDA = Survey(devices=(*CPU.devices, DeviceInfo("cuda:0", "a GPU", 1)))


def planned(survey=CPU, device="cpu", precision=FP32, plugins=PLUGINS, **asked):
    graph = GRAPH if plugins is PLUGINS else graphs.build(plugins, lambda requirements: None)
    return make(plugins, graph, "torch", precision, device, Wishes(**asked), survey)


def written(plan):
    """A plan as lines to review."""
    lines = ["steps"]
    lines += [f"  {s.name}  from {s.parent or 'the source'}, {s.precision.name} on {s.device}" for s in plan.steps]
    lines.append("branches")
    for b in plan.branches:
        reason = f"  UNAVAILABLE: {b.unavailable.reason} -> {b.unavailable.remedy}" if b.unavailable else ""
        compared = "  for comparison" if b.comparison else ""
        lines.append(f"  {b.name}  ({b.precision.name}, {b.choice.value}){reason}{compared}")
    return "\n".join(lines)


def names(plan):
    return [branch.name for branch in plan.branches if branch.unavailable is None and not branch.comparison]


def test_the_sources_own_branch_is_tried_for_comparison_where_it_was_not_asked_for():
    plan = planned(runners=("ort",), limit=1)
    assert all(name.endswith("@ ort") for name in names(plan))
    assert [branch.name for branch in plan.branches if branch.comparison] == ["torch @ eager[fp32]"]
    assert not any(branch.comparison for branch in planned(limit=1).branches)


def test_a_plan_on_a_machine_without_a_gpu(golden):
    golden("plan-cpu.txt", written(planned(limit=2)))


def test_a_plan_on_a_machine_with_one(golden):
    options = {"@ort": {"threads": [1, 4]}}
    golden("plan-cuda.txt", written(planned(CUDA, "cuda:0", limit=2, targets=("onnx", "tensorrt"), options=options)))


def test_every_step_comes_after_the_one_it_starts_from_and_each_is_there_once():
    plan = planned(CUDA, "cuda:0", limit=4)
    done = set()
    for step in plan.steps:
        assert step.parent is None or step.parent in done
        assert step.name not in done
        done.add(step.name)
    assert {branch.step for branch in plan.branches if branch.unavailable is None} <= {*done, None}
    assert len({branch.name for branch in plan.branches}) == len(plan.branches)


def test_a_shared_beginning_is_one_step():
    plan = planned(limit=2)
    children = [step.name for step in plan.steps if step.parent == "torch->onnx[dynamo]"]
    assert len(children) > 1
    assert [step.name for step in plan.steps].count("torch->onnx[dynamo]") == 1


def test_a_step_that_no_branch_needs_is_not_taken():
    plan = planned(runners=("eager",))
    assert plan.steps == ()
    assert names(plan) == ["torch @ eager[fp32]", "torch @ eager[tf32]"]


def test_a_precision_once_lost_does_not_come_back():
    plan = planned(CUDA, "cuda:0", limit=3, targets=("tensorrt",))
    found = {branch.name: branch.precision for branch in plan.branches}
    assert found["torch->onnx[dynamo]->tensorrt @ trt[fp32]"] == FP32
    assert found["torch->onnx[dynamo]->onnx[fp16]->tensorrt @ trt[fp32]"] == FP16


def test_a_double_precision_source_stays_one_where_nothing_is_said():
    found = {branch.name: branch.precision for branch in planned(precision=FP64).branches}
    assert found["torch->onnx[dynamo] @ ort"] == FP64
    assert found["torch @ eager[tf32]"] == TF32


def test_a_list_of_options_makes_a_branch_of_each():
    plan = planned(limit=1, targets=("onnx",), options={"torch->onnx": {"opset": [17, 20]}})
    assert [step.name for step in plan.steps] == [
        "torch->onnx[dynamo,opset=17]",
        "torch->onnx[dynamo,opset=20]",
        "torch->onnx[trace,opset=17]",
        "torch->onnx[trace,opset=20]",
    ]
    opsets = (17, 20)
    assert [step.choice.value for step in plan.steps] == [
        Onnx(opset=opset, method=method) for method in ("dynamo", "trace") for opset in opsets
    ]


def test_what_is_said_of_an_edge_is_for_its_conversions_that_have_the_field():
    passes = (
        converter("onnx", "onnx", Variant("a"), options=Onnx),
        converter("onnx", "onnx", Variant("b"), options=Threads),
        converter("onnx", "onnx", Variant("c")),
    )
    found = planned(
        plugins=attrs.evolve(PLUGINS, converters=passes), limit=2, targets=("onnx",),
        options={"onnx->onnx": {"opset": 20, "threads": 3}, "torch->onnx": {"method": "dynamo"}},
    )  # fmt: skip
    chosen = {s.conversion.variant.name: s.choice.value for s in found.steps if s.parent}
    assert chosen == {"a": Onnx(opset=20), "b": Threads(threads=3), "c": None}


def test_options_that_make_one_variant_of_another_do_not_build_the_same_twice():
    plan = planned(limit=1, targets=("onnx",), options={"onnx": {"method": "trace", "opset": 17}})
    assert [step.name for step in plan.steps] == ["torch->onnx[trace]"]


def test_what_a_probe_found_is_the_reason():
    obstacle = Unavailable("the driver is too old", "install a newer driver")
    plan = planned(attrs.evolve(CPU, obstacles={"vino:check": obstacle}), limit=2)
    found = [branch for branch in plan.branches if branch.format == "openvino"]
    assert found
    assert all(branch.unavailable == obstacle for branch in found)
    assert not any("openvino" in step.name for step in plan.steps)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"targets": ("torch",)}, ["torch @ eager[fp32]", "torch @ eager[tf32]"]),
        ({"runners": ("ort",), "limit": 1}, ["torch->onnx[dynamo] @ ort", "torch->onnx[trace] @ ort"]),
        ({"limit": 0}, ["torch @ eager[fp32]", "torch @ eager[tf32]"]),
    ],
)
def test_only_what_was_asked_for_is_planned(asked, expected):
    assert names(planned(**asked)) == expected


def test_where_no_runner_can_be_reached_every_edge_that_would_have_helped_is_listed():
    alone = attrs.evolve(PLUGINS, runners={}, converters=())
    with pytest.raises(NoPathError, match="no runner can be reached from 'torch' on the way to any format") as caught:
        planned(plugins=alone)
    assert "torch->onnx[dynamo]" in str(caught.value)
    with pytest.raises(NoPathError, match="no installed plugin declares a conversion"):
        planned(plugins=attrs.evolve(alone, exporters=()))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"targets": ("onxn",)}, "unknown format in targets 'onxn'; did you mean 'onnx'"),
        ({"runners": ("orrt",)}, "unknown runner 'orrt'; did you mean 'ort'"),
        ({"options": {"onxn": {}}}, "unknown key in options 'onxn'"),
        ({"options": {"torch->tensorrt": {}}}, "unknown key in options 'torch->tensorrt'"),
    ],
)
def test_names_that_do_not_exist_are_errors_with_the_closest(asked, message):
    with pytest.raises(RequestError, match=message):
        check(Wishes(**asked), PLUGINS, GRAPH)
    check(Wishes(targets=("onnx",), runners=("ort",), options={"@ort": {}}), PLUGINS, GRAPH)


def test_only_probes_that_could_matter_here_are_asked():
    assert questions_of(PLUGINS, GRAPH, {"cpu"}) == (Probe(Ref("vino:check"), "install the drivers"),)
    far = attrs.evolve(PLUGINS, converters=(attrs.evolve(PLUGINS.converters[2], devices=("npu",)),))
    assert questions_of(far, graphs.build(far, lambda requirements: None), {"cpu"}) == ()


def test_the_baseline_is_the_sources_own_runner_in_its_first_variant():
    assert baseline_name("torch", PLUGINS.runners["eager"]) == "torch @ eager[fp32]"
    assert baseline_name("onnx", PLUGINS.runners["ort"]) == "onnx @ ort"


def test_asking_only_for_what_cannot_run_here_is_refused_with_the_reasons():
    with pytest.raises(NoPathError, match=r"torch->onnx\[dynamo\] @ ort-cuda: needs a cuda device"):
        planned(runners=("ort-cuda",))


def test_reduced_precisions_that_were_not_named_are_not_tried():
    everything, some = planned(limit=2), planned(limit=2, precisions=("fp32", "fp16"))
    assert {b.precision.name for b in everything.branches} == {"fp32", "fp16", "tf32"}
    assert {b.precision.name for b in some.branches} == {"fp32", "fp16"}
    only = planned(limit=2, precisions=("fp32",))
    assert {b.precision.name for b in only.branches} == {"fp32"}
    assert not any("fp16" in step.name for step in only.steps)
    assert "torch @ eager[fp32]" in names(planned(limit=2, precisions=("fp16",)))


HALF = Plugins(
    formats={
        "torch": Framework(name="torch", source=Ref("m"), reference="eager"),
        "onnx": Format(name="onnx", file="f"),
    },
    exporters=(exporter("onnx", Variant(""), Variant("fp16", Onnx(opset=19), FP16), options=Onnx),),
    runners={
        "eager": runner(
            "eager",
            "torch",
            variants=(
                Variant("", Threads()),
                Variant("fp16", Threads(threads=1), FP16),
                Variant("one", Threads(threads=2)),
            ),
            options=Threads,
        ),
        "ort": runner("ort", "onnx"),
    },
)


def test_the_plain_variant_has_no_name():
    assert names(planned(plugins=HALF)) == [
        "torch @ eager",
        "torch @ eager[fp16]",
        "torch @ eager[one]",
        "torch->onnx @ ort",
        "torch->onnx[fp16] @ ort",
    ]
    assert baseline_name("torch", HALF.runners["eager"]) == "torch @ eager"


def test_a_variant_for_a_precision_is_left_out_where_the_source_is_as_coarse():
    plan = planned(plugins=HALF, precision=FP16)
    assert names(plan) == ["torch @ eager", "torch @ eager[one]", "torch->onnx @ ort"]
    assert [step.name for step in plan.steps] == ["torch->onnx"]


def test_options_that_make_a_runners_variant_of_another_are_not_tried_twice():
    plan = planned(plugins=HALF, runners=("eager",), options={"@eager": {"threads": [0, 2]}})
    assert names(plan) == [
        "torch @ eager[threads=0]",
        "torch @ eager[fp16,threads=0]",
        "torch @ eager[fp16,threads=2]",
        "torch @ eager[one,threads=2]",
    ]


def test_what_no_runner_that_is_asked_for_executes_is_not_in_the_plan():
    named = [branch.name for branch in planned(runners=("ort",)).branches]
    assert not any("->tensorrt" in name or "torchscript" in name for name in named)
    assert any("->tensorrt" in branch.name for branch in planned().branches)


def test_what_a_variant_that_is_not_to_be_had_here_would_do_can_be_asked_for_all_the_same():
    absent = Variant("two", Threads(threads=2), requirements=(Probe(Ref("m:two"), "add cores"),))
    plugins = attrs.evolve(
        HALF, runners={"eager": runner("eager", "torch", variants=(Variant("", Threads()), absent), options=Threads)}
    )
    lacking = attrs.evolve(CPU, obstacles={"m:two": Unavailable("has one core", "add cores")})
    plan = planned(lacking, plugins=plugins, options={"@eager": {"threads": 2}})
    assert names(plan) == ["torch @ eager"]
    assert [b.choice.value.threads for b in plan.branches if b.unavailable is None] == [2]


def test_what_an_exporter_writes_leads_to_no_dead_end_and_the_plan_says_why():
    declared = attrs.evolve(
        PLUGINS,
        exporters=(exporter("onnx", dead_ends={"tensorrt": "it is one operation"}),),
        converters=(converter("onnx", "tensorrt"), converter("onnx", "openvino")),
        runners={r.name: r for r in (runner("eager", "torch"), runner("trt", "tensorrt"), runner("vino", "openvino"))},
    )
    made = planned(plugins=declared)
    assert [step.name for step in made.steps] == ["torch->onnx", "torch->onnx->openvino"]
    (dead,) = (branch for branch in made.branches if branch.unavailable)
    assert dead.name == "torch->onnx->tensorrt"
    assert dead.unavailable == Unavailable("it is one operation", "another way to tensorrt, where there is one")
    graph = graphs.build(declared, lambda requirements: None)
    assert "torch->onnx->tensorrt  not offered: it is one operation" in str(graph).splitlines()
    (export,) = (one for one in graph.to_dict()["conversions"] if one["name"] == "torch->onnx")
    assert export["dead_ends"] == {"tensorrt": "it is one operation"}
