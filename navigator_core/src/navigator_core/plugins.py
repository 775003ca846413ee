"""Find the plugins, set broken ones aside, hand out what the others declare. The only module that knows pluggy."""

from __future__ import annotations

import inspect
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import importlib_metadata
import pluggy
from attrs import Factory, evolve, field, frozen
from packaging.utils import canonicalize_name

from navigator_core import availability, elsewhere, hookspecs, registry
from navigator_core.declarations import (
    Converter,
    Deployer,
    Device,
    Executor,
    Exporter,
    Format,
    Framework,
    Profiler,
    Runner,
    Tensors,
)
from navigator_core.errors import PluginError, RequestError, unknown
from navigator_core.validity import Declaration, claims, problem

if TYPE_CHECKING:
    from navigator_core.environments import Environment, LostEnvironment
    from navigator_core.events import Event

GROUP = "navigator"
CORE = "navigator_core.builtin"

DECLARES: dict[str, tuple[type, ...]] = {
    "declare_formats": (Format, Framework),
    "declare_tensors": (Tensors,),
    "declare_devices": (Device,),
    "declare_exporters": (Exporter,),
    "declare_converters": (Converter,),
    "declare_runners": (Runner,),
    "declare_profilers": (Profiler,),
    "declare_deployers": (Deployer,),
    "declare_executors": (Executor,),
}
"""What each declaring hook may yield."""


@frozen
class PluginInfo:
    """Where a plugin comes from. ``distribution`` and ``version`` are None for one that was handed over in code.

    ``environment`` is the registered one that it lives in, None this process's own.
    """

    name: str
    distribution: str | None
    version: str | None
    module: str
    environment: str | None = None

    def __str__(self) -> str:
        title = f"plugin {self.name!r}" + (f" ({self.distribution} {self.version})" if self.distribution else "")
        return title + (f" of environment {self.environment!r}" if self.environment else "")


@frozen
class BrokenPlugin:
    """A plugin that was set aside as a whole, with what its author must change."""

    name: str
    distribution: str | None
    version: str | None
    reason: str
    environment: str | None = None

    def __str__(self) -> str:
        info = PluginInfo(self.name, self.distribution, self.version, "", self.environment)
        return f"{info} is set aside: {self.reason}"


@frozen
class Hook:
    """One plugin's implementation of one hook; called with all that the hook offers, it takes what it wants."""

    plugin: PluginInfo
    name: str
    function: Callable[..., Any]
    offered: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()

    def __call__(self, *values: Any) -> Any:
        """Raises whatever the plugin raises."""
        given = dict(zip(self.offered, values, strict=True))
        keywords = {name: given[name] for name in self.keywords if name in given}
        return self.function(*(given[name] for name in self.positional), **keywords)


