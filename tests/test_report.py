"""The report says what the model and the comparison say, in every form alike."""

import inspect
import json
import pickle
import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from cases import ESTIMATORS, quick
from numpy.testing import assert_allclose
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mtlearn
from mtlearn import (
    BestSharing,
    MultiTaskAdditiveClassifier,
    MultiTaskAdditiveRegressor,
    MultiTaskBayesianClassifier,
    MultiTaskBayesianRidge,
    PerTaskClassifier,
    PerTaskRegressor,
    PerTaskRegressorCV,
)
from mtlearn.compose import features_only
from mtlearn.inspection import compare_sharing
from mtlearn.report import TaskReport, make_report, page, pictures
from mtlearn.report.checks import CHECKS, SEVERITIES
from mtlearn.report.words import GUIDE, cut, decimals, fixed, listed, number, width

DOCS = Path(__file__).parents[1] / "docs"
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"><svg onload='a()'>",
    "{{ 7 * 7 }} {% raw %} ${x}",
    "a|b `c` *d* [e](http://f) # g\\h",
    "two\nlines\ttab\x00nul",
    "\u05d1\u05d9\u05ea \u05e1\u05e4\u05e8",
    "\u6771\u4eac\u90fd\u7acb\u9ad8\u7b49\u5b66\u6821" * 4,
    "x" * 5000,
    "&amp;&#60;",
    " ",
    "\ud800",
)


def rows(ids=None, n_rows=30, spread=0.3, seed=0):
    """A frame of three features and the ids, and labels with a name."""
    rng = np.random.default_rng(seed)
    ids = [f"shop {chr(65 + t)}" for t in range(12)] if ids is None else ids
    codes = rng.permutation(np.repeat(np.arange(len(ids)), n_rows))
    X = pd.DataFrame(rng.normal(size=(len(codes), 3)), columns=["price", "ad", "rain"])
    slope = np.array([1.0, -1.0, 0.5]) + spread * rng.normal(size=(len(ids), 3))
    y = (X.to_numpy() * slope[codes]).sum(axis=1) + rng.normal(size=len(ids))[codes]
    X["shop"] = np.array(ids, dtype=object)[codes]
    return X, pd.Series(y + rng.normal(size=len(y)), name="sales")


@cache
def fitted(kind=MultiTaskBayesianRidge):
    X, y = rows()
    if is_classifier(kind()):
        y = y > y.median()
    return kind(task_column="shop").fit(X, y)


@cache
def compared():
    X, y = rows(spread=0.0)
    y = y.where(X["shop"] != "shop D", -y)
    model = PerTaskRegressor(task_column="shop")
    return compare_sharing(model, X, y, strategies=["pooled_offset"])


@cache
def whole():
    """A report of everything there is."""
    return make_report(
        fitted(MultiTaskAdditiveRegressor),
        *rows(),
        comparison=compared(),
        reading=["Three columns were read.", "<b>None</b> was left out."],
        title="Shops & sales",
    )


# ---------------------------------------------------------------- the page, parsed


class Page(HTMLParser):
    """Elements and texts of a page; fails where tags are not closed in order."""

    EMPTY = ("meta", "link", "input", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)

    def of(self, tag):
        return [attrs for one, attrs in self.elements if one == tag]

    @property
    def text(self):
        return " ".join("".join(self.texts).split())


def codes(report):
    return [check["code"] for check in report.to_dict()["checks"]]


# ---------------------------------------------------------------- one dict


def test_every_form_is_of_one_dict():
    report = whole()
    contents = report.to_dict()
    assert json.loads(report.to_json()) == contents
    text, words = Page(report.to_html()).text, report.to_markdown()
    assert "Shops & sales" in text and "# Shops &amp; sales" in words
    for sentence in [*contents["verdict"][1:], *contents["variances"]["sentences"]]:
        assert sentence in text
        assert sentence in words.replace("\\", "")
    for check in contents["checks"]:
        assert check["sentence"] in text and check["sentence"] in words
    assert "<b>None</b> was left out." in text
    assert "&lt;b&gt;None&lt;/b&gt; was left out." in words


