"""A fit takes over all that it has stored, or nothing."""

import pytest

from mtlearn.fitting.whole import WholeFit


class Model(WholeFit):
    def __init__(self, strength=1.0):
        self.strength = strength

    def fit(self, stop=False, **stored):
        model = self._unfitted()
        model.half_ = True
        if stop:
            raise KeyboardInterrupt
        vars(model).update(stored)
        return self._become(model)


def test_a_fit_that_stops_has_not_happened():
    model = Model()
    with pytest.raises(KeyboardInterrupt):
        model.fit(stop=True)
    assert vars(model) == {"strength": 1.0}
    before = dict(vars(model.fit(coef_=1)))
    with pytest.raises(KeyboardInterrupt):
        model.fit(stop=True, coef_=2)
    assert vars(model) == before


def test_nothing_is_left_of_an_earlier_fit():
    model = Model().fit(coef_=1, extra_=2)
    assert model.fit(coef_=3) is model
    assert model.coef_ == 3 and not hasattr(model, "extra_")


def test_what_the_caller_has_set_stays():
    model = Model().fit(coef_=1)
    model.strength, model.note = 2.0, "mine"
    model.fit(coef_=2)
    assert model.strength == 2.0 and model.note == "mine"