@frozen(kw_only=True)
class Plugins:
    """What the working plugins declare, in order of name, whatever the order they were found in.

    ``environments`` are the other ones that take part, by name; ``lost`` those that are registered and cannot.
    """

    formats: Mapping[str, Format | Framework] = Factory(dict)
    tensors: Mapping[str, Tensors] = Factory(dict)
    devices: tuple[Device, ...] = ()  # a kind may be there several times: their detections are merged
    exporters: tuple[Exporter, ...] = ()
    converters: tuple[Converter, ...] = ()
    runners: Mapping[str, Runner] = Factory(dict)
    profilers: Mapping[str, Profiler] = Factory(dict)
    deployers: Mapping[str, Deployer] = Factory(dict)
    executors: Mapping[str, Executor] = Factory(dict)
    loaded: tuple[PluginInfo, ...] = ()
    broken: tuple[BrokenPlugin, ...] = ()
    environments: Mapping[str, Environment] = Factory(dict)
    lost: tuple[LostEnvironment, ...] = ()
    _hooks: tuple[Hook, ...] = field(default=(), eq=False, repr=False)
    _owners: Mapping[int, PluginInfo] = field(factory=dict, eq=False, repr=False)

    def owner(self, declaration: Declaration) -> PluginInfo:
        """The plugin that declared this very value (not an equal one). Raises KeyError for any other."""
        return self._owners[id(declaration)]

    def interpreter(self, value: Any) -> str | None:
        """Where a reference, or what a declaration refers to, is run: another environment's Python, None this one."""
        environment = elsewhere.environment_of(value)
        return None if environment is None else self.environments[environment].python

    def runner_for(self, name: str) -> Runner | None:
        """A runner by its name; for one of an environment that is not there the same one of this, if there is any."""
        return self.runners.get(name) or self.runners.get(elsewhere.split(name)[0])

    def why_no_runner(self, name: str) -> str:
        """Why there is none of a name, and what helps."""
        runner, environment = elsewhere.split(name)
        if environment is None:
            return f"no installed plugin declares the runner {runner!r}"
        if lost := [str(one) for one in self.lost if one.name == environment]:
            return lost[0]
        why = "declares no such runner" if environment in self.environments else "is not registered here"
        return (
            f"it runs by {runner!r} in the environment {environment!r}, which {why}; "
            f"navigator env add {environment} --python PATH, or install the plugin of that runner here"
        )

    def extended(self, hooks: Iterable[Hook], owners: Mapping[int, PluginInfo], **changes: Any) -> Plugins:
        """With more hooks, and other fields; ``owners`` has, by their identity, the declarations that are new."""
        return evolve(self, hooks=(*self._hooks, *hooks), owners={**self._owners, **owners}, **changes)

    def identify(self, model: Any, sample: Any = None) -> tuple[str | None, tuple[str, ...]]:
        """What the plugins say a model is, None if none knows it, with notes on those that could not answer.

        The core answers "python" for a callable, and is asked last: only about what no other plugin knows.
        The name may be that of a format which nobody declares. Raises RequestError where two plugins differ.
        """
        hooks = [hook for hook in self._hooks if hook.name == "identify_model"]
        here = [hook for hook in hooks if hook.plugin.environment is None]
        answers, notes = _ask([hook for hook in here if hook.plugin.module != CORE], model, sample)
        if not answers and isinstance(model, str | os.PathLike):  # asking elsewhere takes a process
            answers, more = _ask([hook for hook in hooks if hook not in here], model, sample)
            notes += more
        if len(set(answers.values())) > 1:
            said = ", ".join(f"{plugin} says {answer!r}" for plugin, answer in answers.items())
            raise RequestError(f"it cannot be told what the model is: {said}; name one with format=")
        if not answers:
            answers, _ = _ask([hook for hook in here if hook.plugin.module == CORE], model, sample)
            kind = f"{type(model).__module__}.{type(model).__qualname__}"
            known = inspect.isroutine(model)  # a function is what it looks like; an object may be a model
            notes += [] if known else [f"no plugin recognises a {kind}; it is taken as a plain callable"] * len(answers)
        return next(iter(answers.values()), None), tuple(notes)

    def observers(self) -> list[Callable[[Event], None]]:
        """The plugins' ``observe``, each a `Hook` that says whose it is. They may raise."""
        return [hook for hook in self._hooks if hook.name == "observe"]


_Load = Callable[[], Any]
_Accepted = tuple[PluginInfo, list[Hook], list[Declaration]]


@cache
def installed() -> Plugins:
    """What is installed in this environment and in those that are registered; looked up once in each process."""
    found = discover()
    if not registry.present():
        return found
    from navigator_core import environments

    return environments.joined(found)


def discover(group: str = GROUP, *, extra: Iterable[tuple[str, Any]] = (), entry_points: bool = True) -> Plugins:
    """Load the plugins behind a group of entry points, and ``extra`` ones given as (name, module or object).

    It never raises for a plugin: one that cannot be imported, declares nonsense or what another one has already
    declared, or raises in a hook is in ``broken``, with all it declares left out. The core comes first, then the
    order is by name, so who was there "already" depends on no search path.
    """
    found = [*(_entry_points(group) if entry_points else ()), *itertools.starmap(_given, extra)]
    found.sort(key=lambda one: (one[0].module != CORE, one[0].name, one[0].distribution or "", one[0].module))
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    taken: dict[str, PluginInfo] = {}
    accepted: list[_Accepted] = []
    broken: list[BrokenPlugin] = []
    for info, load in found:
        try:
            hooks = _hooks_of(info, _asked("it cannot be imported:", load), manager)
            values = [value for hook in hooks if hook.name in DECLARES for value in _declared_by(hook)]
            taken |= _claim(info, values, taken)
        except Exception as error:  # also what a strange object may raise while it is looked at
            reason = str(error) if isinstance(error, PluginError) else _brief(error)
            broken.append(BrokenPlugin(info.name, info.distribution, info.version, reason))
        else:
            accepted.append((info, hooks, values))
    return _collect(accepted, broken)


def _collect(accepted: list[_Accepted], broken: list[BrokenPlugin]) -> Plugins:
    declared = [(info, value) for info, _, values in accepted for value in values]

    def of(kind: type | tuple[type, ...], *by: str) -> list[Any]:
        values = [value for _, value in declared if isinstance(value, kind)]
        return sorted(values, key=lambda value: [getattr(value, name) for name in by])

    def named(kind: type | tuple[type, ...]) -> dict[str, Any]:
        return {value.name: value for value in of(kind, "name")}

    return Plugins(
        formats=named((Format, Framework)),
        tensors=named(Tensors),
        devices=tuple(of(Device, "kind")),
        exporters=tuple(of(Exporter, "source", "target")),
        converters=tuple(of(Converter, "source", "target")),
        runners=named(Runner),
        profilers=named(Profiler),
        deployers=named(Deployer),
        executors=named(Executor),
        loaded=tuple(info for info, _, _ in accepted),
        broken=tuple(broken),
        hooks=tuple(hook for _, hooks, _ in accepted for hook in hooks),
        owners={id(value): info for info, value in reversed(declared)},
    )


