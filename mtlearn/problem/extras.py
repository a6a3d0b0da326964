"""Packages that need not be there: they are imported when they are used."""

from importlib import import_module


def need(module, who, extra):
    """Import a module, or say in one sentence who needs it and what to install.

    Parameters
    ----------
    module : str
        Its dotted name.
    who : str
        The start of the sentence, the verb included: "coef_frame needs".
    extra : str
        The extra that brings it.

    Returns
    -------
    module
    """
    package = module.partition(".")[0]
    try:
        # first the package: a module of it may be loaded already
        import_module(package)
        return import_module(module)
    except ImportError:
        raise ImportError(
            f"{who} {package}, which is not installed; install the extra: "
            f'pip install "scikit-multitask[{extra}]"'
        ) from None
