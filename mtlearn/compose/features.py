"""Transformers that leave the column of task ids alone.

A scaler that runs over integer ids makes wrong tasks of them, and most transformers
return arrays without names. What is built here takes the id column out, transforms the
others, and puts the ids back where the estimator's `task_column` finds them.
"""

import numbers

import numpy as np
import scipy.sparse as sp
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import check_is_fitted, validate_data

from ..fitting.whole import WholeFit
from ..problem.ids import column_names, split_task_column


def features_only(transformer, task_column):
    """Apply a transformer to every column but the one of task ids.

    Made for the pipeline ``make_pipeline(features_only(StandardScaler(),
    task_column="school"), PerTaskRegressor(task_column="school"))``: the same
    `task_column` fits both, before and after.

    Parameters
    ----------
    transformer : transformer or "passthrough"
        Sees X without the id column. A pipeline of several is one, too.
    task_column : str or int
        Name or position of the column of X that holds the task ids.

    Returns
    -------
    FeaturesOnly
        To be fitted; its own parameters are reached as `transformer__...`.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> X = [["north", 1.0], ["south", 3.0]]
    >>> features_only(StandardScaler(), task_column=0).fit_transform(X)
    array([['north', -1.0],
           ['south', 1.0]], dtype=object)
    """
    return FeaturesOnly(transformer, task_column=task_column)


