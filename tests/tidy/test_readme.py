"""The README tells what is: its links lead somewhere, and its commands and its program run."""

import re
import shlex
from pathlib import Path

import pytest

from tests.journeys.gateway_process import ROOT, gateway

README = (ROOT / "README.md").read_text(encoding="utf-8")
LINKS = re.findall(r"\]\(([^)#]+)\)", README)
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
SHELL = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines() if line]


@pytest.mark.parametrize("link", sorted(set(LINKS)))
def test_every_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()


def test_every_make_target_is_there() -> None:
    named = set(re.findall(r"`?make ([a-z]+)", README))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= targets


def test_every_command_runs_on_a_gateway(tmp_path: Path) -> None:
    commands = [shlex.split(line, comments=True) for line in SHELL if line.startswith("weir ")]
    assert len(commands) >= 4
    with gateway(tmp_path, ROOT / "config.toml") as weir:
        answer = weir.chat("Say hello in one sentence.", max_tokens=5)
        weir.request(answer.request_id)
        for _, *words in commands:
            named = [answer.request_id if word == "REQUEST_ID" else word for word in words]
            done = weir.command(*named)
            assert done.returncode == 0, (words, done.stdout, done.stderr)


def test_the_program_runs_as_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [program] = [block for kind, block in BLOCKS if kind == "python"]
    with gateway(tmp_path, ROOT / "config.toml") as weir:
        program = program.replace("http://127.0.0.1:8080", weir.base_url)
        program = program.replace("sk-weir-...", weir.key)
        exec(compile(program, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()
