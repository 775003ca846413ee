"""Plugins of another virtual environment: a real one, with an interpreter, a plugin and a core of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
import venv
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

import navigator as nav
import navigator_core
from navigator_core import asking, candidates, doctor, environments, plugins, registry, request
from navigator_core import optimize as engine
from navigator_core.cli import commands
from navigator_core.shared import SharedArrays
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using

HERE = Path(__file__).parent
WEIGHT = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
BIAS = np.ones(3, "float32")
X = np.random.default_rng(1).standard_normal((2, 4)).astype("float32")
SAMPLES = [mini.Array(X), mini.Array(np.concatenate([X, X[:1]]))]
FP32 = "mini->mini-json->mini-npz[fp32]"
STEP = f"{FP32}->lab-json@far[packed]"
LAB = f"{STEP} @ lab@far"
ASKED = {
    "runners": ["lab@far", "mini-runtime", "mini-runtime@far"],
    "precisions": ["fp32"],
    "batch_sizes": [1],
    "seconds": 0.02,
}


def expected(x):
    return np.maximum(x @ WEIGHT + BIAS, 0)


def distribution(site, name, version, **points):
    """The metadata of an installed distribution with entry points."""
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"{key} = {module}" for key, module in points.items()]
    (folder / "entry_points.txt").write_text("\n".join(["[navigator]", *lines, ""]))


def site_of(folder):
    (site,) = folder.glob("lib/python*/site-packages")
    return site


def bare(folder):
    """A virtual environment that holds nothing at all."""
    venv.create(folder, with_pip=False, symlinks=True)
    return folder


def furnished(folder):
    """One with the core under test, what that needs, and the plugins `lab` and `mini`, installed only there."""
    bare(folder)
    own = {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib")}
    found = [entry for entry in sys.path if Path(entry).is_dir() and not entry.endswith("lib-dynload")]
    found.append(str(Path(navigator_core.__file__).parents[1]))
    lines = [f"import site; site.addsitedir({entry!r})" for entry in dict.fromkeys(found) if entry not in own]
    site = site_of(folder)
    (site / "a.pth").write_text("\n".join(lines) + "\n")
    shutil.copy(HERE / "lab.py", site)
    distribution(site, "lab-plugin", "1.0", lab="lab")
    distribution(site, "mini-plugin", "1.0", mini="navigator_core.testing.miniframework")
    return folder


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    return furnished(tmp_path_factory.mktemp("environments") / "far")


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    """A user's configuration of its own for every test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    yield tmp_path / "config" / "navigator" / "environments.json"
    plugins.installed.cache_clear()


@pytest.fixture(scope="module")
def told(far, tmp_path_factory):
    """The plugins of here (the core's and `mini`) with those of ``far``, asked once for all tests."""
    with pytest.MonkeyPatch.context() as patch, using(mini) as found:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        registry.put("far", str(far / "bin/python"))
        return environments.joined(found)


@pytest.fixture
def here(told):
    with mock.patch.object(plugins, "installed", return_value=told):
        yield told


@pytest.fixture
def optimize(here, optimize):
    def run(model=None, samples=SAMPLES, **asked):
        report = optimize(mini.Model(WEIGHT, BIAS) if model is None else model, samples, **{**ASKED, **asked})
        return report, {candidate.name: candidate for candidate in report.candidates}

    return run


def navigator(*arguments):
    return CliRunner().invoke(commands, arguments)


# registering


def test_an_environment_is_added_listed_and_removed_on_the_command_line(far, config):
    added = navigator("env", "add", "far", "--python", str(far))
    assert added.exit_code == 0, added.output
    python = str(far / "bin/python")
    assert json.loads(config.read_text()) == {"schema": 1, "environments": {"far": python}}
    assert [path.name for path in config.parent.iterdir() if not path.name.endswith(".lock")] == [config.name]
    assert nav.environments() == {"far": python}
    (listed,) = json.loads(navigator("env", "list", "--json").stdout)
    assert (listed["name"], listed["python"], listed["reason"]) == ("far", python, None)
    assert "lab (lab-plugin 1.0) in environment far" in navigator("plugins").stdout
    assert navigator("env", "remove", "far").exit_code == 0
    assert nav.environments() == {}
    assert "no environment is registered" in navigator("env", "list").stdout
    again = navigator("env", "remove", "far")
    assert (again.exit_code, "unknown environment 'far'" in again.stderr) == (2, True)


