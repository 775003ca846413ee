"""A report by a stranger: nothing shown that a terminal would obey, no absurd number, no tree that falls apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from navigator_core.refusal import plainly
from navigator_core.report import Report
from navigator_core.signature import Signature
from navigator_core.structure import Container, Node, leaves

_LARGEST = 2**63


def shown_safely(data: Any) -> Any:
    """Plain data with every control character, which a terminal would obey, written as its escape.

    Raises ValueError for an integer of more than 64 bits.
    """
    if isinstance(data, str):
        return plainly(data)
    if isinstance(data, list):
        return [shown_safely(item) for item in data]
    if isinstance(data, dict):
        return {shown_safely(key): shown_safely(value) for key, value in data.items()}
    if isinstance(data, int) and not -_LARGEST <= data < _LARGEST:
        raise ValueError("a number of more than 64 bits")
    return data


def check(report: Report) -> None:
    """Raises ValueError for a signature whose call cannot be made of its tensors, and for impossible measurements."""
    _check_signature(report.signature)
    for candidate in report.candidates:
        for measurement in candidate.measurements:
            estimates = (measurement.p50, measurement.throughput)
            counts = (measurement.batch_size, measurement.calls, measurement.callers)
            if min(counts) < 1 or not all(0 < one.value < float("inf") for one in estimates):
                raise ValueError(f"{candidate.name} has a measurement that cannot be")


def _check_signature(signature: Signature) -> None:
    inputs, outputs = _unique(signature.inputs), _unique(signature.outputs)
    if signature.structure is None:
        return
    nodes = [parameter.node for parameter in signature.structure.parameters]
    for node, names in (*((node, inputs) for node in nodes), (signature.structure.output, outputs)):
        _check_containers(node)
        unknown = {leaf.name for leaf in leaves(node)} - names
        if unknown:
            raise ValueError(f"its signature has no tensor {min(unknown)!r}")


def _check_containers(node: Node | None) -> None:
    if isinstance(node, Container):
        if len(node.keys) != len(node.children) or len(set(node.keys)) != len(node.keys):
            raise ValueError("a container in its signature has not one key for each child")
        for child in node.children:
            _check_containers(child)


def _unique(specs: Iterable[Any]) -> set[str]:
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise ValueError("two tensors of its signature have one name")
    return set(names)