def test_the_dict_is_a_copy():
    whole().to_dict()["tasks"]["task"].clear()
    assert len(whole().to_dict()["tasks"]["task"]) == 12


def test_gains_are_those_of_the_comparison():
    contents, table = whole().to_dict(), compared().table
    tasks = pd.DataFrame(contents["tasks"]).set_index("task")
    table = table.set_index("task").loc[tasks.index]
    assert (np.diff(tasks["gain"]) <= 0).all()
    for name in ("gain", "standard_error", "expected_gain"):
        assert_allclose(tasks[name], table[name], rtol=1e-5)
    assert_allclose(tasks["score_pooled_offset"], table["pooled_offset"], rtol=1e-5)
    assert (tasks["verdict"] == table["verdict"]).all()
    assert (tasks["rows"] == table["n_samples"]).all()
    sharing = contents["sharing"]
    hurt = table.index[table["verdict"] == "hurt by sharing"].tolist()
    assert sharing["hurt"] == hurt == ["shop D"]
    assert sum(sharing["counts"].values()) == 12
    assert_allclose(
        sharing["strategies"]["overall"],
        compared().summary.loc["overall", list(compared().strategies)],
        rtol=1e-5,
    )
    # the answer comes first, with the name of the labels
    assert contents["verdict"] == compared().sentences("sales")
    assert " ".join(contents["verdict"]) == compared().verdict("sales")


def test_levels_and_effects_are_those_of_the_model():
    model = fitted()
    contents = model.report(*rows()).to_dict()
    table = model.task_effects()
    level = table[table["effect"] == "intercept"].set_index("task")
    tasks = pd.DataFrame(contents["tasks"]).set_index("task")
    assert_allclose(tasks["level"], level["estimate"].loc[tasks.index], rtol=1e-5)
    assert_allclose(tasks["level_lower"], level["lower"].loc[tasks.index], rtol=1e-5)
    for effect in contents["effects"]:
        own = table[table["effect"] == effect["effect"]]
        assert set(effect["above"]) == set(own["task"][own["lower"] > 0])
        assert set(effect["below"]) == set(own["task"][own["upper"] < 0])
        assert effect["task"] == own["task"].tolist()
        assert_allclose(effect["upper"], own["upper"], rtol=1e-5)
    assert contents["effects"][0]["effect"] == "intercept"
    assert "lie above" in contents["verdict"][0]


def test_coefficients_and_variances_are_those_of_the_summary():
    model = fitted()
    contents, summary = model.report().to_dict(), model.summary()
    for name in ("estimate", "standard_error", "lower", "upper"):
        expected = summary.coefficients[name]
        assert_allclose(contents["coefficients"][name], expected, rtol=1e-5)
    assert_allclose(
        contents["variances"]["deviation"], summary.variances["deviation"], rtol=1e-5
    )
    told = " ".join(contents["variances"]["sentences"])
    D, noise = model.covariance_[-1, -1], model.noise_variance_
    assert f"A typical task lies {D**0.5:.3g} " in told
    assert f"So {100 * D / (D + noise):.2g} %" in told


def test_variances_of_zero_are_said_to_be_none():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(400, 2)), columns=["used", "useless"])
    y = X["used"] + rng.normal(size=400)
    model = MultiTaskBayesianRidge().fit(X, y, task=np.arange(400) % 20)
    told = " ".join(model.report().to_dict()["variances"]["sentences"])
    D = dict(zip(["used", "useless", "intercept"], np.diag(model.covariance_)))
    assert D["used"] == 0 and D["intercept"] == 0
    assert "The tasks do not differ in level." in told
    assert "The same in all tasks: used" in told


