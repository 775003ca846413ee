"""What is missing is told from installed metadata, with a reason and a remedy."""

import subprocess
import sys

import pytest

from navigator_core import Probe, Ref, Requirement, availability
from navigator_core.availability import Unavailable, installed_version, missing, parse, probes, run_probe
from navigator_core.errors import PluginError

PYTHON = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture(autouse=True)
def forget():
    yield
    availability.reset()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Leaves a distribution's metadata on sys.path, as pip would; there is no code behind it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, version="1.0", *lines):
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines])
        (info / "METADATA").write_text(text + "\n\nVersion: 99 is in the text\n")
        availability.reset()
        return info

    return write


@pytest.fixture
def machine(install):
    """fakert 1.12, fakert-gpu 2.0, and a pre-release; fakeabsent is not installed."""
    install("fakert", "1.12")
    install("fakert-gpu", "2.0")
    install("fakedev", "2.0rc1")


HOLDS = [
    [],
    ["fakert"],
    ["fakert>=1.2,<2"],
    ["FakeRT"],
    ["fakert_gpu"],
    ["fakedev>=1.9"],
    [Requirement(("fakeabsent", "fakert"))],
    [Requirement(("fakert>=2", "fakert-gpu>=2"))],
    [f"fakeabsent; python_version < '{PYTHON}'"],
    [Requirement((f"fakeabsent; python_version < '{PYTHON}'", "fakert"))],
    [f"fakert; python_version >= '{PYTHON}'"],
    ["fakert @ https://example.org/fakert.whl"],
    [Probe("nowhere:check", "never asked here")],
]

LACKS = [
    (["fakeabsent>=1.16"], "needs fakeabsent>=1.16, which is not installed", "pip install 'fakeabsent>=1.16'"),
    (["fakeabsent"], "needs fakeabsent, which is not installed", "pip install fakeabsent"),
    (["fakert>=1.16"], "needs fakert>=1.16, but 1.12 is installed", "pip install 'fakert>=1.16'"),
    (["fakert<1.2"], "needs fakert<1.2, but 1.12 is installed", "pip install 'fakert<1.2'"),
    (["fakert>=2,<3"], "needs fakert>=2,<3, but 1.12 is installed", "pip install 'fakert>=2,<3'"),
    (["fakedev>=2"], "needs fakedev>=2, but 2.0rc1 is installed", "pip install 'fakedev>=2'"),
    (["fakert", "fakeabsent", "other"], "needs fakeabsent, which is not installed", "pip install fakeabsent"),
    ([f"fakeabsent>=1; python_version >= '{PYTHON}'"], "needs fakeabsent>=1, which is not installed", None),
    (
        [Requirement(("fakeabsent", "fakeabsent-gpu"))],
        "needs fakeabsent or fakeabsent-gpu; neither is installed",
        "pip install fakeabsent",
    ),
    (
        [Requirement(("fakea", "fakeb", "fakec"))],
        "needs fakea or fakeb or fakec; none of them is installed",
        "pip install fakea",
    ),
    (
        [Requirement(("fakert>=2", "fakeabsent"))],
        "needs fakert>=2 or fakeabsent; fakert 1.12 is installed, fakeabsent is not installed",
        "pip install 'fakert>=2'",
    ),
    (
        [Requirement((f"fakert; python_version < '{PYTHON}'", "fakeabsent"))],
        "needs fakeabsent, which is not installed",
        "pip install fakeabsent",
    ),
    (
        [Requirement("fakeabsent", remedy="apt install it")],
        "needs fakeabsent, which is not installed",
        "apt install it",
    ),
]


def asked(values):
    return [Requirement(value) if isinstance(value, str) else value for value in values]


@pytest.mark.parametrize("requirements", HOLDS, ids=str)
@pytest.mark.usefixtures("machine")
def test_it_holds(requirements):
    assert missing(asked(requirements)) is None


@pytest.mark.parametrize(("requirements", "reason", "remedy"), LACKS, ids=str)
@pytest.mark.usefixtures("machine")
def test_it_is_missing_with_a_reason_and_a_remedy(requirements, reason, remedy):
    found = missing(asked(requirements))
    assert found is not None
    assert found.reason == reason
    assert found.remedy == (remedy or "pip install 'fakeabsent>=1'")
    assert str(found) == f"{found.reason}; {found.remedy}"


# extras


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("fakehost", None),
        ("fakehost[small]", None),
        ("fakehost[unheard-of]", None),
        ("fakehost[elsewhere]", None),
        ("fakehost[big]", "needs fakehost[big], whose extra needs fakeabsent>=2, which is not installed"),
        ("fakehost[small,big]", "needs fakehost[small,big], whose extra needs fakeabsent>=2, which is not installed"),
        ("fakehost[new]", "needs fakehost[new], whose extra needs fakert>=9, but 1.12 is installed"),
        (
            "fakehost[all]",
            "needs fakehost[all], whose extra needs fakehost[small,big], whose extra needs fakeabsent>=2, "
            "which is not installed",
        ),
        ("fakehost[loop]", None),
    ],
)
@pytest.mark.usefixtures("machine")
def test_an_extra_needs_what_the_distribution_says_it_needs(install, wanted, reason):
    install(
        "fakehost",
        "3.1",
        "Requires-Dist: fakealways>=1",
        "Requires-Dist: fakert>=1; extra == 'small'",
        "Requires-Dist: fakert>=9; extra == 'new'",
        "Requires-Dist: fakeabsent>=2; extra == 'big'",
        "Requires-Dist: fakeabsent; sys_platform == 'nowhere' and extra == 'elsewhere'",
        "Requires-Dist: fakehost[small,big]; extra == 'all'",
        "Requires-Dist: fakehost[loop]; extra == 'loop'",
    )
    found = missing([Requirement(wanted)])
    assert (found and found.reason) == reason
    assert found is None or found.remedy == f"pip install '{wanted}'"


