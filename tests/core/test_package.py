"""What a package may say and what it may not decide: code, trust, classes, arrays, schemas."""

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path
from unittest import mock

import attrs
import numpy as np
import pytest

from navigator_core import __version__, archive, migrations, plugins, serde
from navigator_core import optimize as engine
from navigator_core.archive import Archive
from navigator_core.errors import NothingCorrectError, PackageError, RequestError
from navigator_core.migrations import Migration
from navigator_core.package import reopen
from navigator_core.request import checked
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using

GOLDEN = Path(__file__).parent / "golden"
STORED = "mini->mini-json->mini-npz[fp32] @ mini-runtime"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    model = mini.Model(np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3), np.ones(3, "float32"))
    samples = [mini.Array(np.linspace(0, 1, 4 * n, dtype="float32").reshape(n, 4)) for n in (1, 2)]
    with using(mini), pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAVIGATOR_PROGRESS", "0")
        asked = checked(workspace=folder / "workspace", seconds=0.02, batch_sizes=[1])
        return engine.optimize(model, samples, asked).save(folder / "mini.nav")


@pytest.fixture(autouse=True)
def found():
    with using(mini) as found:
        yield found


@pytest.fixture
def rewrite(original, tmp_path):
    """The package as somebody else would write it again after ``change(files)``, files being bytes or JSON data."""

    def write(change=lambda files: None, **manifest):
        with zipfile.ZipFile(original) as opened:
            files = {name: opened.read(name) for name in opened.namelist()}
        told = json.loads(files.pop("manifest.json"))
        del files["signature.json"]
        files["report.json"] = json.loads(files["report.json"])
        change(files)
        files = {name: c if isinstance(c, bytes) else json.dumps(c).encode() for name, c in files.items()}
        listed = {name: {"size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()}
        path = tmp_path / "theirs.nav"
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("manifest.json", json.dumps({**told, "files": listed, **manifest}))
            for name, content in files.items():
                made.writestr(name, content)
        return path

    return write


def stored(report):
    """The data of the candidate that has an artifact."""
    return next(one for one in report["candidates"] if one["path"])


def candidate(package, name=STORED):
    return next(c for c in package.report.candidates if c.name == name)


def test_a_package_is_read_and_its_best_loaded(rewrite):
    package = reopen(rewrite())
    with candidate(package).load() as model:
        y = model(mini.Array(np.ones((1, 4), "float32"))).value
    assert y.shape == (1, 3)
    assert [call.args[0].shape for call in package.samples] == [(1, 4), (2, 4)]
    assert [answer.shape for answer in package.references] == [(1, 3), (2, 3)]


# code: the package names a runner and a format, and this machine says what they are


def test_a_package_says_nothing_of_code(original):
    with Archive.open(original) as opened:
        text = opened.read("report.json", 10**7).decode()
    assert mini.HERE not in text
    assert "executes_code" not in text
    assert set(stored(json.loads(text))["recipe"]["runner"]) == {"name", "options", "passed"}


@pytest.mark.parametrize("schema", [1, 2])
def test_code_that_a_package_names_is_never_run(rewrite, schema, tmp_path):
    """`runpy.run_path(path, options, context)` would run the artifact as a script."""
    script = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()

    def change(files):
        one = stored(files["report.json"])
        one["recipe"]["runner"].update(
            implementation={"target": "runpy:run_path"}, options_type={"target": "os:system"}, tensors="numpy"
        )
        one["recipe"].update(executes_code=False, portable=True)
        files[one["path"]] = script

    package = reopen(rewrite(change, schema=schema))
    recipe = candidate(package).recipe
    assert str(recipe.runner.implementation) == f"{mini.HERE}:load"
    assert recipe.runner.options_type is None
    with pytest.raises(ValueError, match="pickle"):  # the runner's own words for what is no .npz
        candidate(package).load()
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def dangerous(found):
    """As if the format's plugin said that it can execute code."""
    declared = attrs.evolve(found.formats["mini-npz"], executes_code=True)
    changed = attrs.evolve(found, formats={**found.formats, "mini-npz": declared})
    with mock.patch.object(plugins, "installed", return_value=changed):
        yield


@pytest.mark.parametrize("claim", [{}, {"executes_code": False}])
def test_what_can_execute_code_needs_trust_whatever_the_package_says_of_it(rewrite, dangerous, claim):
    path = rewrite(lambda files: stored(files["report.json"])["recipe"].update(claim))
    package = reopen(path)
    assert package.best is None
    with pytest.raises(PackageError, match=r"mini-npz, which can execute code when it is loaded; .*trust=True"):
        candidate(package).load()
    with pytest.raises(NothingCorrectError, match="nothing in"):
        package.load()
    with candidate(reopen(path, trust=True)).load() as model:
        assert model.name == STORED


def test_what_this_user_wrote_here_needs_no_further_trust(original, dangerous):
    with candidate(reopen(original)).load() as model:
        assert model.name == STORED


def test_a_signature_over_other_files_is_none(original, dangerous, tmp_path):
    with zipfile.ZipFile(original) as opened:
        signature = opened.read("signature.json")
        files = {name: opened.read(name) for name in opened.namelist() if name.startswith(("report", "artifacts"))}
    path = archive.write(tmp_path / "m.nav", {}, {**files, "signature.json": signature})
    assert reopen(path).best is None


@pytest.mark.parametrize("signature", ["é" * 64, "\ud800", "", None, 3, ["x"]])
def test_what_is_no_signature_gives_no_trust(rewrite, dangerous, signature):
    told = json.dumps({"hmac-sha256": signature}).encode()
    assert reopen(rewrite(lambda files: files.update({"signature.json": told}))).best is None


def test_a_format_that_no_plugin_declares_counts_as_code(rewrite):
    path = rewrite(lambda files: stored(files["report.json"])["recipe"].update(format="unheard-of"))
    assert candidate(reopen(path)).recipe.executes_code


def test_a_runner_is_not_given_a_format_that_it_does_not_take(rewrite):
    path = rewrite(lambda files: stored(files["report.json"])["recipe"].update(format="mini-json"))
    with pytest.raises(PackageError, match="mini-json, which the runner 'mini-runtime' that is installed does not run"):
        candidate(reopen(path)).load()


def test_a_runner_that_is_not_installed_is_named(rewrite):
    path = rewrite(lambda files: stored(files["report.json"])["recipe"]["runner"].update(name="warp-drive"))
    package = reopen(path)
    assert package.best is None
    with pytest.raises(PackageError, match="needs the runner 'warp-drive', which no installed plugin declares"):
        candidate(package).load()


def test_a_package_prints_as_its_report(rewrite):
    path = rewrite(lambda files: None)
    package = reopen(path)
    assert str(package) == str(package.report)
    assert repr(package) == f"Package({str(path)!r}, best={package.report.best_name!r})"
    assert package._repr_html_() == package.report._repr_html_()


def test_what_the_package_was_made_with_and_is_not_installed_is_named(rewrite):
    def elsewhere(files):
        report = files["report.json"]
        report["environment"] |= {"navigator-warp": "2.0", "warp@there": "1.0"}
        stored(report)["recipe"]["runner"].update(name="warp-drive")

    with pytest.raises(NothingCorrectError, match=r"made with, not installed here: navigator-warp 2\.0:$") as caught:
        reopen(rewrite(elsewhere)).load()
    assert str(caught.value).count(STORED) == 1


def test_options_of_another_version_of_the_runner_are_an_error_that_says_so(rewrite, found):
    @attrs.frozen
    class Options:
        threads: int = 1

    setattr(mini, "Options", Options)  # noqa: B010
    Options.__module__, Options.__qualname__ = mini.__name__, "Options"
    runner = attrs.evolve(found.runners["mini-runtime"], options=Options)
    changed = attrs.evolve(found, runners={**found.runners, "mini-runtime": runner})
    path = rewrite(lambda files: stored(files["report.json"])["recipe"]["runner"].update(options={"fibres": 2}))
    try:
        with mock.patch.object(plugins, "installed", return_value=changed):
            package = reopen(path)
            assert package.best is None
            with pytest.raises(
                RequestError, match=r"its options are not those of the runner that is installed: .*fibres"
            ):
                candidate(package).load()
    finally:
        del mini.Options


# classes


def test_no_module_is_imported_for_a_strangers_containers(rewrite, tmp_path, monkeypatch):
    (tmp_path / "loud.py").write_text(
        "import dataclasses, pathlib\n"
        f"pathlib.Path({str(tmp_path / 'imported')!r}).touch()\n"
        "@dataclasses.dataclass\nclass Output:\n    y: object\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def change(files):
        structure = files["report.json"]["signature"]["structure"]
        leaf = structure["output"]
        structure["output"] = {
            "class": "Container", "kind": "record", "type": "loud:Output", "keys": ["y"], "children": [leaf],
        }  # fmt: skip

    path = rewrite(change)
    package = reopen(path)
    assert "loud:Output is not imported for a package that may be a stranger's" in package.report.notes[-1]
    answer = package.references[0]
    assert type(answer).__name__ == "AttributeDict"
    assert answer.y.shape == (1, 3)
    assert not (tmp_path / "imported").exists()
    assert "loud" not in sys.modules
    try:
        trusted = reopen(path, trust=True)
        assert type(trusted.references[0]).__name__ == "Output"
        assert type(reopen(path).references[0]).__name__ == "Output"  # it is imported now
    finally:
        sys.modules.pop("loud", None)


# what is shown


def test_nothing_in_a_report_reaches_the_terminal_as_a_command(rewrite):
    def change(files):
        files["report.json"]["notes"] = ["\x1b]0;owned\x07\x1b[2J", "two\nlines"]
        files["report.json"]["candidates"][0]["name"] = "a\x1b[31mb\u202e"

    report = reopen(rewrite(change)).report
    assert report.notes == (r"\x1b]0;owned\x07\x1b[2J", "two\nlines")
    assert report.candidates[0].name == r"a\x1b[31mb\u202e"
    assert "\x1b" not in str(report)
    assert "\x1b" not in report.html.__doc__ + json.dumps(report.to_dict())


@pytest.mark.parametrize("name", ["\x1b[2J", "\ud800", "\u202e"])
@pytest.mark.parametrize("where", ["report", "listed", "missing", "size"])
def test_nothing_in_an_error_reaches_the_terminal_as_a_command(rewrite, name, where):
    files = {
        "listed": {"report.json": {"size": 1, "sha256": "", name: 1}},
        "missing": {name: {"size": 1, "sha256": ""}},
        "size": {"samples": 1, name: 2},
    }
    path = (
        rewrite(lambda inside: inside["report.json"].update({name: 1}))
        if where == "report"
        else rewrite(files=files[where])
    )
    with pytest.raises(PackageError) as caught:
        reopen(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: r["signature"]["inputs"].append(r["signature"]["inputs"][0]),
            "two tensors of its signature have one",
        ),
        (lambda r: r["signature"]["inputs"].clear(), "its signature has no tensor"),
        (lambda r: r.update(elapsed=10**30), "more than 64 bits"),
        (lambda r: r["candidates"][0]["measurements"][0]["p50"].update(value=0), "a measurement that cannot be"),
        (lambda r: r["candidates"][0]["measurements"][0].update(batch_size=-1), "a measurement that cannot be"),
        (lambda r: r.update(surprise=1), "surprise"),
        (lambda r: r.pop("signature"), "signature"),
        (lambda r: r.update(notes="x"), "expected a list"),
    ],
)
def test_a_report_that_contradicts_itself_is_refused(rewrite, change, message):
    with pytest.raises(PackageError, match=f"its report cannot be read: .*{message}"):
        reopen(rewrite(lambda files: change(files["report.json"])))


@pytest.mark.parametrize(
    "text", [b"[" * 200_000, b'{"a":' * 200_000, b"[" * 101 + b"]" * 101, b'{"a": 1, "a": 1}', b"NaN"]
)
def test_a_report_that_is_deep_or_double_is_refused(rewrite, text):
    with pytest.raises(
        PackageError, match=r"its report cannot be read: (nested more than|an object has a key|expected a fi)"
    ):
        reopen(rewrite(lambda files: files.update({"report.json": text})))


def test_a_report_that_is_huge_is_not_read(rewrite):
    with pytest.raises(PackageError, match=r"report\.json has 16777217 bytes; at most 16777216 are accepted"):
        reopen(rewrite(lambda files: files.update({"report.json": b" " * (2**24 + 1)})))


# arrays


def saved(save=np.savez, **arrays):
    made = io.BytesIO()
    save(made, **arrays)
    return made.getvalue()


def lying(shape, descr="<f4"):
    """As `saved`, with an array whose header tells of another shape or type."""
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": descr, "fortran_order": False, "shape": shape})
    made = io.BytesIO(saved(names=NAMES))
    with zipfile.ZipFile(made, "a") as stored:
        stored.writestr("a0.npy", array.getvalue() + b"1234" * 4)
    return made.getvalue()


NAMES = np.frombuffer(b'["x"]', "uint8")
X = np.ones((1, 4), "float32")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(np.savez_compressed, names=NAMES, a0=np.zeros(10**7, "float32")), "compressed, which Nav"),
        (saved(names=NAMES, a0=np.array([{}], dtype=object)), "which is no number"),
        (lying((2**40, 4)), "'a0.npy' has 144 bytes, its header says 17592186044544"),
        (lying((-1, 4)), "'a0.npy' has 144 bytes, its header says 112"),
        (lying((1, 4), "|O"), "which is no number"),
        (saved(names=NAMES), "KeyError: .*a0"),
        (saved(names=np.frombuffer(b'["y"]', "uint8"), a0=X), r"it holds \['y'\], and the report says \['x'\]"),
        (b"PK", "BadZipFile"),
        (b"", "BadZipFile"),
        (b"\x80\x04\x95.", "BadZipFile"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_plain_numbers_are_refused(rewrite, content, message):
    package = reopen(rewrite(lambda files: files.update({"samples/000.npz": content})))
    with pytest.raises(PackageError, match=rf"samples/000\.npz cannot be read: .*({message})"):
        _ = package.samples
    assert len(package.references) == 2


# schemas


def test_every_older_schema_has_a_migration():
    assert sorted(migrations.MIGRATIONS) == list(range(1, migrations.SCHEMA))


def test_a_package_of_the_first_schema_is_read_today():
    """Written by the first version that wrote packages, and kept since."""
    path = GOLDEN / "schema-1.nav"
    with zipfile.ZipFile(path) as opened:
        before = json.loads(opened.read("report.json"))
        assert json.loads(opened.read("manifest.json"))["schema"] == 1
    assert before["candidates"][0]["recipe"]["runner"]["implementation"]
    with Archive.open(path) as opened:
        assert (opened.schema, opened.manifest["schema"]) == (1, migrations.SCHEMA)
    package = reopen(path)
    assert package.report.best_name == before["best"] == "python @ python"
    assert [len(call.args[0]) for call in package.samples] == [1, 2]
    package.attach(lambda x: {"y": np.maximum(x, 0)})
    with package.load() as model:
        np.testing.assert_array_equal(model(-X)["y"], 0 * X)


def test_a_migration_changes_only_what_it_is_about():
    with zipfile.ZipFile(GOLDEN / "schema-1.nav") as opened:
        before = serde.parse(opened.read("report.json"))
    after = migrations.report(before, 1)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"schema", "candidates"}
    runner = after["candidates"][0]["recipe"]["runner"]
    assert set(runner) == {"name", "options", "passed"}


