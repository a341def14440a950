"""Every command that the documentation shows exists, with the options that it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer.main

from mien.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """The words of every `mien ...` in a page's shell blocks, comments and what is piped left out."""
    found = []
    for kind, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if kind not in ("console", "sh", "bash", "shell", ""):
            continue
        for raw in re.sub(r"\\\n\s*", " ", block).splitlines():
            line = raw.strip().removeprefix("$ ")
            if not re.match(r"(\w+=\S+ )*mien ", line):
                continue
            try:
                words = shlex.split(line, comments=True)
            except ValueError:
                continue  # an output line that happens to begin so
            while words and words[0] != "mien":
                words.pop(0)
            part: list[str] = []
            for word in [*words, "&&"]:
                if word in ("&&", "|", ";", ">", "2>"):
                    if part[:1] == ["mien"]:
                        found.append(part)
                    part = []
                else:
                    part.append(word)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    root = typer.main.get_command(app)
    for words in commands(page):
        command: click.Command = root
        rest = words[1:]
        while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
            name = rest.pop(0)
            if any(c in name for c in "|[<…") or name == "...":
                break
            assert name in command.commands, f"{page.name}: {shlex.join(words)}: there is no {name!r}"
            command = command.commands[name]
        if hasattr(command, "commands"):
            continue
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        known |= {"--help", "-h"}
        for word in rest:
            option = re.split(r"[=|\]]", word.lstrip("["), maxsplit=1)[0]
            if re.fullmatch(r"--?[a-z][a-z-]*", option):
                assert option in known, f"{page.name}: {shlex.join(words)}: there is no option {option}"


def test_the_readme_shows_commands() -> None:
    assert len(commands(ROOT / "README.md")) > 30
