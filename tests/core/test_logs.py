"""A log takes any amount and keeps its beginning and its end."""

import io

import pytest

from navigator_core.logs import BoundedLog


@pytest.fixture
def log(tmp_path):
    with BoundedLog(tmp_path / "log.txt", head=100, tail=50) as log:
        yield log


def test_little_is_kept_as_it_is(log, tmp_path):
    for _ in range(10):
        assert log.write(b"0123456789") == 10
    assert (tmp_path / "log.txt").read_bytes() == b"0123456789" * 10


def test_of_much_the_beginning_and_the_end_stay_and_how_much_is_left_out_is_said(log, tmp_path):
    everything = b"".join(b"%06d\n" % number for number in range(10_000))
    for start in range(0, len(everything), 35):
        log.write(everything[start : start + 35])
    kept = (tmp_path / "log.txt").read_bytes()
    assert kept[:100] == everything[:100]
    assert kept[-50:] == everything[-50:]
    assert len(kept) <= 100 + 2 * 50 + 60
    marker, _, end = kept[100:].partition(b"]\n")
    assert end == everything[-len(end) :]
    assert int(marker.split()[1]) == len(everything) - 100 - len(end)


def test_a_single_flood_is_cut_at_once(log, tmp_path):
    assert log.write(b"a" * 10_000 + b"z" * 50) == 10_050
    kept = (tmp_path / "log.txt").read_bytes()
    assert len(kept) < 400
    assert kept.endswith(b"z" * 50)


def test_what_cannot_be_written_is_dropped(log, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("navigator_core.logs.os.write", full)
    assert log.write(b"lost") == 4


def test_text_may_be_printed_to_it(tmp_path):
    with io.TextIOWrapper(BoundedLog(tmp_path / "log.txt"), encoding="utf-8", write_through=True) as text:
        print("five euros: 5 €", file=text)
        assert (tmp_path / "log.txt").read_text() == "five euros: 5 €\n"
