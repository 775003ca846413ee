"""What exists is documented, where a reader looks for it: public names, hooks, commands, errors, events, options."""

import inspect
import re
from pathlib import Path

import attrs
import pytest

import navigator as nav
import navigator_core
from navigator_core import errors, events, hookspecs, testing
from navigator_core.cli import commands

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("navigator_*/*.md"), *ROOT.glob("plugins/*/*.md")]
REFERENCE = DOCS / "reference"


def page(path):
    return (DOCS / path).read_text()


def section(text, heading):
    """What stands under a heading that holds these words, down to the next one; None without such a heading."""
    found = re.search(rf"^#+ [^\n]*`{re.escape(heading)}[ `][^\n]*\n(.*?)(?=^#|\Z)", text, re.M | re.S)
    return found and found[0]


def lacking(text, names):
    """The names that the text does not hold between backticks; blocks of code do not count."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", prose))))
    return sorted(set(names) - words)


def members(cls):
    """The public fields, properties and methods of a class."""
    fields = [field.name for field in attrs.fields(cls)] if attrs.has(cls) else []
    own = [name for name, value in vars(cls).items() if inspect.isfunction(value) or isinstance(value, property)]
    return [name for name in {*fields, *own} if not name.startswith("_")]


def classes(module, base):
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, base)]
    return [cls for cls in found if cls.__module__ == module.__name__]


HOOKS = [name for name, value in vars(hookspecs).items() if hasattr(value, "navigator_spec")]
FUNCTIONS = ["optimize", "profile", "load"]
VALUES = [name for name in nav.__all__ if inspect.isclass(getattr(nav, name)) and not name.endswith("Error")]


@pytest.mark.parametrize("name", nav.__all__)
def test_every_public_name_is_in_the_reference(name):
    assert re.search(rf"`nav\.{name}\b", page("reference/api.md"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_of_a_function_is_in_its_section(name):
    text = section(page("reference/api.md"), f"nav.{name}")
    assert lacking(text, inspect.signature(getattr(nav, name)).parameters) == []


@pytest.mark.parametrize("name", VALUES)
def test_every_member_of_a_value_is_in_its_section(name):
    assert lacking(section(page("reference/api.md"), f"nav.{name}"), members(getattr(nav, name))) == []


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_a_section_for_plugin_authors(name):
    text = section(page("plugin-authors.md"), name)
    assert text is not None, f"docs/plugin-authors.md has no section `{name}`"
    assert len(text.split()) > 15, f"the section `{name}` says next to nothing"


def test_the_hooks_are_all_found():
    assert {"declare_formats", "identify_model", "observe"} <= set(HOOKS)


def test_what_plugin_authors_import_is_on_their_page():
    assert lacking(page("plugin-authors.md"), [*navigator_core.__all__, *testing.__all__]) == []


@pytest.mark.parametrize("kind", [navigator_core.Format, navigator_core.Framework])
def test_every_field_of_a_format_is_on_the_plugin_authors_page(kind):
    text = section(page("plugin-authors.md"), "declare_formats")
    assert lacking(text, [field.name for field in attrs.fields(kind)]) == []


@pytest.mark.parametrize("command", sorted(commands.commands))
def test_every_command_and_option_is_in_the_reference(command):
    text = section(page("reference/command-line.md"), f"navigator {command}")
    assert text is not None, f"docs/reference/command-line.md has no section `navigator {command}`"
    flags = [flag for option in commands.commands[command].params for flag in option.opts if flag.startswith("--")]
    assert [flag for flag in flags if not re.search(rf"`{flag}[ `]", text)] == []


@pytest.mark.parametrize("error", classes(errors, errors.NavigatorError), ids=lambda cls: cls.__name__)
def test_every_error_is_in_the_reference(error):
    assert lacking(page("reference/errors.md"), [error.__name__]) == []


@pytest.mark.parametrize("event", classes(events, events.Event), ids=lambda cls: cls.__name__)
def test_every_event_is_in_the_reference_with_its_fields(event):
    assert lacking(page("reference/events.md"), [event.__name__, *(field.name for field in attrs.fields(event))]) == []


def test_every_page_is_in_the_index():
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} - {"README.md"}
    assert pages - set(re.findall(r"\]\(([^)#]+)", page("README.md"))) == set()


def slugs(text):
    """The anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    return [
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", prose, re.M)
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(path):
    prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\((?!\w+:)([^)]+)\)", prose)):
        there = path.parent / target if target else path
        assert there.exists(), f"{target} is not there"
        assert not anchor or anchor in slugs(there.read_text()), f"{target} has no heading #{anchor}"


def test_a_name_that_is_not_documented_is_found():
    text = "### `nav.f`\n\nTakes `a` and b.\n\n### `nav.g`\n\n`c`\n"
    assert lacking(section(text, "nav.f"), ["a", "b", "c"]) == ["b", "c"]
    assert section(text, "nav.h") is None
