"""What is said of a task: whether it gains by learning together."""

GAINS, SAME, HURT, FEW = (
    "gains",
    "no difference",
    "hurt by sharing",
    "too few rows to say",
)
VERDICTS = (GAINS, SAME, HURT, FEW)

LEAST_ROWS = 5  # of a task that has a verdict
