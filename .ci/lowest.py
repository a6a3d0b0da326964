"""Print the oldest versions that pyproject.toml allows, as constraints for pip.

Read from the file itself, so that what is tested is what is declared.
"""

import re
import sys
import tomllib
from itertools import chain
from pathlib import Path

FLOOR = re.compile(r"(?P<name>[\w.-]+) *(?:>=|~=) *(?P<version>\d[\w.]*)")


def main():
    path = Path(__file__).parents[1] / "pyproject.toml"
    project = tomllib.loads(path.read_text())["project"]
    declared = [project["dependencies"], *project["optional-dependencies"].values()]
    floors = {}
    for requirement in chain.from_iterable(declared):
        if requirement.startswith(project["name"]):
            continue  # one extra that includes another
        found = FLOOR.fullmatch(requirement)
        if found is None:
            return f"{path.name}: a floor (>= or ~=) was expected, got {requirement!r}."
        name, version = found["name"], found["version"]
        if floors.setdefault(name, version) != version:
            return f"{path.name}: two floors for {name}: {floors[name]} and {version}."
    for name, version in sorted(floors.items()):
        print(f"{name}=={version}")


if __name__ == "__main__":
    sys.exit(main())
