"""The whole story, in order: what the model is, what it means, what can be tried, what came of it, what is best."""

from __future__ import annotations

from typing import Any

from navigator_core import branches, machine, meaning, outcome, planning, playoff, search, subjects
from navigator_core.errors import Interrupted
from navigator_core.events import RunFinished, RunStarted
from navigator_core.report import Report
from navigator_core.request import Request
from navigator_core.search import Searched


def optimize(model: Any, samples: Any, request: Request) -> Report:
    """Try every path to every runner; see `navigator.optimize`.

    Raises Interrupted, with the report of what was finished, for Ctrl-C and SIGTERM.
    """
    plugins = request.plugins()
    source = subjects.identify(model, samples, request, plugins)
    graph = machine.chart(request, plugins)
    with request.session(plugins) as session:
        subject = subjects.ship(source, request, plugins, session)
        here = machine.survey_machine(subject, graph, request, plugins, session)
        task = meaning.understand(subject, here, request, session)
        plan = planning.make(
            plugins,
            graph,
            source.format,
            task.reference.precision,
            here.device.name,
            request.wishes(),
            here.survey,
        )
        session.notes += plan.notes
        session.tell(RunStarted, steps=len(plan.steps) + sum(branch.unavailable is None for branch in plan.branches))
        with session.interruption.postponed():
            artifacts, candidates = branches.try_all(plan, task, session)
            searched = search.search(plan, artifacts, candidates, task, session) if request.search else Searched()
            candidates += searched.candidates
            duels = playoff.settle(candidates, task, session)
            report = outcome.report(candidates, duels, searched.trials, artifacts, task, session)
            session.tell(RunFinished, report=report)
    if session.interruption.signal is not None:
        raise Interrupted(session.interruption.signal, report)
    return report