def _given(name: str, plugin: Any) -> tuple[PluginInfo, _Load]:
    return PluginInfo(name, None, None, getattr(plugin, "__name__", type(plugin).__name__)), lambda: plugin


def _entry_points(group: str) -> Iterator[tuple[PluginInfo, _Load]]:
    """Not ``importlib_metadata.entry_points()``: a damaged file of any package at all makes that one raise."""
    seen: set[str] = set()
    for distribution in importlib_metadata.distributions():
        try:
            found = [point for point in distribution.entry_points if point.group == group]
            name = canonicalize_name(availability.header(distribution, "Name") or "") if found else ""
        except Exception:  # not readable as a plugin, and whose it is nobody knows
            continue
        if name and name not in seen:  # an editable install may be found twice
            seen.add(name)
            version = availability.header(distribution, "Version")
            for point in found:
                yield PluginInfo(point.name, name, version, point.value), point.load


def _hooks_of(info: PluginInfo, plugin: Any, manager: pluggy.PluginManager) -> list[Hook]:
    """The manager holds one plugin at a time, so one that breaks half registered leaves nothing behind."""
    try:
        _asked("a hook does not fit:", lambda: manager.register(plugin, info.name))
        found = [(caller, one) for caller in manager.get_hookcallers(plugin) or () for one in caller.get_hookimpls()]
    finally:
        if manager.is_registered(plugin):
            manager.unregister(plugin)
    marked = {caller.name for caller, _ in found}
    unmarked = [name for name in DECLARES if name not in marked and callable(getattr(plugin, name, None))]
    if unmarked or not marked:
        raise PluginError(f"{', '.join(unmarked) or 'every function in it'} lacks the mark @navigator_core.hookimpl")
    return [hook for caller, impl in found if (hook := _hook(info, caller, impl, manager))]


def _hook(info: PluginInfo, caller: Any, impl: Any, manager: pluggy.PluginManager) -> Hook | None:
    if caller.spec is None:
        if impl.optionalhook:
            return None
        known = [name for name, other in vars(manager.hook).items() if other.has_spec()]
        raise PluginError(str(unknown("hook", caller.name, known)))
    if impl.wrapper or impl.hookwrapper:
        raise PluginError(f"{caller.name} is a wrapper, and there is nothing to wrap: a hook declares its own")
    return Hook(info, caller.name, impl.function, caller.spec.argnames, impl.argnames, impl.kwargnames)


def _declared_by(hook: Hook) -> list[Declaration]:
    values: list[Declaration] = _asked(f"{hook.name} raised", lambda: list(hook()))
    for value in values:
        if not isinstance(value, DECLARES[hook.name]):
            kinds = " or ".join(kind.__name__ for kind in DECLARES[hook.name])
            raise PluginError(f"{hook.name} must return {kinds} values, not {value!r:.80}")
        if wrong := problem(value):
            raise PluginError(f"{hook.name}: {wrong}")
    return values


def _claim(info: PluginInfo, values: list[Declaration], taken: Mapping[str, PluginInfo]) -> dict[str, PluginInfo]:
    """All that only one plugin may bring, each as a few words naming it."""
    new: dict[str, PluginInfo] = {}
    for claim in (f"name {info.name!r}", *itertools.chain.from_iterable(map(claims, values))):
        if claim in new:
            raise PluginError(f"it declares the {claim} twice")
        if claim in taken:
            raise PluginError(f"it brings the {claim}, which {taken[claim]} has already; rename one, or uninstall it")
        new[claim] = info
    return new


def _ask(hooks: Sequence[Hook], model: Any, sample: Any) -> tuple[dict[PluginInfo, str], list[str]]:
    answers: dict[PluginInfo, str] = {}
    notes: list[str] = []
    for hook in hooks:
        try:
            answer = hook(model, sample)
        except Exception as error:
            notes.append(f"{hook.plugin} could not say what the model is: {_brief(error)}")
        else:
            if isinstance(answer, str):
                answers[hook.plugin] = answer
            elif answer is not None:
                notes.append(f"{hook.plugin} must say what the model is by a str, not a {type(answer).__name__}")
    return answers, notes


def _asked(what: str, question: Callable[[], Any]) -> Any:
    """A plugin's own code, run: whatever it raises is a PluginError, sys.exit() at import included."""
    try:
        return question()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(f"{what} {_brief(error)}") from error


def _brief(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
