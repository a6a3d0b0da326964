"""How tables in files are read: separators, decimal signs, encodings, other kinds."""

import gzip
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from cases_cli import is_sentence, pupils

from mtlearn.cli.reading import (
    find_decimal,
    find_encoding,
    find_separator,
    open_source,
)


def opened(path, **options):
    given = {"sep": None, "decimal": None, "encoding": None, "memory": None}
    return open_source(SimpleNamespace(file=str(path), **{**given, **options}))


@pytest.mark.parametrize(
    ("lines", "sep"),
    [
        (["a,b,c", "1,2,3"], ","),
        (["a;b;c", "1,5;2,5;3", "4,1;5,2;6,3"], ";"),
        (["a\tb", "1,2\t3,4"], "\t"),
        (["a|b", "x|y"], "|"),
        (["a,b", '"x;y",1', '"u;v;w",2'], ","),
        (["name, first;score", "Otto;1", "Emil;2"], ";"),
        (["a", "1", "2"], ","),
        ([], ","),
    ],
)
def test_separators(lines, sep):
    assert find_separator(lines) == sep


@pytest.mark.parametrize(
    ("lines", "sep", "decimal"),
    [
        (["a;b", "1,5;x", "2,25;y"], ";", ","),
        (["a;b", "1.5;x", "2.25;y"], ";", "."),
        (["a;b", "1.234,5;x"], ";", ","),
        (["a;b", "1;2"], ";", "."),
        (["a,b", "1,5"], ",", "."),
    ],
)
def test_decimal_signs(lines, sep, decimal):
    assert find_decimal(lines, sep) == decimal


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-32", "utf-32"),
        ("cp1252", "cp1252"),
        ("latin-1", "cp1252"),
    ],
)
def test_encodings(tmp_path, encoding, found):
    frame = pupils(8).assign(sex="männlich", größe=np.arange(8) % 3)
    path = tmp_path / "a.csv"
    frame.to_csv(path, index=False, encoding=encoding, sep=";", decimal=",")
    assert find_encoding(path) == found
    source = opened(path)
    pd.testing.assert_frame_equal(source.frame(None), frame)
    assert ("encoding" in source.notes[0]) == (found != "utf-8")
    assert source.notes[0].startswith("Read with semicolons between columns, decimal")


def test_what_is_plain_is_not_told(tmp_path):
    pupils(8).to_csv(tmp_path / "a.csv", index=False)
    assert opened(tmp_path / "a.csv").notes == []


def test_bytes_of_no_western_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"a,b\n\x81\xe4,1\n")
    assert find_encoding(tmp_path / "a.csv") == "latin-1"


def test_what_is_given_counts(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a;b\n1,5;2\n", encoding="utf-8")
    frame = opened(path, sep=",", decimal=".").frame(None)
    assert list(frame) == ["a;b"]
    path.write_text("a\tb\n1\t2\n", encoding="utf-8")
    assert list(opened(path, sep="tab").frame(None)) == ["a", "b"]
    with pytest.raises(ValueError, match="--sep must be one sign"):
        opened(path, sep="::")
    with pytest.raises(ValueError, match="no encoding 'utf-9'"):
        opened(path, encoding="utf-9")


def test_packed_text(tmp_path):
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        pupils(8).to_csv(file, index=False)
    pd.testing.assert_frame_equal(
        opened(tmp_path / "a.csv.gz").frame(None), pupils(8), check_exact=False
    )


def test_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pupils(8).to_parquet(path)
    pd.testing.assert_frame_equal(opened(path).frame("school"), pupils(8))
    with pytest.raises(ValueError, match="--sep goes with a text file"):
        opened(path, sep=";")
    path.write_bytes(b"no table at all")
    with pytest.raises(ValueError, match="is no Parquet file"):
        opened(path)


def test_excel(tmp_path):
    pytest.importorskip("openpyxl", reason="the extra excel is not installed")
    path = tmp_path / "a.xlsx"
    pupils(8).to_excel(path, index=False)
    pd.testing.assert_frame_equal(
        opened(path).frame("school"), pupils(8), check_exact=False
    )
    path.write_bytes(b"no table at all")
    with pytest.raises(ValueError, match="is no Excel file"):
        opened(path).frame("school")


def test_excel_without_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(ImportError, match=r'pip install "scikit-multitask\[excel\]"'):
        opened(tmp_path / "a.xlsx").frame("school")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"", "is no CSV table: No columns to parse"),
        (b"\x00\x01\x02", "is no CSV table: it does not hold text"),
        (b'a,b\n"1,2\n3', "is no CSV table"),
        (b"a,b\n1,2\n1,2,3\n", "is no CSV table: Error tokenizing"),
        (b"score,school\n", "has no rows below its header"),
    ],
)
def test_bad_files(shell, tmp_path, content, words):
    path = tmp_path / "pupils.csv"
    if content is not None:
        path.write_bytes(content)
    named = ["--target", "score", "--task", "school"]
    code, out, err = shell.run("compare", path, *named)
    assert code == 2 and out == "" and words in err and is_sentence(err)


def test_a_folder_as_file(shell, tmp_path):
    code, _, err = shell.run("compare", tmp_path, "--target", "a", "--task", "b")
    assert code == 2 and is_sentence(err)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_batches(tmp_path, kind):
    frame = pupils(2400)
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    assert opened(path, memory=1e9).share() == 1.0
    source = opened(path, memory=1e5)
    assert 0.0 < source.share() < 0.5
    pieces = list(source.batches("school"))
    assert len(pieces) > 3
    whole = pd.concat(pieces, ignore_index=True)
    pd.testing.assert_frame_equal(whole, frame, check_exact=False)