class FeaturesOnly(WholeFit, TransformerMixin, BaseEstimator):
    """A transformer on every column but the one of task ids; see `features_only`.

    Parameters
    ----------
    transformer : transformer or "passthrough"
        Sees X without the id column; it is cloned, not changed.
    task_column : str or int
        Name or position of the column of X that holds the task ids.

    Attributes
    ----------
    transformer_ : transformer
        The fitted clone.
    n_features_in_ : int
        Number of columns, the id column included.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, if all are strings.

    Raises
    ------
    TypeError
        If `transformer` cannot transform, or `task_column` is no name and no position.
    ValueError
        If there is no such column, if the transformer makes a column of its name, if
        too few columns come out for the position to exist, or if ids and features do
        not fit into one container.

    Notes
    -----
    *Frames* (pandas, polars, pyarrow) come out as they came in, with the ids unchanged
    under their own name. A transformer that returns arrays has its columns named by its
    `get_feature_names_out`; a sparse result becomes a pandas frame of sparse columns.

    *Arrays and sparse matrices* come out as such. They have no names, so the ids are
    put where the position `task_column` points in the result: column 0 stays column 0
    and column -1 the last, however many features come out, and any other position holds
    as long as enough come out. Numeric ids keep the result numeric; strings make it an
    array of objects, which a sparse result cannot be.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.preprocessing import StandardScaler
    >>> X = pd.DataFrame({"intake": [1.0, 3.0], "school": [12, 7]})
    >>> FeaturesOnly(StandardScaler(), task_column="school").fit_transform(X)
       intake  school
    0    -1.0      12
    1     1.0       7
    """

    def __init__(self, transformer, task_column):
        self.transformer = transformer
        self.task_column = task_column

    def fit(self, X, y=None, **params):
        """Fit the transformer to the features.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_columns)
            Features and task ids.
        y : array-like, default=None
            Handed to the transformer.
        **params : dict
            Handed to the transformer's `fit`, by metadata routing if it is enabled.

        Returns
        -------
        FeaturesOnly
            Fitted.
        """
        model = self._unfitted()
        features, _ = model._start(X)
        model.transformer_.fit(features, y, **model._routed("fit", params))
        return self._become(model)

    def fit_transform(self, X, y=None, **params):
        """Fit the transformer to the features and transform them.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_columns)
            Features and task ids.
        y : array-like, default=None
            Handed to the transformer.
        **params : dict
            Handed to the transformer's `fit_transform`, by metadata routing if it is
            enabled.

        Returns
        -------
        array, sparse matrix or data frame of shape (n_samples, n_columns_out)
            Transformed features and unchanged ids.
        """
        model = self._unfitted()
        features, ids = model._start(X)
        params = model._routed("fit_transform", params)
        inner = model.transformer_
        if hasattr(inner, "fit_transform"):
            out = inner.fit_transform(features, y, **params)
        else:
            out = inner.fit(features, y, **params).transform(features)
        out = model._join(out, ids, X)
        self._become(model)
        return out

    def transform(self, X):
        """Transform the features and keep the ids.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_columns)
            Features and task ids.

        Returns
        -------
        array, sparse matrix or data frame of shape (n_samples, n_columns_out)
            Transformed features and unchanged ids.
        """
        check_is_fitted(self)
        features, ids = split_task_column(X, self.task_column)
        validate_data(self, X, reset=False, skip_check_array=True)
        return self._join(self.transformer_.transform(features), ids, X)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns that come out, the id column's included.

        Parameters
        ----------
        input_features : array-like of shape (`n_features_in_`,), default=None
            Names of the columns of X, for input that had none.

        Returns
        -------
        ndarray of shape (n_columns_out,)
            Names as strings.
        """
        check_is_fitted(self)
        if not hasattr(self.transformer_, "get_feature_names_out"):
            raise AttributeError(
                f"{type(self.transformer_).__name__} has no get_feature_names_out."
            )
        names = self._names_in(input_features)
        position = self._position_in(names)
        task = names.pop(position)
        out = list(self.transformer_.get_feature_names_out(names))
        out.insert(self._position_out(len(out), position), task)
        return np.asarray(out, dtype=object)

    def get_metadata_routing(self):
        """Return which metadata the transformer asks for.

        Returns
        -------
        MetadataRouter
            Of `fit` and `fit_transform`.
        """
        methods = MethodMapping().add(caller="fit", callee="fit")
        methods = methods.add(caller="fit_transform", callee="fit_transform")
        router = MetadataRouter(owner=type(self).__name__)
        return router.add(transformer=self._usable(), method_mapping=methods)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self._usable()).input_tags
        return tags

    # ---- around the inner transformer

    def _usable(self):
        if isinstance(self.transformer, str) and self.transformer == "passthrough":
            return FunctionTransformer(feature_names_out="one-to-one")
        return self.transformer

    def _start(self, X):
        """Check, clone the transformer, and return (features, ids)."""
        transformer = self._usable()
        if not (hasattr(transformer, "fit") and hasattr(transformer, "transform")):
            raise TypeError(
                "`transformer` must have fit and transform, or be 'passthrough'; got "
                f"{transformer!r}."
            )
        parts = split_task_column(X, self.task_column)
        validate_data(self, X, skip_check_array=True)
        # not all that have names here have `feature_names_in_` (pyarrow, integers)
        self._columns = column_names(X)
        self.transformer_ = clone(transformer)
        return parts

    def _routed(self, method, params):
        if params and get_config()["enable_metadata_routing"]:
            return process_routing(self, method, **params).transformer[method]
        return params

    # ---- names and places

    def _names_in(self, input_features=None):
        known = self._columns
        if input_features is None:
            input_features = known
        elif known is not None and list(input_features) != known:
            raise ValueError("`input_features` is not equal to feature_names_in_.")
        if input_features is None:
            return [f"x{j}" for j in range(self.n_features_in_)]
        if len(input_features) != self.n_features_in_:
            raise ValueError(
                f"`input_features` should have length {self.n_features_in_}, the "
                f"number of columns in fit, got {len(input_features)}."
            )
        return list(input_features)

    def _position_in(self, names):
        if isinstance(self.task_column, numbers.Integral):
            return int(self.task_column) % len(names)
        return names.index(self.task_column)

    def _position_out(self, n_out, position_in=None):
        """Where the ids go among `n_out` features; a given position must hold."""
        if not isinstance(self.task_column, numbers.Integral):
            return min(position_in, n_out)
        position = int(self.task_column)
        if not -n_out - 1 <= position <= n_out:
            raise ValueError(
                f"The ids cannot stay at position `task_column`={position}: only "
                f"{n_out} features come out of {type(self.transformer_).__name__}. Put "
                "the id column first (0) or last (-1)."
            )
        return position % (n_out + 1)

    # ---- features and ids together again

    def _join(self, out, ids, X):
        """Put the ids back beside what came out of the transformer."""
        names = column_names(X)
        if names is None:
            return _insert_in_array(out, self._position_out(out.shape[1]), ids)
        position_in = self._position_in(names)
        task = names.pop(position_in)
        if column_names(out) is None:
            out = _as_frame(out, self._names_out(names, out.shape[1]), X)
        if task in column_names(out):
            raise ValueError(
                f"{type(self.transformer_).__name__} makes a column called {task!r}, "
                "as the column of task ids is."
            )
        position = self._position_out(out.shape[1], position_in)
        return _insert_in_frame(out, position, task, ids)

    def _names_out(self, names, n_out):
        """Names for the transformer's columns, with a makeshift if it has none."""
        if hasattr(self.transformer_, "get_feature_names_out"):
            return list(self.transformer_.get_feature_names_out(names))
        if n_out == len(names):
            return names
        prefix = type(self.transformer_).__name__.lower()
        return [f"{prefix}{j}" for j in range(n_out)]