def test_curves_are_those_of_the_model():
    model = fitted(MultiTaskAdditiveRegressor)
    curves = whole().to_dict()["curves"]
    assert {one["feature"] for one in curves} == {"price", "ad", "rain"}
    for one in curves:
        there = model.curve(one["feature"], one["x"])
        assert_allclose(one["shared"], there.shared, rtol=1e-3, atol=1e-4)
        half = (np.array(one["upper"]) - one["lower"]) / 2
        assert_allclose(half, 1.96 * there.standard_error, rtol=1e-3, atol=1e-4)
        assert (np.array(one["tasks_low"]) <= one["tasks_high"]).all()
    sizes = [np.std(one["shared"]) for one in curves]
    assert sizes == sorted(sizes, reverse=True)


def test_levels_of_a_category_are_drawn():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"kind": rng.choice(["tea", "milk", "ale"], 300)})
    y = X["kind"].map({"tea": 0.0, "milk": 2.0, "ale": -1.0}) + rng.normal(size=300)
    model = MultiTaskAdditiveRegressor().fit(X, y, task=np.arange(300) % 6)
    report = model.report()
    (one,) = report.to_dict()["curves"]
    assert one["kind"] == "levels" and set(one["x"]) == {"tea", "milk", "ale"}
    assert "milk" in Page(report.to_html()).text


# ---------------------------------------------------------------- what may be absent


@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("compare", [False, True])
@pytest.mark.parametrize("kind", [None, MultiTaskBayesianRidge, PerTaskRegressor])
def test_parts_are_optional(kind, compare, data):
    if kind is None and not compare:
        with pytest.raises(ValueError, match="`estimator` or a `comparison`"):
            make_report()
        return
    X, y = rows()
    model = None if kind is None else fitted(kind)
    task = X["shop"] if kind is None and data else None
    report = make_report(
        model,
        *((X, y) if data else ()),
        task=task,
        comparison=compared() if compare else None,
    )
    contents, text = report.to_dict(), Page(report.to_html()).text
    assert (contents["sharing"] is not None) == compare
    assert (contents["data"] is not None) == data
    assert (contents["model"] is not None) == (kind is not None)
    assert ("Does sharing help?" in text) == compare
    assert ("How much the tasks differ" in text) == (kind is MultiTaskBayesianRidge)
    assert ("leakage" in contents["checked"]) == data
    assert ("grid_edge" in contents["checked"]) == (kind is not None)
    assert contents["verdict"][0] and len(contents["tasks"]["task"]) == 12
    assert report.to_markdown().startswith("# ")


def test_methods_make_the_same_report():
    X, y = rows()
    model = fitted()
    assert model.report(X, y).to_dict() == make_report(model, X, y).to_dict()
    assert compared().report("t").to_dict() == (
        make_report(comparison=compared(), title="t").to_dict()
    )
    for estimator in (*ESTIMATORS, BestSharing):
        parameters = inspect.signature(estimator.report).parameters
        assert list(parameters) == ["self", "X", "y", "task"]


def test_the_interface():
    told = str(inspect.signature(make_report))
    assert told == (
        "(estimator=None, X=None, y=None, *, task=None, comparison=None, "
        "reading=None, title=None)"
    )


@pytest.mark.parametrize(
    "how, kind, words",
    [
        ({"estimator": StandardScaler()}, TypeError, "`estimator` must be a fitted"),
        ({"estimator": "ridge"}, TypeError, "`estimator` must be a fitted"),
        ({"comparison": "better"}, TypeError, "what compare_sharing returns"),
        ({"estimator": fitted, "X": rows()[0]}, ValueError, "y is missing"),
        ({"estimator": fitted, "y": rows()[1]}, ValueError, "X is missing"),
        ({"estimator": fitted, "reading": "one"}, TypeError, "`reading` must be"),
        (
            {"estimator": fitted, "X": rows()[0], "y": [1.0]},
            ValueError,
            "X has 360 rows, but y has 1 labels",
        ),
        (
            {"estimator": fitted, "X": rows()[0], "y": rows()[1], "task": [0] * 360},
            ValueError,
            "came twice",
        ),
    ],
)
def test_bad_arguments_get_a_sentence(how, kind, words):
    if how.get("estimator") is fitted:
        how = how | {"estimator": fitted()}
    with pytest.raises(kind, match=words):
        make_report(**how)