def test_what_is_added_takes_part_at_once_in_this_process(far):
    assert "lab@far" not in nav.runners()
    nav.add_environment("far", far / "bin" / "python")
    assert "lab@far" in nav.runners()
    nav.remove_environment("far")
    assert "lab@far" not in nav.runners()


@pytest.mark.parametrize("name", ["", "a b", "a@b", "-a", "a.b", "a/b", "ä", "x" * 65])
def test_a_name_that_could_not_stand_in_a_candidates_name_is_refused(name, far):
    with pytest.raises(nav.RequestError, match="cannot name an environment"):
        nav.add_environment(name, far)
    assert nav.environments() == {}


def script(folder, text):
    path = folder / "python"
    path.write_text(text)
    path.chmod(0o755)
    return path


def with_core(folder, text):
    core = site_of(bare(folder)) / "navigator_core"
    core.mkdir()
    (core / "__init__.py").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere", "there is no interpreter .*nowhere; name one"),
        (lambda folder: folder, r"there is no interpreter .*bin/python; name one"),
        (lambda folder: Path("/bin/true"), "/bin/true gave no answer: it ended with exit code 0; see what it is"),
        (lambda folder: script(folder, "#!/bin/sh\necho no such thing\nexit 3"), "exit code 3; its last line: no such"),
        (lambda folder: script(folder, "no script at all"), r"cannot be run \(Exec format error\); name a Python"),
        (lambda folder: script(folder, "#!/bin/sh\nsleep 1000"), "gave no answer: it was stopped after 1 s"),
        (
            lambda folder: bare(folder / "bare"),
            r"has no navigator-core \(No module.*; .*bare/bin/python -m pip install",
        ),
        (
            lambda folder: with_core(folder / "old", "__version__ = '0.0.1'"),
            rf"has navigator-core 0.0.1, and this is {navigator_core.__version__}.*pip install navigator-core==",
        ),
        (
            lambda folder: with_core(folder / "torn", f"__version__ = {navigator_core.__version__!r}"),
            "is not whole .*answering",
        ),
    ],
    ids=["nothing", "folder", "no-python", "fails", "no-program", "silent", "no-core", "old-core", "torn-core"],
)
def test_what_cannot_take_part_is_refused_with_the_reason_and_what_helps(make, message, tmp_path, monkeypatch):
    monkeypatch.setattr(asking, "TIMEOUT", 1.0 if "stopped" in message else 60.0)
    with pytest.raises(nav.RequestError, match=message):
        nav.add_environment("x", make(tmp_path))
    assert nav.environments() == {}


def test_a_python_that_is_too_old_is_named_by_its_version(monkeypatch):
    with pytest.raises(asking.NoAnswerError, match=r"is Python 3\.8\.1; make the environment with Python 3\.11 to"):
        raise asking._unfit("/old/python", {"python": [3, 8, 1]})


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', '{"schema": 2, "environments": {}}',
                                  '{"schema": 1, "environments": {"a@b": "/x"}}',
                                  '{"schema": 1, "environments": {"a": "relative"}}'])  # fmt: skip
def test_a_damaged_file_stops_no_run_and_is_said(text, config):
    config.parent.mkdir(parents=True)
    config.write_text(text)
    with pytest.raises(nav.RequestError, match=r"environments\.json"):
        nav.environments()
    with using() as found:
        joined = environments.joined(found)
    assert joined.runners == found.runners
    assert "environments.json" in joined.lost[0].reason


