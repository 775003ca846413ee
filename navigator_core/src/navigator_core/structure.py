"""Containers around tensors: taken apart into named leaves, and put together again as they were."""

from __future__ import annotations

import dataclasses
import sys
from collections import UserDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from operator import itemgetter
from typing import Any, Literal

import attrs
from attrs import frozen

from navigator_core import tensors
from navigator_core.errors import RequestError

ContainerKind = Literal["tuple", "list", "mapping", "record"]
PLAIN = frozenset({type(None), bool, int, float, str})
"""What a model may return beside tensors: a loaded candidate returns it again, and it is kept as JSON."""

STAND_IN = "navigator_core.structure:AttributeDict"

_met: dict[str, type] = {}
"""Container classes that this process has met, by name; not all can be imported (local, or another's ``__main__``)."""


@frozen
class Leaf:
    """A tensor; ``name`` is its dotted path, or what the user called it."""

    name: str


@frozen
class Constant:
    """A value that is no tensor: equal in every call."""

    value: Any


@frozen
class Container:
    """A tuple, list, mapping or record (named tuple, dataclass, attrs class) of nodes.

    ``type`` is the class as "module:qualname"; None for Python's own.
    """

    kind: ContainerKind
    type: str | None
    keys: tuple[str | int, ...]
    children: tuple[Node, ...]


Node = Leaf | Constant | Container
Take = Callable[[Any, dict[str, Any]], None]
"""Puts the tensors of a value, which it takes apart, into a dict by leaf name."""
Build = Callable[[Mapping[str, Any]], Any]
"""Puts a value together from its tensors by leaf name."""


class ForeignValueError(RequestError):
    """A model returned what cannot be taken apart; ``value`` is it."""

    def __init__(self, what: str, value: object) -> None:
        super().__init__(f"{what}; have the call leave it out, or wrap the model to return tensors")
        self.what, self.value = what, value


class AttributeDict(dict[Any, Any]):
    """Stands in for a container class that cannot be rebuilt: a dict whose keys are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the model's output has no {name!r}; it has {', '.join(map(str, self))}") from None


def describe(value: Any, path: str, *, constants: bool = True) -> tuple[Node, dict[str, Any]]:
    """The tree of a value and its tensors by dotted path below ``path``.

    With ``constants=False`` only plain constants are accepted (what a model returns must be rebuilt later).
    Raises ForeignValueError for an object that is neither tensor, container nor constant, and RequestError for a key
    that is neither str nor int, and where two tensors would have the same path.
    """
    leaves: dict[str, Any] = {}
    return _describe(value, path, leaves, constants), leaves


def _describe(value: Any, path: str, leaves: dict[str, Any], constants: bool) -> Node:
    if tensors.is_tensor(value):
        if path in leaves:
            raise RequestError(
                f"two tensors are called {path!r}, because a key has a dot or is 0 beside '0': rename it"
            )
        leaves[path] = value
        return Leaf(path)
    items = children(value)
    if items is None:
        if not constants and type(value) not in PLAIN:
            what = f"the model's output {path!r}" if path else "what the model returned"
            raise ForeignValueError(f"{what} is a {type_name(value)}: neither tensor, container nor constant", value)
        return Constant(value)
    kind, mapping = items
    odd = [key for key in mapping if type(key) not in (str, int)]
    if odd:
        raise RequestError(f"{path or 'the mapping'!r} has the key {odd[0]!r}; keys must be str or int")
    return Container(
        kind,
        _type_name(value),
        tuple(mapping),
        tuple(_describe(v, f"{path}.{k}" if path else str(k), leaves, constants) for k, v in mapping.items()),
    )


def children(value: Any) -> tuple[ContainerKind, dict[str | int, Any]] | None:
    """What a container holds, by key; None for what is no container."""
    if isinstance(value, Mapping):
        return "mapping", dict(value)
    if isinstance(value, tuple):
        fields = getattr(value, "_fields", None)
        return (
            ("tuple", dict(enumerate(value))) if fields is None else ("record", dict(zip(fields, value, strict=True)))
        )
    if isinstance(value, list):
        return "list", dict(enumerate(value))
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return "record", {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    if attrs.has(type(value)):
        return "record", {f.alias or f.name: getattr(value, f.name) for f in attrs.fields(type(value)) if f.init}
    return None


def loose(value: Any) -> Iterator[Any]:
    """What is neither tensor nor container in a value, at any depth."""
    items = children(value)
    if items is not None:
        for child in items[1].values():
            yield from loose(child)
    elif not tensors.is_tensor(value):
        yield value


def type_name(value: object) -> str:
    """The class of a value for a message: "package.module.Class"."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def replace_children(value: Any, replace: Callable[[Any], Any]) -> Any:
    """A container of the same class that holds something else; what is no container, as it is."""
    items = children(value)
    if items is None:
        return value
    kind, mapping = items
    constants = tuple(Constant(replace(child)) for child in mapping.values())
    return rebuild(Container(kind, _type_name(value), tuple(mapping), constants), {})