def test_unfitted_estimators_are_refused():
    with pytest.raises(NotFittedError):
        make_report(PerTaskRegressor())


# ---------------------------------------------------------------- every estimator


@pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda one: one.__name__)
def test_every_estimator_has_a_report(kind, long_regression, long_classification):
    p = long_classification if is_classifier(kind()) else long_regression
    model = quick(kind).fit(p.X, p.y, task=p.task)
    X = p.X.copy()
    report = model.report(p.X, p.y, task=p.task)
    assert (p.X == X).all()
    contents = report.to_dict()
    assert contents["model"]["estimator"] == kind.__name__
    assert "few_rows" in codes(report)  # "mid" has two
    assert "not_converged" not in codes(report)
    assert ("one_class" in codes(report)) == is_classifier(model)
    assert hasattr(model, "coefs_") == (contents["coefficients"] is None)
    Page(report.to_html())
    assert set(contents["tasks"]["task"]) == set(p.tasks.tolist())


def test_best_sharing_says_who_has_which_strategy():
    X, y = rows()
    model = BestSharing(strategies=["learned"], task_column="shop").fit(X, y)
    tasks = model.report(X, y).to_dict()["tasks"]
    assert dict(zip(tasks["task"], tasks["strategy"])) == (
        dict(zip(model.tasks_.tolist(), model.choice_.tolist()))
    )


@pytest.mark.parametrize(
    "kind",
    [MultiTaskBayesianClassifier, MultiTaskAdditiveClassifier, PerTaskClassifier],
)
def test_more_than_two_classes(kind, long_multiclass):
    p = long_multiclass
    report = kind().fit(p.X, p.y, task=p.task).report(p.X, p.y, task=p.task)
    contents = report.to_dict()
    assert contents["data"]["classes"] == ["a", "b", "c"]
    assert set(contents["coefficients"]["class"]) == {"a", "b", "c"}
    assert "a: x0" in Page(report.to_html()).text


@pytest.mark.parametrize("kind", [MultiTaskBayesianRidge, MultiTaskBayesianClassifier])
def test_columns_of_labels(kind, wide_regression, wide_classification):
    p = wide_classification if is_classifier(kind()) else wide_regression
    report = kind().fit(p.X, p.Y).report(p.X, p.Y)
    data = report.to_dict()["data"]
    assert (data["rows"], data["tasks"]) == (30, 5)
    assert data["labels"] == np.isfinite(p.Y).sum()
    assert "few_rows" in codes(report)


@pytest.mark.parametrize("container", ["list", "array", "polars", "arrow", "sparse"])
def test_containers(container):
    X, y = rows()
    bare = X[["price", "ad", "rain"]].to_numpy()
    given, column, task = {
        "list": lambda: (X.to_numpy().tolist(), 3, None),
        "array": lambda: (bare, None, X["shop"].to_numpy()),
        "polars": lambda: (pl.DataFrame(X.to_dict("list")), "shop", None),
        "arrow": lambda: (pl.DataFrame(X.to_dict("list")).to_arrow(), "shop", None),
        "sparse": lambda: (sp.csr_array(bare), None, X["shop"].tolist()),
    }[container]()
    extra = {} if task is None else {"task": task}
    model = MultiTaskBayesianRidge(task_column=column).fit(given, y, **extra)
    contents = model.report(given, y, **extra).to_dict()
    expected = fitted().report(*rows()).to_dict()
    assert contents["data"] == expected["data"]
    assert contents["tasks"] == expected["tasks"]
    assert contents["checks"] == []


