"""What the documentation shows works: code blocks run, commands and files exist, links lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

from lobula.config import load_config

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_readme_recovers_the_ring(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(blocks(REPOSITORY / "README.md", "python")[0], "README.md", "exec"), names)  # our own words
    assert "identifiable" in capsys.readouterr().out
    edges, weight = names["estimates"].edges, names["weight"]
    true = weight[edges["post"], edges["pre"]]
    assert np.abs(edges["weight"] - true).max() < 0.1
    assert np.allclose(names["estimates"].neurons["tau"], 0.1, rtol=0.1)
    assert (tmp_path / "estimates.zarr").is_dir()


def test_yaml_of_the_guide_is_a_config(tmp_path):
    (tmp_path / "mine.yaml").write_text(blocks(REPOSITORY / "docs" / "getting-started.md", "yaml")[0])
    config = load_config(tmp_path / "mine.yaml")
    assert (config.simulation.activation, config.simulation.n_frames) == ("tanh", 32_000)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_real(page, lobula):
    lines = re.findall(r"^    (?:\.venv/bin/)?lobula (.+?)(?:\s+#.*)?$", page.read_text(), flags=re.MULTILINE)
    for line in lines:
        words = line.split()
        command = words[:2] if words[0] in ("info", "data") else words[:1]
        text = lobula(*command, "--help").out
        assert all(word in text for word in words if word.startswith("--")), line


def test_tree_of_the_readme_exists():
    text = (REPOSITORY / "README.md").read_text()
    tree = text[text.index("    src/lobula/") : text.index("A module imports")]
    for name in re.findall(r"^      (\S+)", tree, flags=re.MULTILINE):
        assert (REPOSITORY / "src" / "lobula" / name).exists(), name
    for name in re.findall(r"^    (\S+)", tree, flags=re.MULTILINE):
        assert (REPOSITORY / name).exists(), name
