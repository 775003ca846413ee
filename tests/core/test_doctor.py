"""The doctor looks at everything, says what helps, and changes nothing."""

import json
import os
import textwrap

import pytest
from click.testing import CliRunner

from navigator_core import doctor, execution, plugins
from navigator_core.cli import commands

PLUGIN = """
from navigator_core import Converter, Device, Probe, Ref, Runner, Variant, hookimpl

@hookimpl
def declare_devices():
    return [Device(kind="npu", detect=Ref("patient:detect"))]

@hookimpl
def declare_converters():
    probe = Probe(Ref("patient:sick"), remedy="drink tea")
    return [
        Converter(source="p", target="q", implementation=Ref("patient:x"), variants=[
            Variant("well"), Variant("ill", requirements=[probe])
        ]),
        Converter(source="q", target="r", implementation=Ref("patient:x"), requirements="no-such-package>=2"),
    ]

@hookimpl
def declare_runners():
    return [
        Runner(name="on-cpu", formats=("p",), implementation=Ref("patient:x")),
        Runner(name="on-npu", formats=("p",), implementation=Ref("patient:x"), devices=("npu",),
               requirements="no-such-package"),
        Runner(name="crashes", formats=("p",), implementation=Ref("patient:x"),
               requirements=[Probe(Ref("patient:crash"), remedy="reinstall it")]),
    ]

@hookimpl
def declare_formats():
    from navigator_core import Format
    return [Format(name=name, file=name) for name in "pqr"]

def detect():
    raise OSError("no driver")

def sick():
    return "it has a fever"

def crash():
    import os
    os.abort()
"""


@pytest.fixture
def patient(tmp_path, monkeypatch):
    """A plugin with every kind of trouble, beside the core alone."""
    (tmp_path / "patient.py").write_text(textwrap.dedent(PLUGIN))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import patient

    extra = [("core", __import__(plugins.CORE, fromlist=["_"])), ("patient", patient), ("quack", object())]
    found = plugins.discover(extra=extra, entry_points=False)
    monkeypatch.setattr(plugins, "installed", lambda: found)
    yield tmp_path
    import sys

    sys.modules.pop("patient", None)


def examined():
    return {check.name: check for check in doctor.examine()}


def test_each_finding_says_what_is_wrong_and_what_helps(patient):
    checks = examined()
    assert checks["runner on-cpu"].status == "ok"
    assert checks["device cpu"].status == "ok"
    fever = checks["conversion p->q[ill]"]
    assert (fever.status, fever.detail, fever.remedy) == ("unavailable", "it has a fever", "drink tea")
    assert checks["conversion p->q[well]"].status == "ok"
    lacking = checks["conversion q->r"]
    assert lacking.detail == "needs no-such-package>=2, which is not installed"
    assert lacking.remedy == "pip install 'no-such-package>=2'"
    assert "no driver" in checks["devices"].detail
    assert checks["plugin quack"].status == "broken"


def test_a_device_that_is_not_there_comes_before_what_could_be_installed_for_it(patient):
    check = examined()["runner on-npu"]
    assert check.detail == "runs on npu, and no such device was found here"
    assert "pip" not in check.remedy


def test_a_probe_that_crashes_costs_only_itself(patient):
    checks = examined()
    assert "SIGABRT" in checks["runner crashes"].detail
    assert checks["runner crashes"].remedy == "reinstall it"
    assert checks["runner on-cpu"].status == "ok"


def test_nothing_is_left_behind(patient):
    def files():
        return sorted(path for path in patient.iterdir() if path.name != "__pycache__")

    before = files()
    doctor.examine()
    assert files() == before


def test_a_workspace_of_somebody_else_blocks_everything(patient):
    (patient / "mine").mkdir()
    (patient / "mine" / "thesis.txt").write_text("precious")
    checks = doctor.examine(patient / "mine")
    (found,) = [check for check in checks if check.name == "workspace"]
    assert found.status == "blocks"
    assert "thesis.txt" in found.detail
    assert "--workspace" in found.remedy
    assert doctor.blocked(checks)


def test_a_workspace_that_is_there_is_fine(patient):
    from navigator_core.workspace import Workspace

    Workspace.open(patient / "ours")
    assert not doctor.blocked(doctor.examine(patient / "ours"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_blocks_everything(patient):
    (patient / "locked").mkdir(mode=0o500)
    assert doctor.blocked(doctor.examine(patient / "locked" / "workspace"))


def test_a_worker_that_does_not_start_blocks_everything_and_says_what_to_look_at(patient, monkeypatch):
    def refuse(preload):
        raise EOFError

    monkeypatch.setattr(execution, "start_worker", refuse)
    checks = doctor.examine()
    (found,) = [check for check in checks if check.status == "blocks"]
    assert found.name == "worker"
    assert "-m navigator_core.worker" in found.remedy


def test_the_command_prints_text_or_json_and_exits_1_where_something_blocks(patient):
    (patient / "file").write_text("no folder")
    done = CliRunner().invoke(commands, ["doctor", "--workspace", "file"])
    assert done.exit_code == 1
    assert "blocks" in done.stdout
    assert "-> name a folder that can be written" in done.stdout
    done = CliRunner().invoke(commands, ["doctor", "--workspace", "file", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["ok"] is False


def test_a_machine_without_troubles_is_exit_code_0(patient):
    done = CliRunner().invoke(commands, ["doctor", "--json"])
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["ok"] is True
    assert {"name", "status", "detail", "remedy"} == set(data["checks"][0])