def test_steps_before_the_model_are_applied():
    X, y = rows()
    scaler = features_only(StandardScaler(), "shop")
    model = make_pipeline(scaler, MultiTaskBayesianRidge(task_column="shop")).fit(X, y)
    contents = make_report(model, X.assign(price=X["price"]), y).to_dict()
    assert contents["model"]["steps_before"] == ["FeaturesOnly"]
    assert contents["data"]["tasks"] == 12
    assert contents["coefficients"]["effect"][:3] == ["price", "ad", "rain"]


def test_a_single_task():
    X, y = rows()
    report = MultiTaskBayesianRidge().fit(X[["price"]], y).report(X[["price"]], y)
    assert "1 task" in report.to_markdown()
    Page(report.to_html())


def test_where_nobody_lies_apart_one_sentence_says_so():
    rng = np.random.default_rng(0)
    X, task = rng.normal(size=(300, 2)), np.arange(300) % 10
    y = np.array(["a", "b", "c"])[rng.integers(0, 3, 300)]
    for covariance in ("intercept", "diag"):
        model = MultiTaskBayesianClassifier(covariance).fit(X, y, task=task)
        report = model.report()
        assert (
            report.to_dict()["verdict"][0] == "No task lies clearly apart in its level."
        )
        assert "No task lies clearly apart in its level" in report.to_markdown()
        Page(report.to_html())


# ---------------------------------------------------------------- hostile names


def test_whatever_names_are_they_stay_text():
    X, y = rows(ids=list(HOSTILE[:-1]))
    X.columns = [*HOSTILE[:3], "shop"]
    y.name = HOSTILE[1]
    model = MultiTaskBayesianRidge(task_column="shop").fit(X, y)
    plain = PerTaskRegressor(task_column="shop")
    comparison = compare_sharing(plain, X, y, strategies=["pooled"])
    report = make_report(
        model, X, y, comparison=comparison, reading=HOSTILE, title=HOSTILE[0]
    )
    html = report.to_html()
    parsed, clean = Page(html), Page(whole().to_html())
    assert len(parsed.of("script")) == 1 and not parsed.of("img")
    assert {tag for tag, _ in parsed.elements} <= {tag for tag, _ in clean.elements}
    names = {name for _, attrs in parsed.elements for name in attrs}
    assert not [name for name in names if name.startswith("on")]
    assert "{{ 7 * 7 }}" in parsed.text and "x" * 100 not in "".join(
        parsed.texts[: parsed.texts.index("How the data were read")]
    )
    html.encode("utf-8")
    assert "\x00" not in html
    json.loads(report.to_json().encode("utf-8"))
    framed = Page(report._repr_html_())
    assert [tag for tag, _ in framed.elements] == ["iframe"]
    assert framed.of("iframe")[0]["srcdoc"] == html
    assert "allow-same-origin" not in framed.of("iframe")[0]["sandbox"]


def test_markdown_keeps_its_tables():
    X, y = rows(ids=list(HOSTILE[:-1]))
    words = MultiTaskBayesianRidge(task_column="shop").fit(X, y).report(X, y)
    words = words.to_markdown()
    assert "<script" not in words and "<img" not in words
    for table in re.findall(r"(?:^\|.*\n)+", words, re.M):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(bars) == 1


def test_numbers_and_names():
    assert number(1234567) == "1,234,567" and number(None) == "\u2013"
    assert number(-0.012345) == "\u22120.0123"
    assert decimals([0.0123, 0.04, None, 0.0]) == 4 and decimals([]) == 0
    assert fixed(-1.5, 2) == "\u22121.50" and fixed(1e12, 2) == "1e+12"
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c"
    assert listed("abcdefgh", 3) == "a, b, c and 5 more"
    for name in HOSTILE:
        assert width(cut(name, 20)) <= 20
    one, other = "long " * 20 + "1", "long " * 20 + "2"
    assert cut(one, 20) != cut(other, 20)


# ---------------------------------------------------------------- the page


def test_the_page_needs_nothing_from_elsewhere():
    html = whole().to_html()
    assert "http" not in html and "url(" not in html and "@import" not in html
    assert [a["href"] for a in Page(html).of("link")] == ["data:,"]
    assert not [a for _, a in Page(html).elements if "src" in a]


