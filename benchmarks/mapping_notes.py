"""What is measured, in words, above the tables of the shared mapping."""

RACE = """\
Objective 1/2 sum (y - f)^2 + 1/2 alpha (all weights squared, biases free), one layer
of tanh units, computed by one function from the weights of every solver, in double
precision. Ours runs once from every start to its default tolerance, the fastest of
three fits; the first call, which compiles, is left out. A peer has a budget of ten
times our fit's time, at least 2 s and at most `--cap`, and its weights along the way
are recorded (not timed). What it has to tune it tunes on its first start with a
third of the budget for every setting, and that is not counted either.

The target of a problem is where the median start of the best peer ends. "end" and
"worst" are ends relative to it, median and worst over the starts. "seconds" is the
time to within 0.1 % of the target, median over starts; where a start does not get
there, the next one goes on and its time is added ("never": none does). "reach it"
counts starts. "ratio" is the fastest peer's seconds over ours, 0 where ours does not
get there; for ours the whole fit counts, for the peers the moment at which they pass
the level. Which minimum a start ends in is chance: compare "end" with "worst".

torch: Adam (fused, single precision) with a cosine that falls to zero as the budget
ends, with random batches or all rows, or at a constant rate; L-BFGS (strong Wolfe,
double precision, 30 pairs). MLPRegressor's gradient is that of the sum over outputs,
while the value that its L-BFGS sees is the mean over them (its issue 8349): with
alpha = ours, checked by comparing stationary points, the gradient is that of our
objective, but the line search is misled. "value put right" is the same solver with
the value that belongs to the gradient, which no user has: it is shown, has ratios of
its own, and does not set the target ("inf": it does not get there). Its Adam adds
alpha / batch to every batch: it gets alpha times batch / n. Setting up tensors is
not timed. Data: teachers are networks of the same size, with noise of a third of the
signal; real sets have means imputed, features and targets standardised."""

IRIS = """\
The practice: a shared layer of 64 relu units, three softmax heads on three copies of
the label, Adam at 0.001, 100 epochs of batches of 32, no penalty; features scaled, a
fifth of the rows (30) held out by train_test_split(random_state=42). Means over 10
starts and the heads, cross-entropy per label; "worst" of the starts' cross-
entropies. scikit-learn's MLPClassifier cannot have three such heads and gets one
copy, with as many epochs. torch Adam is the practice written as a plain loop. Ours
has a penalty: alpha=1 is the default, and less of it is worse than that on these
rows. Thirty test rows: one of them is 0.033 of accuracy."""

HELD_OUT = """\
Test error on a quarter of the rows: RMSE relative to that of the training mean,
averaged over tasks where they share rows; for emotions and landmine cross-entropy
per label. One random part for the long sets, three for the small ones. alpha is
chosen from the same nine strengths, 0.1 to 1000, by 3-fold cross-validation in the
training rows; one layer of 16 tanh units; targets standardised. MLP gets the tasks
of long sets as columns (ours: heads, with shrunken intercepts), L-BFGS (1000
iterations) below 2,000 rows and Adam (200 epochs) above. "ratio" is to the MLP.
"pooled ridge, shrunken offsets" is RidgeCV on the features and a column for every
task. "seconds" is of the whole search. Random rows of Parkinson's patients are close
in time: errors there say how well a patient's own course is followed."""
