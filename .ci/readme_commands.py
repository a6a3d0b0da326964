"""Print the first two shell commands of a README, one per line, as they stand."""

import re
import sys
from pathlib import Path

N_COMMANDS = 2
BLOCK = re.compile(r"^```(?:shell|bash)[ \t]*\n(.*?)^```[ \t]*$", re.M | re.S)


def readme_commands(text):
    """Return the content of the first shell blocks, each of which is one line."""
    commands = [block.strip() for block in BLOCK.findall(text)[:N_COMMANDS]]
    if len(commands) < N_COMMANDS:
        raise SystemExit(
            f"expected {N_COMMANDS} shell or bash blocks, found {len(commands)}"
        )
    for command in commands:
        if not command or "\n" in command:
            raise SystemExit(f"expected a shell block of one line, got {command!r}")
    return commands


if __name__ == "__main__":
    print("\n".join(readme_commands(Path(sys.argv[1]).read_text(encoding="utf-8"))))
