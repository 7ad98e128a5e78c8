"""What the documentation shows works: code blocks run, commands and files exist, links lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

from lobula.config import load_config
from lobula.data import Recording

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


def test_recordings_of_the_guide_can_be_written_and_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng, n = np.random.default_rng(0), 500
    np.save("edges.npy", np.stack([np.arange(n), np.roll(np.arange(n), 1)]))
    trials = rng.standard_normal((3, 41, n)).astype(np.float32)
    np.save("trials.npy", trials)
    shorter = {"60_000": "600", "4_000": "40"}

    def my_blocks(split: str) -> list[np.ndarray]:
        return [rng.standard_normal((300, n))] * 2 if split == "train" else [rng.standard_normal((40, n))]

    names: dict = {"my_blocks": my_blocks}
    for block in blocks(REPOSITORY / "docs" / "getting-started.md", "python")[1:3]:
        for long, short in shorter.items():
            block = block.replace(long, short)
        exec(compile(block, "getting-started.md", "exec"), names)  # our own words
    assert Recording.open("mine.zarr")["train"].n_targets() == 599
    train = Recording.open("trials.zarr")["train"]
    np.testing.assert_allclose(train.target(), (np.diff(trials, axis=1) / 0.02).reshape(-1, n), rtol=1e-4, atol=1e-4)


def test_network_of_the_guide_is_active(capsys):
    names: dict = {}
    exec(compile(blocks(REPOSITORY / "docs" / "signal.md", "python")[0], "signal.md", "exec"), names)  # our own words
    assert capsys.readouterr().out.startswith("N2 ")
    assert names["voltage"].std() > 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_real(page, lobula):
    lines = re.findall(r"^    (?:\.venv/bin/)?lobula (.+?)(?:\s+#.*)?$", page.read_text(), flags=re.MULTILINE)
    for line in lines:
        words = line.split()
        command = words[:2] if words[0] in ("info", "data", "explore") else words[:1]
        text = lobula(*command, "--help").out
        assert all(word in text for word in words if word.startswith("--")), line


def test_tree_of_the_readme_exists():
    text = (REPOSITORY / "README.md").read_text()
    tree = text[text.index("    src/lobula/") : text.index("A module imports")]
    for name in re.findall(r"^      (\S+)", tree, flags=re.MULTILINE):
        assert (REPOSITORY / "src" / "lobula" / name).exists(), name
    for name in re.findall(r"^    (\S+)", tree, flags=re.MULTILINE):
        assert (REPOSITORY / name).exists(), name
