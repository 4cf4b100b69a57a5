import ast
import importlib.util
import re
from pathlib import Path

import pytest
import typer.main

import napari_autostructn2v
from napari_autostructn2v.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "README.md"])
CODE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def code(page, language):
    return [body for name, body in CODE.findall(page.read_text("utf-8")) if name == language]


def anchors(page):
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_configuration_page_is_what_the_config_says():
    path = ROOT / "docs" / "reference.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)

    written = reference.PAGE.read_text("utf-8")
    assert written == reference.page(), "run docs/reference.py"


@pytest.mark.parametrize("floor", ["engine", "plugin", "cli"])
def test_the_architecture_names_every_module(floor):
    home = ROOT / "src" / "napari_autostructn2v" / floor
    named = set(re.findall(r"`([\w/]+)`", (ROOT / "docs" / "architecture.md").read_text("utf-8")))
    modules = {str(path.relative_to(home).with_suffix("")) for path in home.rglob("[!_]*.py")}
    assert not modules - named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", page.read_text("utf-8")))
    for link in links:
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_name_options_that_exist(page):
    commands = typer.main.get_command(app).commands
    for line in "\n".join(code(page, "bash")).splitlines():
        words = line.partition("#")[0].split()
        if words[:1] != ["autostructn2v"]:
            continue
        options = {name for parameter in commands[words[1]].params for name in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_need_only_the_public_names(page):
    package = "napari_autostructn2v"
    for body in code(page, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.Import):
                assert not [a.name for a in node.names if a.name.startswith(f"{package}.")]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package):
                assert node.module == package
                assert {alias.name for alias in node.names} <= set(napari_autostructn2v.__all__)


def test_every_public_name_is_there():
    for name in napari_autostructn2v.__all__:
        assert getattr(napari_autostructn2v, name) is not None, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_are_python(page):
    for body in code(page, "python"):
        ast.parse(body)