def test_without_a_registered_environment_nothing_of_this_is_imported():
    code = """
        import sys
        from navigator_core import plugins
        plugins.installed()
        print([name for name in ("environments", "asking", "answering") if f"navigator_core.{name}" in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# what it brings


def test_all_environments_are_one_picture(here):
    assert here.runners["lab@far"].formats == ("lab-json",)
    assert here.runners["mini-runtime"].formats == here.runners["mini-runtime@far"].formats
    assert not {"mini-eager@far", "python@far"} & here.runners.keys()  # live models stay here
    assert "mini" in here.formats
    graph = nav.graph()
    names = {conversion.name for conversion in graph.conversions}
    assert {"mini-json->mini-npz[fp32]", "mini-json->mini-npz@far[fp32]", "mini-npz->lab-json@far[packed]"} <= names
    (dict_of,) = [one for one in graph.to_dict()["conversions"] if one["name"] == "mini-npz->lab-json@far[packed]"]
    assert dict_of["environment"] == "far"
    assert "packed#64;far" in graph.to_mermaid()
    assert "lab#64;far" in graph.to_mermaid()
    assert "mini->mini-json@far" not in names  # an exporter takes a live model


def test_what_is_lacking_there_is_said_with_where_to_mend_it(here, far):
    lacking = {one.runner.name: one.unavailable for one in nav.graph().runners}
    assert lacking["lab@far"] is None
    assert lacking["lab-bare@far"].reason == "needs no-such-thing>=2, which is not installed in environment 'far'"
    assert lacking["lab-bare@far"].remedy == f"{far}/bin/python -m pip install 'no-such-thing>=2'"


def test_probes_are_asked_there(here):
    checks = {check.name: check for check in doctor.examine()}
    assert checks["environment far"].status == "ok"
    sick = checks["runner lab-sick@far"]
    assert (sick.detail, sick.remedy) == ("it has a fever", "in environment 'far': drink tea")
    assert checks["runner lab@far"].status == "ok"


def test_options_are_the_ones_of_there(here, tmp_path, monkeypatch):
    cls = here.runners["lab@far"].options
    assert (cls().repeat, list(cls().order)) == (1, [])
    assert cls(repeat=-2).repeat == 2  # by the converter there
    with pytest.raises(ValueError, match="more than 3 repetitions need an order"):
        cls(repeat=4)

    def plan(**options):
        asked = {"options": {"@lab@far": options}, "workspace": tmp_path / "w", "runners": ["lab@far"]}
        return nav.plan(mini.Model(WEIGHT, BIAS), SAMPLES, **asked)

    assert f"{STEP} @ lab@far[repeat=-2]" in plan(repeat=[1, -2]).candidates
    with pytest.raises(nav.RequestError, match=r"options\['@lab@far'\]: more than 3 repetitions need an order"):
        plan(repeat=7)
    with pytest.raises(nav.RequestError, match=r"unknown field in options\['@lab@far'\] 'repeats'; did you mean"):
        plan(repeats=7)
    monkeypatch.setattr(asking, "ask", None)
    assert cls(repeat=-2).repeat == 2  # asked once


def test_a_plugin_that_is_broken_there_is_set_aside_and_the_others_work(far, tmp_path):
    folder = furnished(tmp_path / "broken")
    (site_of(folder) / "bad.py").write_text("raise RuntimeError('half installed')")
    distribution(site_of(folder), "bad-plugin", "2.0", bad="bad")
    nav.add_environment("broken", folder)
    found = nav.plugins()
    assert "lab@broken" in found.runners
    (bad,) = [one for one in found.broken if one.environment == "broken"]
    assert str(bad).startswith("plugin 'bad' (bad-plugin 2.0) of environment 'broken' is set aside: it cannot be imp")
    assert "half installed" in navigator("plugins").stdout


def test_an_environment_that_is_gone_is_set_aside_and_the_run_goes_on(tmp_path, config):
    gone = bare(tmp_path / "gone")
    registry.put("gone", str(gone / "bin/python"))
    shutil.rmtree(gone)
    with using(mini) as found:
        joined = environments.joined(found)
        with mock.patch.object(plugins, "installed", return_value=joined):
            report = nav.optimize(
                mini.Model(WEIGHT, BIAS), SAMPLES, workspace=tmp_path / "w", runners=["mini-runtime"], batch_sizes=[1]
            )
            listed = navigator("env", "list").stdout
            checks = {check.name: check for check in doctor.examine()}
    assert report.best is not None
    (note,) = [note for note in report.notes if "set aside" in note]
    assert note.startswith("environment 'gone' is set aside: there is no interpreter ")
    assert "make the environment again" in listed
    assert checks["environment gone"].status == "broken"


# a run


@pytest.fixture(scope="module")
def lab(told, tmp_path_factory):
    """A run of which much is asked: its report, the candidates by name, and its workspace."""
    workspace = tmp_path_factory.mktemp("lab") / "workspace"
    with mock.patch.object(plugins, "installed", return_value=told):
        asked = {**ASKED, "options": {"@lab@far": {"repeat": -2}}, "workspace": workspace}
        report = engine.optimize(mini.Model(WEIGHT, BIAS), SAMPLES, request.checked(**asked))
    return SimpleNamespace(report=report, named={one.name: one for one in report.candidates}, workspace=workspace)


def test_steps_and_runners_run_there_and_are_compared_with_those_of_here(lab, far):
    for name in (LAB, f"{FP32} @ mini-runtime", f"{FP32} @ mini-runtime@far"):
        assert (lab.named[name].status, lab.named[name].reason) == ("ok", None)
        assert lab.named[name].verdict.ok
        assert lab.named[name].measurements
    assert lab.named[LAB].recipe.runner.options["repeat"] == 2
    report = lab.report
    rivals = {name for duel in report.duels for name in (duel.candidate, duel.rival)}
    first, second, *_ = sorted(one.at(1).p50.value for one in report.candidates if one.measurements)
    assert len(rivals) > 1 or second > 1.1 * first  # on a busy machine one may look clearly ahead
    assert report.environment["lab-plugin@far"] == "1.0"
    assert report.environment["interpreter@far"] == f"{far}/bin/python"
    assert "lab@far" in str(report)


def test_what_is_converted_here_is_converted_there_only_when_options_name_it(here, lab):
    assert not [name for name in lab.named if "mini-npz@far" in name]
    (note,) = [note for note in lab.report.notes if "name the conversion in options=" in note]
    assert "'mini-json->mini-npz@far'" in note
    asked = {"workspace": lab.workspace, "runners": ["mini-runtime"], "precisions": ["fp32"]}
    options = {"mini-json->mini-npz@far": {}}
    plan = nav.plan(mini.Model(WEIGHT, BIAS), SAMPLES, options=options, **asked)
    assert "mini->mini-json->mini-npz@far[fp32] @ mini-runtime" in plan.candidates
    assert f"{FP32} @ mini-runtime" in plan.candidates
    assert not [note for note in plan.notes if "name the conversion" in note]


def test_a_plan_names_what_runs_elsewhere_and_finds_what_was_done_there(here, lab):
    plan = nav.plan(mini.Model(WEIGHT, BIAS), SAMPLES, workspace=lab.workspace, precisions=["fp32"], batch_sizes=[1])
    assert LAB in plan.candidates
    assert STEP in plan.cached
    reason, remedy = plan.unavailable[f"{STEP} @ lab-sick@far"]
    assert (reason, remedy) == ("it has a fever", "in environment 'far': drink tea")


def test_what_another_version_made_there_is_not_taken_for_it(here, lab, monkeypatch):
    versions = environments.Environment.versions_of
    newer = lambda self, declared: {**versions(self, declared), "lab-plugin@far": "1.1"}  # noqa: E731
    monkeypatch.setattr(environments.Environment, "versions_of", newer)
    plan = nav.plan(mini.Model(WEIGHT, BIAS), SAMPLES, workspace=lab.workspace, precisions=["fp32"], batch_sizes=[1])
    assert STEP in plan.steps
    assert STEP not in plan.cached
    assert FP32 in plan.cached  # made here


def test_the_users_gate_is_asked_here_with_the_users_own_tensors(optimize):
    def verify(references, outputs):
        assert all(type(value).__name__ == "Array" for value in (*references, *outputs)), outputs
        return False

    _, found = optimize(verify=verify, runners=["lab@far"])
    assert (found[LAB].status, found[LAB].reason) == ("incorrect", "verify: the user's verify function said no")
    assert found[LAB].verdict.checks["batch 1"] == "ok"
    assert not found[LAB].verdict.ok


def test_a_file_that_only_plugins_there_know_is_a_source_and_a_metric_is_asked_here(here, optimize, tmp_path):
    path = tmp_path / "layer.lab"
    path.write_text(json.dumps({"weight": WEIGHT.tolist(), "bias": BIAS.tolist()}))
    metric = nav.Metric("sum", lambda model: float(model(x=X)["y"].sum()), minimum=0.0, max_drop=1e-3)
    report, found = optimize(str(path), {"x": X}, runners=None, verify=metric)
    (own,) = [candidate for candidate in found.values() if candidate.status == "ok"]
    assert own.name == report.baseline == report.best.name == "lab-json @ lab@far"
    assert own.verdict.metrics["sum"] == pytest.approx(expected(X).sum(), rel=1e-5)
    with report.load() as model:
        np.testing.assert_allclose(model(X)["y"], expected(X), rtol=1e-5)


def test_a_step_of_there_is_repeated_by_its_script_with_that_interpreter(lab, far):
    (step,) = (lab.workspace / "runs").glob("*/steps/*-lab-json-far-packed/reproduce.py")
    job = json.loads(step.with_name("job.json").read_text())
    assert job["interpreter"] == f"{far}/bin/python"
    assert job["sys_path"] == []
    assert f"{far}/bin/python" in step.read_text()
    done = subprocess.run([sys.executable, str(step)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert '"size"' in done.stdout
    assert "the lab plugin was imported" in done.stdout


# loading


def servers(parent=None):
    """The processes that serve models, of this process or another."""
    found = (parent or psutil.Process()).children(recursive=True)
    return [one for one in found if "navigator_core.serving" in " ".join(one.cmdline())]


def until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_loaded_is_called_as_the_source_and_ends_its_process(here, lab):
    with lab.named[LAB].load() as model:
        (server,) = servers()
        for rows in (1, 2, 7, 0, 300, 3):  # the shared memory grows and is used again
            x = np.random.default_rng(rows).standard_normal((rows, 4)).astype("float32")
            given = x.copy()
            answer = model(mini.Array(given))
            assert isinstance(answer, mini.Array)
            np.testing.assert_allclose(answer.value, expected(x), rtol=1e-5)
            np.testing.assert_array_equal(given, x)
        first = model(mini.Array(X))
        model(mini.Array(X + 1))
        np.testing.assert_allclose(first.value, expected(X), rtol=1e-5)  # no buffer that the next call writes to
    assert not server.is_running()
    with pytest.raises(nav.RequestError, match="is closed"):
        model(mini.Array(X))


def test_what_the_model_raises_there_is_raised_here_and_the_next_call_works(here, lab):
    with lab.named[LAB].load() as model:
        with pytest.raises(nav.NavigatorError, match="ValueError: all of it is -1") as caught:
            model(mini.Array(np.full((1, 4), -1, "float32")))
        assert "lab.py" in caught.value.__notes__[0]
        np.testing.assert_allclose(model(mini.Array(X)).value, expected(X), rtol=1e-5)


def test_a_killed_process_is_a_clear_error_and_nothing_hangs(here, lab):
    with lab.named[LAB].load() as model:
        (server,) = servers()
        server.kill()
        for _ in range(2):
            with pytest.raises(nav.NavigatorError, match=r"environment was ended by SIGKILL.*; load it again"):
                model(mini.Array(X))


def test_a_process_that_dies_in_the_middle_of_a_call_is_a_clear_error(here, lab):
    with lab.named[LAB].load() as model:
        (server,) = servers()
        threading.Timer(1.0, server.kill).start()
        with pytest.raises(nav.NavigatorError, match="SIGKILL"):
            model(mini.Array(np.full((1, 4), -2, "float32")))


def test_what_nobody_closes_ends_with_the_last_that_refers_to_it(here, lab):
    model = lab.named[LAB].load()
    (server,) = servers()
    del model
    assert not server.is_running()


def test_threads_share_a_loaded_model(here, lab):
    answers = {}
    with lab.named[LAB].load() as model:

        def work(number):
            x = np.full((number + 1, 4), number, "float32")
            answers[number] = [np.allclose(model(mini.Array(x)).value, expected(x), rtol=1e-5) for _ in range(20)]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(all(answers[number]) for number in range(4))
    assert len(answers) == 4


def test_a_model_outlives_the_thread_that_loaded_it(here, lab):
    loaded = []
    thread = threading.Thread(target=lambda: loaded.append(lab.named[LAB].load()))
    thread.start()
    thread.join()
    with loaded[0] as model:
        time.sleep(0.2)
        np.testing.assert_allclose(model(mini.Array(X)).value, expected(X), rtol=1e-5)


CALLER = """
import sys, threading, time
import numpy as np
from pathlib import Path
from navigator_core import proxy, serde
from navigator_core.serving import Serving

