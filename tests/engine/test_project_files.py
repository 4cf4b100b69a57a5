"""Files beside the code agree with each other: citation, changelog, workflow, benchmarks."""

import argparse
import importlib.util
import json
import re
import sys
import tomllib
from importlib import resources
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_what_is_cited_was_released():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    released = re.findall(
        r"^## \[(\d[^\]]*)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert (cited["version"], cited["date-released"]) == released[0]
    assert cited["license"] == PROJECT["license"]
    assert {reference["title"].split(" ")[0] for reference in cited["references"]} >= {
        "Noise2Void", "autoStructN2V",
    }  # fmt: skip


def test_public_tests_run_on_every_python_that_is_named():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    named = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c}
    assert set(jobs["test"]["strategy"]["matrix"]["python"]) == named
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert {step.get("with", {}).get("python-version") for step in jobs["lowest"]["steps"]} == {
        None, lowest,
    }  # fmt: skip


def test_type_checkers_see_the_annotations():
    assert resources.files("napari_autostructn2v").joinpath("py.typed").is_file()


def test_every_benchmark_is_explained_and_keeps_its_results():
    readme = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    for script in sorted((ROOT / "benchmarks").glob("*.py")):
        if script.stem != "common":
            assert f"`{script.name}`" in readme
            assert "keep(options)" in script.read_text("utf-8"), script.name


def test_results_are_kept_with_where_they_were_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["memory.py"])
    spec = importlib.util.spec_from_file_location("common", ROOT / "benchmarks" / "common.py")
    common = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(common)

    common.say("Two tables")
    common.head("side", "seconds")
    common.row(2000, 1.23456)
    common.head("side")
    common.keep(argparse.Namespace(json=None, seed=3))
    common.keep(argparse.Namespace(json=tmp_path / "kept.json", seed=3))
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert "| 2000 | 1.23 |" in capsys.readouterr().out
    assert kept["results"] == [
        {"text": "Two tables"},
        {"columns": ["side", "seconds"], "rows": [[2000, 1.23456]]},
        {"columns": ["side"], "rows": []},
    ]
    assert (kept["benchmark"], kept["options"]) == ("memory", {"seed": 3})
    assert kept["versions"]["numpy"]
    assert kept["machine"]["cores"]
