"""One set of coefficients, and an offset for each school that is shrunk."""

from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mtlearn import PerTaskRegressor
from mtlearn.model_selection import TaskStratifiedKFold

columns = ColumnTransformer(
    [("offset", OneHotEncoder(handle_unknown="ignore"), ["school"])],
    remainder=StandardScaler(),
    sparse_threshold=0,
)
model = make_pipeline(columns, PerTaskRegressor())
scales = [{"offset": scale} for scale in (0.3, 1, 3, 10)]
search = GridSearchCV(
    model,
    {
        "pertaskregressor__alpha": [1, 10, 100],
        "columntransformer__transformer_weights": scales,
    },
    cv=TaskStratifiedKFold(5, task_column="school", shuffle=True, random_state=0),
)