serving = serde.loads(Path(sys.argv[1]).read_text(), Serving)
run = proxy.start("lab", sys.argv[2], serving)
stuck = lambda: run.model.call({"x": np.full((1, 4), -2, "float32")})
if sys.argv[3] == "calling":
    threading.Thread(target=stuck, daemon=True).start()
    time.sleep(1)
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("busy", ["calling", "idle"])
def test_the_process_dies_with_the_one_that_started_it(here, lab, far, tmp_path, busy, monkeypatch):
    told = []
    monkeypatch.setattr("navigator_core.proxy.start", lambda name, python, serving: told.append(serving) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        lab.named[LAB].load()
    from navigator_core import serde

    (tmp_path / "serving.json").write_text(serde.dumps(told[0]))
    command = [sys.executable, "-c", CALLER, str(tmp_path / "serving.json"), str(far / "bin/python"), busy]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as caller:
        while "ready" not in caller.stdout.readline():
            assert caller.poll() is None
        (server,) = servers(psutil.Process(caller.pid))
        caller.send_signal(signal.SIGKILL)
    until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


def test_an_artifact_that_cannot_be_loaded_there_says_why(here, lab, tmp_path):
    from attrs import evolve

    (tmp_path / "model.lab").write_text("no JSON")
    with pytest.raises(nav.NavigatorError, match="JSONDecodeError"):
        evolve(lab.named[LAB], path=tmp_path / "model.lab").load()
    assert servers() == []


# packages


@pytest.fixture(scope="module")
def package(told, lab, tmp_path_factory):
    with mock.patch.object(plugins, "installed", return_value=told):
        return lab.report.save(tmp_path_factory.mktemp("package") / "model.nav")


def opened(path):
    package = nav.load(path)
    return package, {candidate.name: candidate for candidate in package.report.candidates if candidate.path}


def test_a_package_is_loaded_where_the_environment_is_registered(here, package):
    whole, found = opened(package)
    for name in found:
        with found[name].load() as model:
            assert len(servers()) == (1 if name.endswith("@far") else 0)
            np.testing.assert_allclose(model(mini.Array(X)).value, expected(X), rtol=1e-5)
    with whole.load() as model:
        np.testing.assert_allclose(model(mini.Array(X)).value, expected(X), rtol=1e-5)


def test_elsewhere_a_package_is_loaded_by_the_same_runner_of_there(package):
    with using(mini):
        _, found = opened(package)
        (same,) = [one for name, one in found.items() if name.endswith("mini-runtime@far")]
        with same.load() as model:
            assert servers() == []
            np.testing.assert_allclose(model(mini.Array(X)).value, expected(X), rtol=1e-5)


def test_a_package_says_which_environment_is_missing(package, tmp_path):
    with using():
        whole, found = opened(package)
        assert whole.best is None
        assert any(name.endswith("@far") for name in found)
        for candidate in (one for name, one in found.items() if name.endswith("@far")):
            with pytest.raises(nav.PackageError, match=r"'far', which is not registered here; navigator env add far"):
                candidate.load()
        with pytest.raises(nav.NothingCorrectError) as caught:
            whole.load()
        assert "env add far --python PATH" in str(caught.value)


# arrays


def sides():
    descriptor = os.memfd_create("test")
    return SharedArrays(descriptor), SharedArrays(os.dup(descriptor))


@pytest.mark.parametrize("dtype", ["float32", "bool", "int64", "float16", "complex64", ">i4", "S3", "U2", "M8[s]"])
def test_arrays_come_out_as_they_went_in(dtype):
    ours, theirs = sides()
    for shape in ((), (0, 3), (5,), (2, 3, 4), (1000, 7)):
        array = np.zeros(shape, dtype) if dtype[0] in "SUM" else np.arange(np.prod(shape)).reshape(shape).astype(dtype)
        sent = {"a": array, "b": array.T, "c": np.asarray(array)[..., ::-1] if shape else array}
        got = theirs.read(json.loads(json.dumps(ours.write(sent))))
        for name, value in sent.items():
            assert got[name].dtype == value.dtype
            np.testing.assert_array_equal(got[name], value)


def test_an_array_of_objects_is_refused():
    with pytest.raises(TypeError, match="'a' is an array of object"):
        sides()[0].write({"a": np.array([None])})


def test_what_was_read_before_the_memory_grew_stays():
    ours, theirs = sides()
    first = theirs.read(ours.write({"a": np.arange(3)}))["a"]
    big = theirs.read(ours.write({"z": np.arange(3), "a": np.ones(100_000)}))
    np.testing.assert_array_equal(first, np.arange(3))
    assert big["a"].sum() == 100_000


def test_devices_that_only_another_environment_knows_are_detected_there(here):
    assert [device.kind for device in here.devices] == ["cpu", "npu"]
    assert candidates.device_missing("npu:7") is None
    assert candidates.device_missing("npu:8") == "there is no npu:8 here"
