"""`energax test`, `compare`, `evaluate`, `outliers`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from energax.cli.commands import JUDGE, Run, Seed, command

WHICH = Group.create_ordered("What to say of it")
KERNEL = Group.create_ordered("With a kernel")
PLACES = Group.create_ordered("Of fssd, at a few locations")
CRITIC = Group.create_ordered("Of lsd, by a network that learns")


@command(JUDGE, name="test")
def judge(
    file: str,
    /,
    *,
    run: Path | None = None,
    log_density: str | None = None,
    scores: str | None = None,
    reference: str | None = None,
    method: Literal["ksd", "linear-ksd", "fssd", "lsd", "mmd"] | None = None,
    draws: int | None = None,
    kernel: Annotated[Literal["imq", "rbf"] | None, Parameter(group=KERNEL)] = None,
    bandwidth: Annotated[str | None, Parameter(group=KERNEL)] = None,
    statistic: Annotated[Literal["v", "u"] | None, Parameter(group=KERNEL)] = None,
    locations: Annotated[int | None, Parameter(group=PLACES)] = None,
    no_optimise: Annotated[bool, Parameter(show_default=False, group=PLACES)] = False,
    null: Annotated[Literal["bootstrap", "normal"] | None, Parameter(group=CRITIC)] = None,
    split: Annotated[tuple[float, float, float] | None, Parameter(group=CRITIC)] = None,
    critic_steps: Annotated[int | None, Parameter(group=CRITIC)] = None,
    constraint: Annotated[Literal["l2", "clipping", "spectral"] | None, Parameter(group=CRITIC)] = None,
    penalty: Annotated[float | None, Parameter(group=CRITIC)] = None,
    seed: Seed = 0,
) -> int:
    """Test whether a sample comes from a law: a statistic and a p-value, no level decided for you.

    FILE holds the sample, rows in a .csv, .parquet, .npy or .npz, or chains in ArviZ's .nc (those
    of `energax sample --inference-data` among them), which are thinned to draws that may pass for
    independent. The law is that of a run (--run),
    of a log-density written in JAX (--log-density), or of scores ∇ log p at the rows that were
    computed elsewhere, by Stan, PyMC, NumPyro or Torch (--scores); it needs no normaliser. With
    --reference the question is whether two samples come from one law.

    The method (--method) is one of

        ksd         kernel Stein discrepancy, wild bootstrap: the default; time n²
        linear-ksd  the same on disjoint pairs: very many rows, less power
        fssd        at a few locations, which it finds on a fifth of the rows
        lsd         a network learns where the law is wrong, on rows that are not
                    tested on (--split); time n
        mmd         two samples, by permutations (with --reference)

    The p-value is the share of samples of the law itself that would look as bad or worse. Rows
    are taken to be independent: thin a Markov chain before.

    For example:

        energax test samples.npy --run runs/table
        energax test chain.csv --log-density model.py:log_density
        energax test draws.npy --scores scores.npy --bandwidth power
        energax test draws.npy --scores scores.npy --method lsd --split 0.4 0.1 0.5
        energax test samples.csv --reference held_out.csv
        energax test posterior.nc --log-density model.py:log_density
        energax test chains.nc --run runs/table

    Parameters
    ----------
    file
        The sample, in the data's own units.
    run
        A run folder of an energy over real numbers.
    log_density
        FILE.py:FUNCTION, x ↦ log p(x) + constant on one row, written in JAX. That file is run.
    scores
        A file of the sample's shape; columns with names must have those of the sample. The law must be one
        on all of ℝᵈ: whether its density ends at an edge, where the tests fail, cannot be seen from bare
        scores.
    reference
        A second sample, of the law, columns with names having those of the first; or a chain in ArviZ's
        .nc, thinned too.
    method
        See above. [default: ksd; mmd with --reference]
    draws
        Of the null law (linear-ksd has none to draw). [default: 1000]
    kernel
        imq has tails that notice points far away; rbf. [default: imq; rbf for fssd and mmd]
    bandwidth
        A number; median, the median distance; or, on a fifth of the rows, which are then not tested,
        power (the test's, as far as they tell) or discrepancy (the largest). fssd chooses its own
        for power, and with --no-optimise takes median or a number. [default: median]
    statistic
        Of ksd: v is biased and never below 0; u is unbiased. The p-value is one. [default: v]
    locations
        At how many points the fit is looked at; more need more rows. [default: 5]
    no_optimise
        Draw the locations from a Gaussian fitted to the rows, and test on all rows.
    null
        normal is the paper's, and rejects a true law too often where few rows are tested on and the
        network's answers to them are skewed. [default: bootstrap]
    split
        Shares of the rows that train the network, choose it, and are tested on; 500 rows to test on
        are enough for a status of ok. [default: 0.8 0.1 0.1]
    critic_steps
        Of the network's training. [default: 1000]
    constraint
        What holds the network down: l2, a penalty on its outputs; clipping, small weights; spectral,
        layers of norm 1. In the study lsd-at-scale l2 found most. [default: l2]
    penalty
        λ of l2; a larger one makes a smaller network's answer, of the same direction. [default: 0.5]
    """
    from energax.cli.judge import judge

    return judge(
        file,
        run=run,
        log_density=log_density,
        scores=scores,
        reference=reference,
        method=method,
        told={
            "draws": draws,
            "kernel": kernel,
            "bandwidth": bandwidth,
            "statistic": statistic,
            "locations": locations,
            "no_optimise": no_optimise or None,
            "null": null,
            "split": split,
            "critic_steps": critic_steps,
            "constraint": constraint,
            "penalty": penalty,
        },
        seed=seed,
    )


@command(JUDGE)
def compare(
    file: str,
    /,
    *runs: Path,
    method: Literal["lsd", "ksd", "linear-ksd"] = "lsd",
    steps: Annotated[int | None, Parameter(group=CRITIC)] = None,
    penalty: Annotated[float | None, Parameter(group=CRITIC)] = None,
    kernel: Annotated[Literal["imq", "rbf"] | None, Parameter(group=KERNEL)] = None,
    bandwidth: Annotated[str | None, Parameter(group=KERNEL)] = None,
    seed: Seed = 0,
) -> int:
    """Rank trained models by a Stein discrepancy from held-out rows, with errors.

    For each run a network looks for where the model's score is not the data's: on most of the rows
    it learns, on some it is chosen, on the rest the discrepancy is measured. With --method ksd a
    kernel, the same for all runs, takes the network's place: seconds, all rows to measure by, fewer
    of them needed, and the columns' units decide what is near. No normaliser and no samples are
    needed, so energies of any kind compare, each in the units of the data.

    For example:

        energax compare runs/multiscale runs/nce
        energax compare held_out.csv runs/multiscale runs/nce
        energax compare held_out.npy runs/a runs/b runs/c --steps 300
        energax compare held_out.csv runs/multiscale runs/nce --method ksd

    Parameters
    ----------
    file
        Rows that no run was trained on; left out, the held-out rows of the runs' one data set.
    runs
        Run folders of energies over real numbers.
    method
        lsd, the learned Stein discrepancy; ksd, a kernel's; or linear-ksd, the kernel's by pairs of rows,
        in less time and far less sharp.
    steps
        Of each network's training. [default: 1000]
    penalty
        Of λ E‖f‖²: the discrepancy is E‖s − s_p‖²/2λ at most. [default: 0.5]
    kernel
        Of ksd and linear-ksd: imq, whose tails notice rows far away, or rbf. [default: imq]
    bandwidth
        Of the same: a number; median; or power or discrepancy, the best for all runs together on a fifth of
        the rows, which are then not measured by. [default: median]
    """
    from energax.cli.judge import compare

    told = {"steps": steps, "penalty": penalty, "kernel": kernel, "bandwidth": bandwidth}
    return compare(file, list(runs), method=method, told=told, seed=seed)


@command(JUDGE)
def evaluate(
    run: Run,
    file: str | None = None,
    /,
    *,
    log_likelihood: Annotated[bool, Parameter(show_default=False, group=WHICH)] = False,
    samples: Annotated[bool, Parameter(show_default=False, group=WHICH)] = False,
    coverage: Annotated[bool, Parameter(show_default=False, group=WHICH)] = False,
    select: Annotated[Literal["fid"] | None, Parameter(show_default=False, group=WHICH)] = None,
    outliers: Annotated[
        tuple[str, ...], Parameter(show_default=False, group=WHICH, consume_multiple=True)
    ] = (),
    temperatures: int = 1000,
    chains: int = 100,
    schedule: Literal["adaptive", "linear", "sigmoid", "exponential"] = "adaptive",
    width: float = 1.0,
    n: Annotated[int, Parameter(name=("-n", "--number"))] = 1000,
    inception: Annotated[bool, Parameter(show_default=False)] = False,
    use: Annotated[bool, Parameter(show_default=False)] = False,
    seed: Seed = 0,
) -> int:
    """Say how good a trained model is: how likely it finds rows it has not seen, with a verdict.

    Without flags, everything that the model can answer; else what the flags name. Each finding is
    printed, kept in RUN/evaluation, and shown by `energax report RUN`.

    --log-likelihood: the mean of log p(x) = −E(x) − log Z over the rows in nats, the log of their
    mean density, and bits per dimension in the data's own units; of images, their grey levels placed
    uniformly in their cells, in those of [0, 1] and of [0, 255] pixels. log Z is exact where the model
    knows it, and by quadrature for up to three columns. Elsewhere chains are annealed from a Gaussian
    (or independent bits) fitted to the training rows, or from the uniform law on the box of a run of
    the objective box, to the model, and back: log Z comes as a lower and an upper end, and Bennett's
    estimate between them. A noise-conditional model is asked by its probability flow. "converged" is
    said only where the ends are within --width and the log weights vary by no more
    than 1 in both directions. If not: more --temperatures. The chains back start from exact draws of
    the model or, where it has none, from training rows: then the upper end of log Z is a guess, and the
    verdict says so. A network whose energy is not bounded below far from the data has
    no log Z at all, and no chain that stays near finds out: quadrature does, and refuses it; elsewhere
    the directions of least energy are looked for far out, and a fall that is found is the verdict.

    --samples: the Frechet and the kernel distance of samples to held-out rows, precision and recall,
    two tests, and the nearest training rows: of images with labels on the features of a classifier
    that is trained on them once (not Inception's, whose numbers mean other things), else on the rows
    themselves. Beside each stands what training rows get in the samples' place.

    --coverage: how many classes the samples are of, by that classifier, and how evenly, beside what
    exact samples would show; of stacked-mnist a thousand. 8,000 and 26,000 samples are what the
    papers count there.

    --select fid draws samples of every checkpoint that the run has kept, and names the one with the
    least Frechet distance; --use makes it the run's model.

    --outliers: how well the energy, the denoising error, the score's norm and typicality tell rows
    of other data from held-out ones; training rows are told as well as others, if they were learned
    by heart.

    For example:

        energax evaluate runs/table
        energax evaluate runs/table new.csv --log-likelihood --temperatures 5000
        energax evaluate runs/digits --samples --coverage
        energax evaluate runs/digits --select fid --use
        energax evaluate runs/fashion --outliers mnist notmnist

    Parameters
    ----------
    file
        Rows to judge the model by. [default: the run's held-out rows]
    log_likelihood
        How likely the rows are.
    samples
        How good and how varied samples are, and whether they are copies.
    coverage
        How many of the data's classes samples are of.
    select
        Which kept checkpoint has the best samples.
    outliers
        Other data: names of known data sets (of which the held-out rows are taken), or files.
    temperatures
        Of the annealing, in each direction; time grows with their number, memory does not.
    chains
        In each direction.
    schedule
        Where the temperatures lie: adaptive finds out, in a pilot run.
    width
        Nats between the two ends that are near enough.
    n
        Samples that are drawn (of each checkpoint).
    inception
        With --samples: ask Inception, too, for the score, FID and KID that papers report (the extra
        fidelity; it downloads its weights).
    use
        With --select: make the best checkpoint's the run's model.
    """
    from energax.checks import check
    from energax.cli.evaluate import Part, evaluate
    from energax.cli.evaluate.coverage import ModeCoverage
    from energax.cli.evaluate.likelihood import LogLikelihood
    from energax.cli.evaluate.outliers import Outliers
    from energax.cli.evaluate.samples import Samples
    from energax.cli.evaluate.select import Selection

    check(not use or select is not None, "evaluate", "--use", "given together with --select", "alone")
    check(samples or not inception, "evaluate", "--inception", "given together with --samples", "alone")
    every: dict[bool, list[Part]] = {True: [], False: []}  # those asked for, and the others
    every[log_likelihood].append(LogLikelihood(temperatures, chains, schedule, width))
    every[samples].append(Samples(n, inception))
    every[coverage].append(ModeCoverage(n))
    if select is not None:
        every[True].append(Selection(n, use))
    if outliers:
        every[True].append(Outliers(outliers))
    return evaluate(run, file, every[True] or every[False], asked=bool(every[True]), seed=seed)


@command(JUDGE)
def outliers(
    file: str,
    /,
    *,
    run: Path | None = None,
    folder: Path | None = None,
    score: Literal["energy", "denoising", "score-norm", "typicality"] = "energy",
    steps: int | None = None,
    top: int = 10,
    out: Path | None = None,
    seed: Seed = 0,
) -> int:
    """Fit an energy to a table and score each row by how strange it is, in one go.

    FILE holds rows in a .csv, .parquet, .npy or .npz. A model is trained on them as `energax train`
    would, labels unseen, but with noise of half a standard deviation at least, so that no row is
    a mode of its own; with --run a trained model is asked instead. The score (--score) is

        energy      low density: the mean energy under the model's smallest noise
        denoising   what one step does not bring back
        score-norm  where the density is steep
        typicality  how far the energy is from that of training rows, on either side

    If the file has labels of 0 and 1 (y in an .npz), how well the scores tell them is printed:
    the area under the receiver's curve with its error, the average precision, and the share of
    false alarms where 95 % of the outliers are found.

    For example:

        energax outliers table.csv
        energax outliers new_rows.csv --run runs/table --score typicality

    Parameters
    ----------
    file
        Rows to score (and, without --run, to train on).
    run
        A run folder of an energy.
    folder
        Where the run is kept. [default: runs/NAME-outliers]
    score
        See above.
    steps
        Of the training. [default: the preset's]
    top
        How many of the strangest rows are printed.
    out
        A .csv file: row, score, rank. [default: outliers.csv in the run folder]
    """
    from energax.cli.outliers import outliers

    return outliers(file, run=run, folder=folder, score=score, steps=steps, top=top, out=out, seed=seed)
