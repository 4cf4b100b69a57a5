"""Who may import whom: the rules are in pyproject.toml."""

from pathlib import Path

import grimp
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]


def test_no_import_against_the_rules(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == 0


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
