"""The progress display where a person is looking: on a terminal, with a script of their own."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

SCRIPT = """
import fcntl, termios, time
fcntl.ioctl(2, termios.TIOCSCTTY, 0)  # Ctrl-C comes from this terminal
import numpy as np
import navigator as nav

def model(x):
    time.sleep({pause})
    return x * 2

nav.optimize(model, [np.ones((n, 3), "float32") for n in (1, 2)], batch_sizes=[1], workspace={workspace!r})
"""
STAGE = b"checking and measuring python @ python"
HIDE, SHOW, ERASE = b"\x1b[?25l", b"\x1b[?25h", b"\x1b[2K"


def on_a_terminal(script, *, stop_at=None, **environment):
    """What a terminal is sent, and the exit code. Ctrl-C is typed once ``stop_at`` can be read."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("NAVIGATOR_PROGRESS", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        start_new_session=True,
        env={**plain, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    sent, deadline = b"", time.monotonic() + 120
    try:
        while time.monotonic() < deadline:
            try:
                read = os.read(ours, 1 << 16)
            except OSError:  # nobody holds the other end any more
                break
            if not read:
                break
            sent += read
            if stop_at is not None and stop_at in sent:
                os.write(ours, b"\x03")
                stop_at = None
        return sent, process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def is_clean(sent):
    """Whether the cursor is shown again, and what was drawn last has been erased."""
    return -1 < sent.rfind(HIDE) < sent.rfind(SHOW) and ERASE in sent.rpartition(STAGE)[2]


def test_the_stage_and_the_step_are_shown_and_nothing_stays(tmp_path):
    sent, code = on_a_terminal(SCRIPT.format(pause=0.02, workspace=str(tmp_path / "w")))
    assert code == 0, sent.decode()
    assert STAGE in sent
    assert re.search(rb"\d/1", sent), "how much is done, of how much"
    assert is_clean(sent), sent
    assert b"Traceback" not in sent


def test_ctrl_c_leaves_the_terminal_as_it_was(tmp_path):
    sent, code = on_a_terminal(SCRIPT.format(pause=0.3, workspace=str(tmp_path / "w")), stop_at=STAGE)
    assert code == 1, sent.decode()
    before, _, after = sent.partition(b"Traceback")
    assert b"interrupted by SIGINT" in after
    assert is_clean(before), sent


def test_who_wants_no_display_gets_none(tmp_path):
    sent, code = on_a_terminal(SCRIPT.format(pause=0, workspace=str(tmp_path / "w")), NAVIGATOR_PROGRESS="0")
    assert (code, sent) == (0, b"")


def test_the_name_of_a_variant_is_shown_as_it_is(capsys, monkeypatch):
    from navigator_core.events import CandidateFinished, StepStarted
    from navigator_core.progress import Display

    monkeypatch.setenv("FORCE_COLOR", "1")
    display = Display()
    try:
        display(StepStarted(run="r", elapsed=0.0, step="torch->onnx[dynamo]", stage="export"))
        assert display._progress.tasks[0].description == r"exporting torch->onnx\[dynamo]"
        display(CandidateFinished(run="r", elapsed=0.0, candidate=candidate("torch->onnx[dynamo] @ ort", "failed")))
    finally:
        display.close()
    assert "torch->onnx[dynamo] @ ort" in capsys.readouterr().err


def test_where_nothing_can_be_drawn_each_step_is_a_line(capsys, monkeypatch):
    from navigator_core.events import StepStarted
    from navigator_core.progress import Display

    monkeypatch.delenv("FORCE_COLOR", raising=False)
    display = Display()
    step = f"torch->onnx[{'dynamo' * 20}]"
    for stage in ("export", "verify"):
        display(StepStarted(run="r", elapsed=0.0, step=step, stage=stage))
    display.close()
    assert capsys.readouterr().err.splitlines() == [f"exporting {step}", f"checking and measuring {step}"]


def candidate(name, status):
    from navigator_core.candidates import Candidate

    return Candidate(name=name, runner="ort", precision="fp32", device="cpu", status=status)