def _as_frame(out, names, like):
    """Name the columns of an array or sparse matrix, in a frame like another."""
    if hasattr(like, "iloc"):
        import pandas as pd

        make = pd.DataFrame.sparse.from_spmatrix if sp.issparse(out) else pd.DataFrame
        return make(out, index=like.index, columns=names)
    if sp.issparse(out):
        raise ValueError(
            f"The transformer returns a sparse matrix, and a {type(like).__module__} "
            "frame has no sparse columns. Set sparse_output=False in the transformer, "
            "or pass a pandas frame."
        )
    columns = {name: out[:, j] for j, name in enumerate(names)}
    return getattr(type(like), "from_pydict", type(like))(columns)


def _insert_in_frame(frame, position, name, ids):
    if hasattr(frame, "iloc"):
        frame = frame.copy(deep=False)
        values = ids.array if hasattr(ids, "array") else np.asarray(ids)
        frame.insert(position, name, values)
        return frame
    if hasattr(frame, "add_column"):
        values = ids if hasattr(ids, "to_pylist") else np.asarray(ids)
        return frame.add_column(position, name, values)
    column = type(frame)({name: ids}).to_series()
    return frame.clone().insert_column(position, column)


def _insert_in_array(out, position, ids):
    ids = np.asarray(ids)
    if ids.dtype == object and all(isinstance(i, numbers.Real) for i in ids):
        ids = np.array(ids.tolist())
    if sp.issparse(out):
        return _insert_in_sparse(out, position, ids)
    out = np.asarray(out)
    joined = np.empty((out.shape[0], out.shape[1] + 1), dtype=_joint_dtype(out, ids))
    joined[:, :position] = out[:, :position]
    joined[:, position] = ids
    joined[:, position + 1 :] = out[:, position:]
    return joined


def _insert_in_sparse(out, position, ids):
    if ids.dtype.kind not in "biuf":
        raise ValueError(
            "The transformer returns a sparse matrix, which cannot hold ids such as "
            f"{ids[0]!r}. Encode them as integers, or pass a pandas frame."
        )
    column = sp.coo_array(ids[:, None])
    if not isinstance(out, sp.sparray):
        column = sp.coo_matrix(column)
    out = out.tocsc()
    return sp.hstack([out[:, :position], column, out[:, position:]], format="csr")


def _joint_dtype(out, ids):
    """A dtype that holds both; object for strings, and for integers beyond a float."""
    if ids.dtype.kind not in "biuf" or out.dtype.kind not in "biuf":
        return np.dtype(object)
    dtype = np.result_type(out.dtype, ids.dtype)
    whole = ids.dtype.kind in "iu" and ids.size > 0
    if dtype.kind == "f" and whole and max(-int(ids.min()), int(ids.max())) > 2**53:
        return np.dtype(object)
    return dtype