def test_the_page_can_be_read_by_machines():
    html = whole().to_html()
    parsed = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert parsed.of("html") == [{"lang": "en"}]
    for tag in ("h1", "main", "title", "header", "footer"):
        assert len(parsed.of(tag)) == 1
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in parsed.elements:
        for name in ("aria-labelledby", "for"):
            assert attrs.get(name, ids[0]) in ids
    assert parsed.of("a")[0]["href"].removeprefix("#") in ids
    for attrs in parsed.of("svg"):
        assert attrs.get("aria-label") or attrs.get("aria-hidden") == "true"
    for attrs in parsed.of("th"):
        assert attrs["scope"] in ("row", "col")
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and max(np.diff(levels)) <= 1


def test_what_pictures_are_called_is_true():
    contents = whole().to_dict()
    tasks = pd.DataFrame(contents["tasks"])
    tasks = tasks[tasks["verdict"] != "too few rows to say"]
    labels = [a.get("aria-label", "") for a in Page(whole().to_html()).of("svg")]
    (gain,) = [label for label in labels if label.startswith("Gain")]
    first, last = tasks.iloc[0], tasks.iloc[-1]
    places = decimals(tasks["gain"])
    assert f"of {len(tasks)} tasks" in gain
    assert f"from {fixed(first['gain'], places)} ({first['task']})" in gain
    assert f"to {fixed(last['gain'], places)} ({last['task']})" in gain
    (shares,) = [label for label in labels if ": " in label and " tasks" in label]
    for verdict, n in contents["sharing"]["counts"].items():
        assert (f"{verdict}: {n} tasks" in shares) == (n > 0)


def test_all_tasks_are_in_the_table():
    html = whole().to_html()
    for name in whole().to_dict()["tasks"]["task"]:
        assert f"<bdi>{name}</bdi>" in html


def test_two_thousand_tasks_stay_small():
    ids = [f"{'region ' * 10}{t:04d} <{'sensor' * 5}>" for t in range(2000)]
    X, y = rows(ids, n_rows=3)
    held = compare_sharing(
        PerTaskRegressor(task_column="shop"), X, y, cv=2, strategies=["pooled"]
    )
    model = MultiTaskBayesianRidge("intercept", task_column="shop").fit(X, y)
    report = make_report(model, X, y, comparison=held)
    html = report.to_html()
    assert len(html.encode()) < 1_000_000
    assert html.count('<th scope="row"><bdi>') == 2000
    assert html.count("<svg") < 20 and html.count("<circle") < 150
    assert len(pickle.dumps(report)) < 1_000_000
    assert len(report.to_markdown()) < 20_000


@pytest.mark.parametrize(
    "low, high, texts",
    [
        (-7.2, 4.1, "-5.0 -2.5 0.0 2.5"),
        (0.0, 0.31, "0.0 0.1 0.2 0.3"),
        (-0.011, 0.014, "-0.010 -0.005 0.000 0.005 0.010"),
        (120.0, 5400.0, "2,000 4,000"),
        (3e7, 9e7, "4e+07 6e+07 8e+07"),
        (0.0, 3e-9, "0 1e-09 2e-09 3e-09"),
    ],
)
def test_ticks_are_what_they_say(low, high, texts):
    ticks = pictures._ticks(low, high)
    marks = pictures._tick_marks(ticks, lambda value: value)
    told = [mark["text"].replace("\u2212", "-") for mark in marks]
    assert " ".join(told) == texts
    for mark, text in zip(marks, told):
        assert float(text.replace(",", "")) == pytest.approx(mark["at"], rel=0.01)


# ---------------------------------------------------------------- files, pickles