def _type_name(value: Any) -> str | None:
    cls = type(value)
    if cls in (tuple, list, dict):
        return None
    name = f"{cls.__module__}:{cls.__qualname__}"
    _met[name] = cls
    return name


def flatten(node: Node, value: Any) -> dict[str, Any]:
    """The tensors of ``value``, which is built like ``node``, by leaf name.

    Raises RequestError where the value is built in another way, naming the place.
    """
    leaves: dict[str, Any] = {}
    flattening(node)(value, leaves)
    return leaves


def flattening(node: Node, path: str = "") -> Take:
    """`flatten` for many values of one tree: a function that puts a value's tensors into the dict it is given."""
    if isinstance(node, Leaf):
        return _flattening_leaf(node, path)
    return _flattening_constant(node, path) if isinstance(node, Constant) else _flattening_container(node, path)


def _flattening_leaf(node: Leaf, path: str) -> Take:
    name = node.name

    def take(value: Any, leaves: dict[str, Any]) -> None:
        if not tensors.is_tensor(value):
            raise RequestError(f"expected a tensor at {path or name!r}, found {brief(value)}")
        leaves[name] = value

    return take


def _flattening_constant(node: Constant, path: str) -> Take:
    expected = node.value

    def take(value: Any, leaves: dict[str, Any]) -> None:
        if tensors.is_tensor(value) or not same(expected, value):
            raise RequestError(
                f"{repr(path) if path else 'it'} is a constant, {brief(expected)} in the samples, but {brief(value)} "
                "here; a value that changes from call to call must be a tensor"
            )

    return take


def _flattening_container(node: Container, path: str) -> Take:
    keys, kind = set(node.keys), node.kind
    counted = kind in ("tuple", "list") and node.keys == tuple(range(len(keys)))
    inside = tuple(
        (key, flattening(child, f"{path}.{key}" if path else str(key)))
        for key, child in zip(node.keys, node.children, strict=True)
    )

    def held(value: Any) -> Any:
        """What answers to the keys: Python's own containers themselves, others as a dict."""
        cls = type(value)
        if cls is dict and kind == "mapping":
            return value if value.keys() == keys else None
        if (cls is tuple or cls is list) and counted:
            return value if len(value) == len(inside) else None
        items = children(value)
        return items[1] if items is not None and _alike(kind, items[0]) and items[1].keys() == keys else None

    def take(value: Any, leaves: dict[str, Any]) -> None:
        found = held(value)
        if found is None:
            raise RequestError(f"expected {outline(node)} at {path or 'the top'!r}, found {brief(value)}")
        for key, take_child in inside:
            take_child(found[key], leaves)

    return take


def _alike(expected: ContainerKind, found: ContainerKind) -> bool:
    return expected == found or {expected, found} == {"tuple", "list"}


def rebuild(node: Node, leaves: Mapping[str, Any]) -> Any:
    """The inverse of `flatten`: containers of the original classes where these can be had."""
    return building(node)(leaves)


def building(node: Node) -> Build:
    """`rebuild` for many sets of tensors of one tree."""
    if isinstance(node, Leaf):
        return itemgetter(node.name)
    if isinstance(node, Constant):
        value = node.value
        return lambda leaves: value
    parts = tuple(map(building, node.children))
    if node.type is not None:
        return lambda leaves: _built(node, [part(leaves) for part in parts])
    if node.kind == "tuple":
        return lambda leaves: tuple([part(leaves) for part in parts])
    if node.kind == "list":
        return lambda leaves: [part(leaves) for part in parts]
    places = tuple(zip(node.keys, parts, strict=True))
    return lambda leaves: {key: part(leaves) for key, part in places}


def _built(node: Container, values: list[Any]) -> Any:
    plain = _plain(node, values)
    cls = container_class(node.type) if node.type else None
    try:
        return _of_class(cls, node, values) if cls is not None else _stand_in(plain)
    except Exception:  # a class whose __init__ wants something else
        return _stand_in(plain)


def _plain(node: Container, values: list[Any]) -> Any:
    if node.kind == "tuple":
        return tuple(values)
    return values if node.kind == "list" else dict(zip(node.keys, values, strict=True))


