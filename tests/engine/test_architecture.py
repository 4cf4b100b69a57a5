"""Who may import whom: the rules are in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]


def test_no_import_against_the_rules():
    # A process of its own: import-linter changes how this one logs.
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    found = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_no_import_circle():
    graph = grimp.build_graph("napari_autostructn2v", cache_dir=None)
    circles = [
        chain
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if (chain := graph.find_shortest_chain(imported, module))
    ]
    assert len(graph.modules) > 100
    assert not circles


def test_files_are_short():
    files = list((ROOT / "src").rglob("*.py"))
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in files
    }
    assert not {name: length for name, length in lengths.items() if length > 350}
