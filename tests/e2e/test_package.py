"""A package on its way: saved, tampered with, cut short, opened elsewhere, given its model back."""

import hashlib
import json
import shutil
import zipfile

import models
import pytest
import torch

import navigator as nav

TRACE = "torch->torchscript[trace] @ torchscript"
ONNX = "torch->onnx[dynamo] @ onnxruntime-cpu"
EAGER = "torch @ torch-eager"


@pytest.fixture(scope="module")
def nested(optimized):
    return optimized("nested")


@pytest.fixture(scope="module")
def original(nested, tmp_path_factory):
    return nested.report.save(tmp_path_factory.mktemp("package") / "nested.nav")


@pytest.fixture
def path(original, tmp_path):
    return shutil.copy(original, tmp_path / "nested.nav")


def rewrite(path, change, hashes=True):
    """The package with its files as ``change(files)`` leaves them; ``hashes``: listed as what they are now."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    change(files, manifest)
    if hashes:
        manifest["files"] = {
            name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def unsign(files, manifest):
    """As a package is that comes from somebody else."""
    del files["signature.json"]


def test_a_package_holds_the_report_and_loads_the_best(nested, path):
    package = nav.load(path)
    assert package.report.best_name == nested.report.best_name
    assert [c.name for c in package.report.candidates] == [c.name for c in nested.report.candidates]
    assert package.report.to_dict()["signature"] == nested.report.to_dict()["signature"]
    call = models.as_call(nested.samples[1])
    with package.load() as model:
        found, expected = model(*call.args, **call.kwargs), nested.expected(nested.samples[1])
    torch.testing.assert_close(found["pair"], expected["pair"], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found["fused"]["both"], expected["fused"]["both"], rtol=1e-3, atol=1e-5)
    assert (found["version"], found["fused"]["size"], found["extra"][1]) == ("v1", 4, None)


def test_the_same_report_makes_the_same_package(nested, original, tmp_path):
    again = nested.report.save(tmp_path / "again.nav")
    assert again.read_bytes() == original.read_bytes()


def test_no_place_of_this_machine_is_in_a_package(path, nested):
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            assert str(nested.asked["workspace"]).encode() not in archive.read(name), name
            if name.startswith("artifacts/"):
                assert models.__file__.encode() not in archive.read(name), name


def test_a_package_is_opened_while_its_workspace_is_gone(nested, path, tmp_path):
    asked = {**nested.asked, "workspace": tmp_path / "workspace", "runners": ["onnxruntime-cpu"]}
    report = nav.optimize(nested.model, nested.samples, **asked)
    saved = report.save(tmp_path / "saved.nav")
    shutil.rmtree(tmp_path / "workspace")
    with nav.load(saved).load() as model:
        call = models.as_call(nested.samples[0])
        assert model(*call.args, **call.kwargs)["version"] == "v1"


def test_a_loaded_model_outlives_its_package(path, nested):
    call = models.as_call(nested.samples[0])
    with nav.load(path).load() as model:  # nothing else refers to the package
        assert model(*call.args, **call.kwargs)["version"] == "v1"


# what exists only in memory


def test_a_candidate_in_memory_asks_for_its_model_and_runs_once_it_has_it(path, nested):
    package = nav.load(path)
    eager = {c.name: c for c in package.report.candidates}[EAGER]
    with pytest.raises(nav.RequestError, match=r"exists only in memory; give it its model: package\.attach\(model\)"):
        eager.load()
    package.attach(nested.model)
    call = models.as_call(nested.samples[0])
    with {c.name: c for c in package.report.candidates}[EAGER].load() as model:
        expected = nested.expected(nested.samples[0])
        torch.testing.assert_close(model(*call.args, **call.kwargs)["pair"], expected["pair"])


def test_a_package_refuses_a_model_of_another_kind(path):
    with pytest.raises(nav.RequestError, match="candidates in memory are of torch models, not python"):
        nav.load(path).attach(abs)


# trust


def test_what_can_execute_code_is_locked_in_a_strangers_package(path):
    rewrite(path, unsign)
    package = nav.load(path)
    trace = {c.name: c for c in package.report.candidates}[TRACE]
    if trace.path is not None:  # stored because it is a winner too
        with pytest.raises(
            nav.PackageError, match=r"can execute code when it is loaded; .*nav\.load\(\.\.\., trust=True"
        ):
            trace.load()
    assert package.best is None or package.best.recipe.executes_code is False


@pytest.mark.slow
def test_torchscript_needs_trust_unless_it_was_signed_here(tmp_path):
    source, samples = models.branching()
    asked = {"runners": ["torchscript"], "batch_sizes": [1], "workspace": tmp_path / "workspace"}
    saved = nav.optimize(source, samples, **asked).save(tmp_path / "branching.nav")
    with nav.load(saved).load() as model:  # signed by this user
        torch.testing.assert_close(model(samples[1]), source(samples[1]), rtol=1e-3, atol=1e-5)
    rewrite(saved, unsign)
    with pytest.raises(nav.NothingCorrectError) as caught:
        nav.load(saved).load()
    assert "trust=True" in str(caught.value)
    with nav.load(saved, trust=True).load() as model:
        assert model.name.startswith("torch->torchscript[script] @ torchscript")
        torch.testing.assert_close(model(samples[0]), source(samples[0]), rtol=1e-3, atol=1e-5)


def test_a_package_whose_best_is_in_memory_says_what_it_holds_instead(optimized, tmp_path):
    found = optimized("branching")
    eager = found.report.select(nav.Objective(minimize="size"))  # nothing in memory has a size
    assert eager is None or eager.path is not None
    saved = found.report.save(tmp_path / "branching.nav")
    notes = nav.load(saved).report.notes
    in_memory = found.report.best.path is None
    assert any("exists only in memory and cannot be stored" in note for note in notes) == in_memory


# damage


def everything(path):
    """What lies in artifacts/ is read at once, the rest when it is asked for."""
    package = nav.load(path)
    return package.samples, package.references


@pytest.mark.parametrize("name", ["samples/000.npz", "references/001.npz", "artifacts/00/model.onnx"])
def test_a_byte_that_was_changed_is_found(path, name):
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        stored = archive.getinfo(name)
    content[stored.header_offset + 30 + len(stored.filename) + stored.file_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(nav.PackageError, match=f"{name}.*differs|CRC.*{name}"):
        everything(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_package_that_was_cut_short_is_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(nav.PackageError, match=r"cut short"):
        nav.load(path)


def test_a_newer_schema_is_told_from_damage(path):
    rewrite(path, lambda files, manifest: manifest.update(schema=manifest["schema"] + 1))
    with pytest.raises(
        nav.PackageError, match=r"was written by a newer Navigator .schema 3; this one.*install a newer"
    ):
        nav.load(path)


def test_a_file_that_was_replaced_is_found(path):
    def change(files, manifest):
        files["report.json"] = files["report.json"].replace(b"fp32", b"fp64")

    rewrite(path, change, hashes=False)
    with pytest.raises(nav.PackageError, match=r"report\.json is not what was packed"):
        nav.load(path)


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/outside.txt", "artifacts/../../outside.txt", "C:\\x"])
def test_a_name_that_leads_elsewhere_is_refused(path, tmp_path, name):
    rewrite(path, lambda files, manifest: files.update({name: b"x"}))
    with pytest.raises(nav.PackageError, match="is not a plain relative path"):
        nav.load(path)
    assert not list(tmp_path.rglob("outside.txt"))


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"candidates": 3}', b"\xff\xfe", b'{"schema": 99}'])
def test_a_report_that_is_none_is_an_error_of_the_package(path, content):
    rewrite(path, lambda files, manifest: files.update({"report.json": content}))
    with pytest.raises(nav.PackageError, match="its report cannot be read"):
        nav.load(path)


def test_a_report_that_names_a_file_elsewhere_is_refused(path):
    def change(files, manifest):
        report = json.loads(files["report.json"])
        for candidate in report["candidates"]:
            if candidate["path"]:
                candidate["path"] = "/etc/passwd"
        files["report.json"] = json.dumps(report).encode()

    rewrite(path, change)
    with pytest.raises(nav.PackageError, match="the report names /etc/passwd, which is not in the package"):
        nav.load(path)


@pytest.mark.parametrize(
    ("make", "message"), [("missing", "is not there"), ("folder", "is a folder"), ("text", "no .nav file")]
)
def test_what_is_no_package_is_refused(tmp_path, make, message):
    path = tmp_path / "model.nav"
    if make == "folder":
        path.mkdir()
    if make == "text":
        path.write_text("a model, honestly")
    with pytest.raises(nav.PackageError, match=message):
        nav.load(path)


def test_a_package_cannot_be_written_into_a_folder_that_is_not_there(nested, tmp_path):
    with pytest.raises(nav.PackageError, match="there is no folder"):
        nested.report.save(tmp_path / "nowhere" / "model.nav")


def test_a_file_that_was_there_is_replaced_as_a_whole(nested, original, tmp_path):
    path = tmp_path / "model.nav"
    path.write_text("an older one")
    nested.report.save(path)
    assert path.read_bytes() == original.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["model.nav"]