def _of_class(cls: type, node: Container, values: list[Any]) -> Any:
    if node.kind in ("tuple", "list"):
        return cls(values)
    if node.kind == "record" or dataclasses.is_dataclass(cls):
        return cls(**_plain(node, values))
    made = cls(_plain(node, values))
    if len(made) != len(values):  # its constructor takes something else, and took this for it
        raise TypeError(node.type)
    return made


def _stand_in(plain: Any) -> Any:
    return AttributeDict(plain) if isinstance(plain, dict) else plain


def unbuildable(node: Node | None) -> list[str]:
    """The container classes below ``node`` that cannot be had in this process."""
    if not isinstance(node, Container):
        return []
    here = [node.type] if node.type and container_class(node.type) is None else []
    return here + [name for child in node.children for name in unbuildable(child)]


def without_imports(node: Node) -> tuple[Node, set[str]]:
    """The tree with stand-ins for the classes whose modules are not imported yet, and the names of these.

    For trees by a stranger: an import runs whatever is in the module.
    """
    if not isinstance(node, Container):
        return node, set()
    inside = [without_imports(child) for child in node.children]
    lost = {name for _, names in inside for name in names}
    kept = node.type
    if node.type is not None and _imported_class(node.type) is None:
        lost.add(node.type)
        kept = STAND_IN if node.kind in ("mapping", "record") else None
    return attrs.evolve(node, type=kept, children=tuple(child for child, _ in inside)), lost


def container_class(name: str) -> type | None:
    """The class, if this process has met it or can import it and it is a container class.

    Only containers qualify: the name comes from a package, and must not call anything else.
    """
    return _met.get(name) or _import_class(name)


def classes(nodes: Iterable[Node | None]) -> dict[str, type]:
    """The container classes below the nodes, by name: what another process may have to `meet`."""
    found: dict[str, type] = {}
    for node in nodes:
        if isinstance(node, Container):
            cls = node.type and container_class(node.type)
            found.update({node.type: cls} if node.type and cls else {}, **classes(node.children))
    return found


def meet(found: Mapping[str, type]) -> None:
    """Make container classes known that came from another process."""
    _met.update(found)


@lru_cache(maxsize=256)
def _import_class(name: str) -> type | None:
    module, _, path = name.partition(":")
    try:
        value: Any = import_module(module)
        for part in path.split("."):
            value = getattr(value, part)
    except (Exception, SystemExit):  # whatever an import raises, the class is not to be had
        return None
    return _container(value)


def _imported_class(name: str) -> type | None:
    """As `container_class`, without an import, and without what a module's own ``__getattr__`` would import."""
    module, _, path = name.partition(":")
    value: Any = sys.modules.get(module)
    for part in path.split("."):
        value = getattr(value, "__dict__", {}).get(part)
    return _met.get(name) or _container(value)


def _container(value: Any) -> type | None:
    if not isinstance(value, type):
        return None
    is_record = dataclasses.is_dataclass(value) or attrs.has(value) or hasattr(value, "_fields")
    return value if is_record or issubclass(value, tuple | list | dict | UserDict) else None


def leaves(node: Node | None) -> Iterator[Leaf]:
    """The leaves in order."""
    if isinstance(node, Leaf):
        yield node
    elif isinstance(node, Container):
        for child in node.children:
            yield from leaves(child)


def rename(node: Node, names: Mapping[str, str]) -> Node:
    """The same tree with its leaves renamed."""
    if isinstance(node, Leaf):
        return Leaf(names.get(node.name, node.name))
    if isinstance(node, Container):
        return attrs.evolve(node, children=tuple(rename(child, names) for child in node.children))
    return node


def same(a: Any, b: Any) -> bool:
    """Whether two constants are equal; False where they cannot be compared."""
    try:
        return a is b or bool(a == b) or (a != a and b != b)
    except Exception:  # a foreign __eq__ may raise anything
        return False


def outline(node: Node) -> str:
    """How a value is built, in a few words: ``tuple(tensor, {'a': tensor})``."""
    if isinstance(node, Leaf):
        return "tensor"
    if isinstance(node, Constant):
        return brief(node.value)
    inside = [outline(child) for child in node.children]
    if node.kind in ("tuple", "list"):
        return f"{node.kind}({', '.join(inside)})"
    return "{" + ", ".join(f"{key!r}: {text}" for key, text in zip(node.keys, inside, strict=True)) + "}"


def brief(value: Any) -> str:
    """A value in a few words for a message."""
    if tensors.is_tensor(value):
        return f"a tensor of shape {tensors.shape_of(value)}"
    items = children(value)
    if items is not None:
        return f"a {type(value).__name__} with {', '.join(map(repr, items[1])) or 'nothing inside'}"
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"