def test_files(tmp_path):
    report = whole()
    for name, text in (
        ("a.html", report.to_html()),
        ("a.json", report.to_json()),
        ("a.MD", report.to_markdown()),
    ):
        path = report.save(tmp_path / name)
        assert path.read_text(encoding="utf-8") == text
        assert report.save(str(path)) == path
    with pytest.raises(ValueError, match=r"must end in \.html, \.json, \.md, got"):
        report.save(tmp_path / "a.pdf")


def test_reports_are_pickled_without_the_data():
    report = whole()
    stored = pickle.dumps(report)
    assert pickle.loads(stored).to_html() == report.to_html()
    assert len(stored) < 30_000
    assert repr(report) == "TaskReport('Shops & sales')"
    assert TaskReport(report.to_dict()).to_json() == report.to_json()


def test_where_jinja2_is_missing_a_sentence_names_the_extra(monkeypatch):
    page._template.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r'pip install "scikit-multitask\[report\]"'):
        whole().to_html()
    assert whole().to_markdown() and whole().to_json()


# ---------------------------------------------------------------- checks


def typos(X, y):
    name = X["shop"].replace("shop A", "market hall")
    few = name.index[name == "market hall"][:5]
    name.loc[few] = "markte hall"
    return X.assign(shop=name), y


def dated(X, y):
    return X.assign(day=np.arange(len(X)) / 7.0), y


def within_tasks(X, y):
    X = X.sort_values("shop", kind="stable").reset_index(drop=True)
    return X.assign(week=X.groupby("shop").cumcount()), y


def few(X, y):
    keep = (X["shop"] != "shop C") | (X.groupby("shop").cumcount() < 3)
    return X[keep], y[keep]


def large(X, y):
    many = X["shop"] == "shop C"
    return (
        pd.concat([X, *[X[many]] * 25], ignore_index=True),
        pd.concat([y, *[y[many] + 0.1 * k for k in range(25)]], ignore_index=True),
    )


def coded(X, y):
    return X.assign(code=(y - 3 * (X["shop"] == "shop A")) * 7 + 1), y


def told_by_text(X, y):
    return X.assign(kind=np.where(y > 0, "up", "down")), (y > 0).astype(float)


def alone(X, y):
    y = y > y.median()
    return X, y.where(X["shop"] != "shop A", True)


def many_features(X, y):
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.normal(size=(len(X), 1001)))
    return wide.add_prefix("f").assign(shop=X["shop"]), y


def opened(X, y):
    size = X["shop"].map(ord_of_last) + 0.5
    return X.assign(size=size), y


def ord_of_last(name):
    return ord(name[-1])


