"""Whether others used the processor while something was timed."""

from types import SimpleNamespace

from navigator_core.contention import Others


def stat(path, busy, idle=1000):
    path.write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n")
    return path


def test_what_others_took_is_said(tmp_path, monkeypatch):
    clock = iter([0.0, 1.0])
    told = SimpleNamespace(monotonic=lambda: next(clock), process_time=lambda: 0.0)
    monkeypatch.setattr("navigator_core.contention.time", told)
    monkeypatch.setattr("navigator_core.contention.os", SimpleNamespace(cpu_count=lambda: 2))
    monkeypatch.setattr("navigator_core.contention.NOTICEABLE", 0.1)
    monkeypatch.setattr("navigator_core.contention._TICKS", 100)
    with Others(stat(tmp_path / "stat", 0)) as others:
        stat(tmp_path / "stat", 100)  # one core, for one second
    assert others.share == 0.5
    assert others.sentence().startswith("other processes took 50% of the cores")


def test_what_the_process_itself_took_is_no_contention(tmp_path, monkeypatch):
    clock, own = iter([0.0, 1.0]), iter([0.0, 1.0])
    told = SimpleNamespace(monotonic=lambda: next(clock), process_time=lambda: next(own))
    monkeypatch.setattr("navigator_core.contention.time", told)
    monkeypatch.setattr("navigator_core.contention._TICKS", 100)
    with Others(stat(tmp_path / "stat", 0)) as others:
        stat(tmp_path / "stat", 100)
    assert others.sentence() is None


def test_a_kernel_that_does_not_tell_is_no_error(tmp_path):
    with Others(tmp_path / "missing") as others:
        pass
    assert others.sentence() is None