@pytest.mark.usefixtures("machine")
def test_an_alternative_with_an_extra_says_which_extra(install):
    install("fakehost", "3.1", "Requires-Dist: fakeabsent>=2; extra == 'big'")
    found = missing([Requirement(("fakert>=9", "fakehost[big]"))])
    assert found is not None
    assert found.reason == (
        "needs fakert>=9 or fakehost[big]; fakert 1.12 is installed, "
        "fakehost[big] needs fakeabsent>=2, which is not installed"
    )


# versions


def test_a_version_is_remembered_until_reset(install):
    info = install("fakert", "1.12")
    assert installed_version("fakert") == "1.12"
    (info / "METADATA").write_text("Name: fakert\nVersion: 1.13\n")
    assert installed_version("fakert") == "1.12"
    availability.reset()
    assert installed_version("fakert") == "1.13"


def test_what_was_installed_since_is_seen_after_a_reset(install):
    assert missing([Requirement("fakert")]) is not None
    install("fakert")
    assert missing([Requirement("fakert")]) is None


def test_a_version_that_cannot_be_compared_meets_only_a_bare_name(install):
    install("fakeodd", "from-source")
    assert missing([Requirement("fakeodd")]) is None
    assert missing([Requirement("fakeodd>=1")]) == Unavailable(
        "needs fakeodd>=1, but from-source is installed", "pip install 'fakeodd>=1'"
    )


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"Name: fakert\n", b""])
def test_a_distribution_without_readable_metadata_is_not_installed(install, damage):
    info = install("fakert")
    (info / "METADATA").write_bytes(damage)
    availability.reset()
    assert installed_version("fakert") is None


def test_an_egg_info_counts_as_folder_or_file(install, tmp_path):
    (tmp_path / "fakeegg.egg-info").mkdir()
    (tmp_path / "fakeegg.egg-info" / "PKG-INFO").write_text("Name: fakeegg\nVersion: 1.5\n")
    (tmp_path / "fakeflat.egg-info").write_text("Name: fakeflat\nVersion: 1.6\n")
    assert (installed_version("fakeegg"), installed_version("fakeflat")) == ("1.5", "1.6")


def test_headers_read_by_hand_are_what_the_library_reads():
    import importlib_metadata

    for distribution in importlib_metadata.distributions():
        assert availability.header(distribution, "Version") == distribution.version
        assert availability.header(distribution, "name") == distribution.name


@pytest.mark.parametrize("text", ["", "onnx>>1", "a b", "onnx; python", ">=1"])
def test_a_malformed_requirement_is_the_plugin_authors_to_change(text):
    with pytest.raises(PluginError, match="malformed requirement"):
        parse(text)


def test_nothing_is_imported_to_tell_what_is_installed(tmp_path):
    (tmp_path / "fakeloud").mkdir()
    (tmp_path / "fakeloud" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "fakeloud-1.0.dist-info").mkdir()
    (tmp_path / "fakeloud-1.0.dist-info" / "METADATA").write_text("Name: fakeloud\nVersion: 1.0\n")
    program = (
        "import sys; from navigator_core import Requirement, availability\n"
        "assert availability.missing([Requirement('fakeloud>=1'), Requirement('numpy'), Requirement('rich')]) is None\n"
        "assert not {'fakeloud', 'numpy', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], env={"PYTHONPATH": str(tmp_path)}, check=True)


# probes


def usable():
    return None


def unusable():
    return "the driver is too old"


def raising():
    raise OSError("libtiny.so.2: cannot open")


def vague():
    return False


HERE = "probe_checks"


@pytest.fixture
def checks(monkeypatch):
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (f"{HERE}:usable", None),
        (f"{HERE}:unusable", "the driver is too old"),
        (f"{HERE}:raising", f"the check {HERE}:raising failed: OSError: libtiny.so.2: cannot open"),
        (f"{HERE}:vague", f"the check {HERE}:vague returned False where None or a sentence is due"),
        (f"{HERE}:absent", f"the check {HERE}:absent failed: AttributeError: "),
        ("no_such_module:check", "the check no_such_module:check failed: ModuleNotFoundError: "),
    ],
)
@pytest.mark.usefixtures("checks")
def test_a_probe_answers_none_or_why_not(check, reason):
    found = run_probe(Probe(Ref(check), "apt install libtiny2"))
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert found.reason.startswith(reason)
        assert found.remedy == "apt install libtiny2"


def test_probes_are_kept_apart_from_requirements():
    probe = Probe("m:f", "help")
    assert probes([Requirement("a"), probe]) == (probe,)