LINES = PerTaskRegressor(task_column="shop")
STRONG = PerTaskRegressorCV([1e6, 1e7], correlations=None, task_column="shop")
PLANTED = {
    "suspicious_id": (typos, LINES, ["markte hall"]),
    "time_like": (dated, LINES, ["day"]),
    "time_like, within tasks": (within_tasks, LINES, ["week"]),
    "few_rows": (few, LINES, ["shop C"]),
    "imbalanced_tasks": (large, LINES, ["shop C"]),
    "leakage": (lambda X, y: (X.assign(copy=3 - y), y), LINES, ["copy"]),
    "leakage, but for levels": (coded, LINES, ["code"]),
    "leakage, of classes": (
        lambda X, y: (X.assign(copy=y**3), y > 0.3),
        PerTaskClassifier(task_column="shop"),
        ["copy"],
    ),
    "leakage, by a text": (
        told_by_text,
        MultiTaskAdditiveRegressor(task_column="shop"),
        ["kind"],
    ),
    "one_class": (alone, PerTaskClassifier(task_column="shop"), ["shop A"]),
    "constant_feature": (lambda X, y: (X.assign(one=1.0), y), LINES, ["one"]),
    "constant_within_tasks": (opened, LINES, ["size"]),
    "many_features": (many_features, LINES, []),
    "grid_edge": (lambda X, y: (X, y), STRONG, ["alpha"]),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_check_finds_what_is_planted(name):
    code = name.partition(",")[0]
    plant, model, about = PLANTED[name]
    X, y = plant(*rows())
    report = model.fit(X, y).report(X, y)
    found = {check["code"]: check for check in report.to_dict()["checks"]}
    assert set(found) == {code}
    assert found[code]["about"] == about
    assert found[code]["severity"] == CHECKS[code][0]
    for one in about:
        assert one in found[code]["sentence"]
    assert re.fullmatch(r"[^\n]+[.?]", found[code]["sentence"])


def test_a_model_that_has_not_converged_is_told():
    X, y = rows()
    with pytest.warns(UserWarning, match="did not converge"):
        model = PerTaskClassifier(task_column="shop", max_iter=1).fit(X, y > 0)
    assert codes(model.report()) == ["not_converged"]


def test_dates_are_found_before_a_step_makes_numbers_of_them():
    X, y = rows()
    day = np.datetime64("2024-01-01") + np.random.default_rng(0).integers(0, 99, len(X))
    X = X.assign(day=day)

    class Model(MultiTaskBayesianRidge):
        def fit(self, X, y):
            return super().fit(X.drop(columns="day"), y)

    model = Model(task_column="shop").fit(X, y)
    report = make_report(model, X, y).to_dict()
    assert [(c["code"], c["about"]) for c in report["checks"]] == [
        ("time_like", ["day"])
    ]


def test_every_check_is_planted_and_told_of_in_the_guide():
    planted = {name.partition(",")[0] for name in PLANTED} | {"not_converged"}
    assert planted == set(CHECKS)
    told = (DOCS / "guide" / "report.rst").read_text(encoding="utf-8")
    for code, (severity, guide, _, _) in CHECKS.items():
        assert f"``{code}``" in told
        assert severity in SEVERITIES and guide in GUIDE


@pytest.mark.parametrize("classes", [False, True])
def test_nothing_is_found_in_clean_data(classes):
    X, y = rows()
    model = fitted(MultiTaskBayesianClassifier if classes else MultiTaskBayesianRidge)
    report = model.report(X, y > y.median() if classes else y)
    assert codes(report) == []
    assert set(report.to_dict()["checked"]) == set(CHECKS)
    assert "found nothing" in Page(report.to_html()).text


def test_sorted_rows_are_no_time():
    # by a feature of few values, or by the ids: nothing follows the order of the rows
    X, y = rows()
    X = X.assign(kind=(X["rain"] > 0).astype(float), shop=X["shop"])
    order = X.sort_values(["shop", "kind"]).index
    X, y = X.loc[order].reset_index(drop=True), y.loc[order].reset_index(drop=True)
    model = LINES.fit(X, y)
    assert codes(model.report(X, y)) == []


def test_the_gravest_comes_first():
    X, y = rows()
    X = X.assign(copy=y, one=1.0, day=np.arange(len(X)) / 7.0)
    found = LINES.fit(X, y).report(X, y).to_dict()["checks"]
    assert [one["severity"] for one in found] == ["problem", "warning", "info"]


def test_pages_that_are_named_are_there():
    for name, title in GUIDE.items():
        text = (DOCS / f"{name}.rst").read_text(encoding="utf-8")
        heading = re.search(r"^(.+)\n=+$", text, re.M)
        assert heading.group(1) == title


def test_published_pages_become_links(monkeypatch):
    X, y = rows()
    report = LINES.fit(X.assign(one=1.0), y).report(X.assign(one=1.0), y)
    assert len(Page(report.to_html()).of("a")) == 1
    address = "https://mtlearn.test/docs/"
    monkeypatch.setattr("mtlearn.report.words.documentation", lambda: address)
    (_, link) = Page(report.to_html()).of("a")
    assert link["href"] == "https://mtlearn.test/docs/guide/report.html"
    assert link["rel"] == "noopener"
    assert "(https://mtlearn.test/docs/guide/report.html)" in report.to_markdown()


def test_the_version_is_named():
    assert whole().to_dict()["version"] == mtlearn.__version__