def test_migrations_follow_each_other(monkeypatch, rewrite):
    """Two more schemas, the second of which gives the note of the first another name."""
    monkeypatch.setattr(migrations, "SCHEMA", 4)
    monkeypatch.setitem(migrations.MIGRATIONS, 2, Migration(report=lambda old: {**old, "notes": ["from 2"]}))

    def third(old):
        return {**old, "notes": [*old["notes"], "and 3"]}

    monkeypatch.setitem(migrations.MIGRATIONS, 3, Migration(manifest=lambda old: {**old, "seen": 3}, report=third))
    package = reopen(rewrite(schema=2))
    assert package.report.notes[:2] == ("from 2", "and 3")
    with Archive.open(package.path) as opened:
        assert (opened.schema, opened.manifest["schema"], opened.manifest["seen"]) == (2, 4, 3)


@pytest.mark.parametrize("schema", [0, -1, -(10**30)])
def test_a_schema_that_never_was_is_refused(rewrite, schema):
    with pytest.raises(PackageError, match=f"has schema {schema}, which this Navigator cannot read any more"):
        reopen(rewrite(schema=schema))


def test_a_newer_package_says_which_version_to_install(rewrite):
    path = rewrite(schema=3, navigator="1.4.2+local", files="whatever the future brings")
    with pytest.raises(PackageError) as caught:
        reopen(path)
    assert str(caught.value) == (
        f"{path}: was written by a newer Navigator, 1.4.2+local (schema 3; this one, {__version__}, reads up to 2): "
        "pip install 'navigator-core>=1.4.2'"
    )


@pytest.mark.parametrize("navigator", [__version__, "0.0.1", None, 3, "; rm -rf ~", "1" * 10**6, "'; evil"])
def test_a_newer_package_that_does_not_say_a_newer_version_is_refused_as_well(rewrite, navigator):
    with pytest.raises(PackageError, match=r"\(schema 3; this one, .*; install a newer navigator-core$"):
        reopen(rewrite(schema=3, navigator=navigator))


# the folder


def test_a_folder_that_stands_where_files_are_unpacked_is_left_as_it_is(rewrite, tmp_path, monkeypatch):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    monkeypatch.setattr(archive.secrets, "token_hex", lambda count: "0" * 2 * count)
    (out / f".{'0' * 16}.tmp").symlink_to(elsewhere)
    with Archive.open(rewrite()) as opened, pytest.raises(PackageError, match="File exists"):
        opened.extract(out)
    assert [p.name for p in elsewhere.iterdir()] == ["mine"]
    assert (out / f".{'0' * 16}.tmp").is_symlink()


def test_what_is_unpacked_can_be_read_by_this_user_alone(original):
    package = reopen(original)
    folder = candidate(package).path.parents[2]
    assert folder.stat().st_mode & 0o077 == 0
