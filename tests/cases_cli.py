"""Tables for the shell command, and how it is run in tests."""

import numpy as np
import pandas as pd

from mtlearn.cli import main


def pupils(n=80):
    """A frame with a score, four schools, two numbers and a text."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "score": 0.0,
            "school": np.array(["north", "south", "east", "west"])[np.arange(n) % 4],
            "reading": rng.normal(size=n),
            "age": rng.integers(10, 17, n),
            "sex": np.array(["F", "M"])[rng.integers(0, 2, n)],
        }
    )
    slope = frame["school"].map({"north": 1.0, "south": 2.0, "east": 1.5, "west": 0.5})
    frame["score"] = slope * frame["reading"] + 0.3 * rng.normal(size=n)
    return frame


def is_sentence(text):
    """One line on stderr that is no traceback."""
    return text.startswith("mtlearn: ") and text.count("\n") == 1


class Shell:
    """Writes files into a folder, runs commands there, and keeps what they print."""

    def __init__(self, folder, capsys):
        self.folder, self.capsys = folder, capsys

    def path(self, name):
        """A name in the folder."""
        return str(self.folder / name)

    def write(self, frame, name="pupils.csv", **how):
        """Write a CSV file."""
        frame.to_csv(self.folder / name, index=False, **how)
        return self.path(name)

    def run(self, *argv):
        """Run a command, return (exit code, stdout, stderr)."""
        code = main([str(word) for word in argv])
        return code, *self.capsys.readouterr()

    def on(self, frame, *options, command="compare", target="score", task="school"):
        """Run a command on a frame."""
        named = ["--target", target, "--task", task]
        return self.run(command, self.write(frame), *named, *options)
