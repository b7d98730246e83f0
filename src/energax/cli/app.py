"""The commands, their options and their help; the work is done in the modules they import.

Nothing heavier than the configuration's dataclasses is imported here, so that every `--help`
answers at once.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Group, Parameter

from energax._version import __version__

__all__ = ["DATA_NAMES", "TOY_NAMES", "app"]

# What `energax.data.load` knows by name (a test holds the lists together): importing it loads JAX.
DATA_NAMES = (
    "digits",
    "mnist",
    "fashion-mnist",
    "notmnist",
    "cifar10",
    "svhn",
    "celeba",
    "stacked-digits",
    "stacked-mnist",
)
TOY_NAMES = (
    "eight-gaussians",
    "two-moons",
    "pinwheel",
    "checkerboard",
    "rings",
    "swiss-roll",
    "two-spirals",
)

app = App(
    name="energax",
    version=__version__,
    help="""Energy-based models, p(x) ∝ exp(−E(x)): train one, sample it, use it, judge it.

A first session, on data that comes with the program:

    energax train digits --out runs/digits
    energax sample runs/digits -n 64
    energax report runs/digits

or all of it at once: energax demo

Exit status: 0 all is well; 2 a mistake in what was asked, which one sentence
names; 3 a fit that diverged; 130 Ctrl-C; 1 a machine that would not go on.""",
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)
MAKE, USE, JUDGE, STUDY = (
    Group.create_ordered(name) for name in ("Make a model", "Use a model", "Judge", "See it work")
)
WHAT = Group.create_ordered("What to train")
HOW = Group.create_ordered("How (each overrides the preset, the file and --set)")
WHICH = Group.create_ordered("What to say of it")
CONFIGURE = Group.create_ordered("Configuration")
RUNNING = Group.create_ordered("Running")

app["--help"].group = app["--version"].group = Group.create_ordered("Options")

Run = Annotated[Path, Parameter(help="A run folder: what `energax train --out` made.")]
Seed = Annotated[int, Parameter(help="Decides everything random.")]


def command(group: Group, name: str | None = None) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Add a function to the commands (by its own name if no other is given), its docstring being the help."""

    def register(function: Callable[..., int]) -> Callable[..., int]:
        text, rule, parameters = inspect.cleandoc(function.__doc__ or "").partition(
            "\nParameters\n----------\n"
        )
        # Paragraphs are laid out anew by the terminal's width; indented blocks stand as they are.
        text = re.sub(r"(?<=\S)\n(?=\S)", " ", text)
        parameters = re.sub(r"(?<=\S)\n {4}(?=\S)", " ", re.sub(r"(?m)^(\S+)\n {4}", r"\1\n\t", parameters))
        function.__doc__ = text + rule + parameters.replace("\t", " " * 4)
        return app.command(function, group=group, name=name)

    return register


@command(MAKE)
def train(
    data: Annotated[str | None, Parameter(group=WHAT)] = None,
    /,
    *,
    out: Annotated[Path | None, Parameter(group=WHAT)] = None,
    resume: Annotated[Path | None, Parameter(group=WHAT)] = None,
    objective: Annotated[str | None, Parameter(group=HOW)] = None,
    energy: Annotated[str | None, Parameter(group=HOW)] = None,
    steps: Annotated[int | None, Parameter(group=HOW)] = None,
    batch_size: Annotated[int | None, Parameter(group=HOW)] = None,
    learning_rate: Annotated[float | None, Parameter(group=HOW)] = None,
    preprocess: Annotated[str | None, Parameter(group=HOW)] = None,
    seed: Annotated[int | None, Parameter(group=HOW)] = None,
    preset: Annotated[str | None, Parameter(group=CONFIGURE)] = None,
    config: Annotated[Path | None, Parameter(group=CONFIGURE)] = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", group=CONFIGURE, show_default=False)] = (),
    dry_run: Annotated[bool, Parameter(group=RUNNING, show_default=False)] = False,
    device: Annotated[Literal["auto", "cpu", "gpu", "tpu"], Parameter(group=RUNNING)] = "auto",
    tensorboard: Annotated[bool, Parameter(group=RUNNING, show_default=False)] = False,
) -> int:
    """Train an energy on data; the resolved configuration is printed and saved first.

    DATA is one of

        a data set   digits (comes with the program), mnist, fashion-mnist,
                     notmnist, cifar10, svhn, celeba: from $ENERGAX_DATA, the
                     cache, or downloaded with a checksum; stacked-digits,
                     stacked-mnist: three of their images in one, 1,000 classes
        a density    eight-gaussians, two-moons, pinwheel, checkerboard, rings,
                     swiss-roll, two-spirals
        a table      table.csv, table.parquet, array.npy, arrays.npz
        images       a folder of them, an IDX file, an array (n, h, w, 1 or 3)

    The objective (--objective) is one of

        multiscale          one energy for many noise levels: to sample, denoise,
                            inpaint; the default
        noise-conditional   one model per noise level (NCSN), its ladder chosen
                            from the data: to sample, denoise, inpaint
        denoising           one noise level: the density of data plus that noise
        score-matching      the density itself, exactly: to some hundred columns
        sliced              the density itself, on random directions: any size
        non-negative, box   the density of data in [0, ∞) or within [low, high]
        ratio               the probabilities of bits

    or maximum likelihood by Markov chains (block Gibbs for Boltzmann machines, else
    Langevin; objective.chain, .steps and .step_size say which, how long, how large)

        contrastive-divergence  chains start at the data: quick, blind far off
        persistent-cd       chains go on from step to step: Boltzmann machines
        replay-buffer       a large buffer of chains, some started anew: networks
        short-run           chains start at noise: a generator of samples
        improved-cd         also through the last step of the chains
        unbiased-cd         coupled chains, run until they meet: bits
        mean-field-cd       means in place of draws, no noise: machines of bits
        exact-likelihood    log Z by enumeration: small machines, narrow grids

    or contrast, without chains; the first four learn log Z (score --likelihood)

        nce                 told from noise fitted to the data: tables
        bregman-nce         the same by another objective.divergence
        flow-contrastive    told from a flow that learns to be taken for the data
        adversarial-contrastive  from fitted noise and such a flow, mixed
        conditional-nce     told from moved (objective.kernel=flips: flipped) data
        shifted-nce         told from data shifted both ways: sliced, no derivative
        minimum-velocity    score matching by one short step, no second derivative
        probability-flow    how fast bits leave the data by flips
        composite-likelihood  each block of bits given the rest: pseudo-likelihood

    or a Stein discrepancy, of the score alone

        learned-stein       a critic looks for where the score is not the data's
        kernel-stein        the kernel Stein discrepancy: some columns, no critic

    For example:

        energax train digits --out runs/digits
        energax train table.csv --steps 2000 --learning-rate 5e-4
        energax train two-moons --objective score-matching
        energax train table.csv --objective nce
        energax train digits --objective noise-conditional --energy mlp-field
        energax train digits --set energy.width=256 --set sampler.hold=300 --dry-run
        energax train images/ --energy resnet --preprocess unit,pad:2,flip
        energax train mnist --energy bernoulli-rbm --objective persistent-cd
        energax train --resume runs/digits

    The run folder receives config.json, run.json, metrics.jsonl, checkpoints/ and at the end
    (or when you press Ctrl-C) model.safetensors. A fit that was stopped, even killed, goes on
    with --resume to the same bits as if it had never stopped.

    Parameters
    ----------
    data
        A name, a file or a folder (a name wins: write ./digits for a file of that name).
    out
        The run folder to make; runs/<name of the data> if not given. One that is in use is
        never overwritten.
    resume
        Continue the run in this folder, with its own configuration and the same data.
    objective
        The training principle, from the list above. [default: multiscale]
    energy
        mlp (anything), mixer (images, fast on a CPU), resnet (images, on a GPU); mlp-field and
        mixer-field are scores that need not be a gradient; bernoulli-rbm (bits), gaussian-rbm
        (reals) and ising (spins on a grid) are Boltzmann machines; ica
        (independent sources, mixed linearly) knows its log Z. [default: the preset's]
    steps
        Updates in all. [default: the preset's]
    batch_size
        Rows per update. [default: 128]
    learning_rate
        Adam's step. [default: the preset's]
    preprocess
        "auto", or some of standardise, unit, pad:WIDTH, dequantise:LEVELS, logit,
        binarise:THRESHOLD, bernoulli (bits drawn anew), spins, flip, image, flatten, with commas
        between them. [default: auto]
    seed
        Decides everything random. [default: 0]
    preset
        Settings to start from: digits, mnist, fashion-mnist, notmnist, cifar10, stacked-digits,
        stacked-mnist, image, table, points; the papers' networks for a GPU: mnist-res12,
        cifar10-res18, celeba-res18.
        [default: what suits the data]
    config
        A .json or .toml file of settings; the config.json of another run is one.
    set_
        KEY=VALUE for any setting, as --dry-run prints them; may be repeated.
    dry_run
        Print the resolved configuration, the shapes and the model's size; write nothing.
    device
        Where to compute; auto is the best there is.
    tensorboard
        Also write TensorBoard records (needs the extra energax[tensorboard]).
    """
    from energax.cli.train import resume_run, train_run

    flags = {
        "objective": objective,
        "energy": energy,
        "fit.steps": steps,
        "fit.batch_size": batch_size,
        "fit.learning_rate": learning_rate,
        "preprocess": preprocess,
        "seed": seed,
    }
    flags = {name: value for name, value in flags.items() if value is not None}
    if resume is not None:
        others = {"DATA": data, "--out": out, "--preset": preset, "--config": config, "--set": set_}
        given = [name for name, value in others.items() if value]
        given += ["--" + name.split(".")[-1].replace("_", "-") for name in flags]
        return resume_run(resume, given=given, device=device, dry_run=dry_run, tensorboard=tensorboard)
    return train_run(
        data,
        out=out,
        preset=preset,
        file=config,
        sets=set_,
        flags=flags,
        device=device,
        dry_run=dry_run,
        tensorboard=tensorboard,
    )


@command(USE)
def sample(
    run: Run,
    /,
    *,
    n: Annotated[int, Parameter(name=("-n", "--number"))] = 64,
    seed: Seed = 0,
    sampler: Literal["annealed", "reverse-diffusion", "probability-flow"] = "annealed",
    hold: int | None = None,
    anneal: int | None = None,
    cool: int | None = None,
    noise_max: float | None = None,
    epsilon: float | None = None,
    corrector_steps: int | None = None,
    snr: float | None = None,
    out: Path | None = None,
) -> int:
    """Draw samples by the dynamics that suit the objective, and show how they came about.

    An energy of many noise levels is annealed in temperature, a noise-conditional model in
    noise; what was trained without noise is sampled at T = 1 for all the steps together.

    A noise-conditional model has three samplers (--sampler):

        annealed            Langevin steps at each level (NCSN): needs hundreds
                            of steps; the default
        reverse-diffusion   follows the noise down, with Langevin corrections:
                            when steps are dear, a hundred will do
        probability-flow    an ODE that chooses its own steps: when samples are
                            to have the law that score --likelihood speaks of,
                            or to be a smooth function of their start

    Writes, replacing those of an earlier call:

        samples.npz     array "samples", in the data's own units
        samples.png     a grid of images, or the samples over held-out data
        samples.csv     for tables, with the names of the columns
        annealing.png   chains over time: noisy above, denoised in one step below
        energy.csv      mean energy and temperature on the way (shown in energy.png),
                        where there is one energy for all of it

    For example:

        energax sample runs/digits -n 64
        energax sample runs/digits -n 1000 --seed 1 --anneal 4000 --out better/
        energax sample runs/digits --epsilon 0.5 --out wider/
        energax sample runs/ncsn --sampler reverse-diffusion --anneal 100 --hold 1 --cool 1
        energax sample runs/ncsn --sampler probability-flow

    Parameters
    ----------
    n
        How many; sample i does not depend on it.
    sampler
        annealed, or for a noise-conditional model reverse-diffusion or probability-flow.
    hold
        Steps at the first temperature. Where nothing is annealed in temperature, hold, anneal and
        cool count together, as evaluations of the model. [default: the run's configuration]
    anneal
        Steps of the geometric anneal to temperature 1. [default: the run's configuration]
    cool
        Steps from temperature 1 to 0. [default: the run's configuration]
    noise_max
        Standard deviation of the noise to start from. [default: the run's configuration]
    epsilon
        Step in units of σ₀ (of the noise level, for a noise-conditional model); 0.2 is the
        paper's. [default: the run's configuration]
    corrector_steps
        Langevin steps after each step of reverse diffusion; 0 for none. [default: 1]
    snr
        Signal-to-noise ratio of those steps, below 1: larger moves more and errs more.
        [default: 0.16]
    out
        The folder to write to. [default: the run folder]
    """
    from energax.cli.use import sample

    schedule = {
        "sampler.hold": hold,
        "sampler.anneal": anneal,
        "sampler.cool": cool,
        "sampler.noise_max": noise_max,
        "sampler.epsilon": epsilon,
    }
    changes = {name: value for name, value in schedule.items() if value is not None}
    options = {"corrector_steps": corrector_steps, "snr": snr}
    options = {name: value for name, value in options.items() if value is not None}
    return sample(run, n=n, seed=seed, changes=changes, out=out, sampler=sampler, options=options)


@command(USE)
def denoise(
    run: Annotated[str, Parameter(help="A run folder, or `ising`: an Ising grid set by hand.")],
    file: str,
    /,
    *,
    sigma: float | None = None,
    flip: float | None = None,
    method: Literal["gibbs", "icm", "cut"] | None = None,
    coupling: float | None = None,
    seed: int | None = None,
    out: Path | None = None,
) -> int:
    """Remove noise in one step, without being told how much there is.

    A noise-conditional model is told, with --sigma.

    An Ising model is told how likely each pixel of a binary image was flipped, with --flip, and
    restores the image (--method):

        gibbs   the likelier value of each pixel: the most pixels right that can be
                expected; also writes how likely it is; the default
        icm     turns pixels while the image grows likelier: fast, a local answer
        cut     the likeliest image, exactly; for couplings of at least 0

    The model is a run's, trained with --energy ising, or set by hand, one coupling for all
    neighbours: write ising in place of RUN (./ising for a folder of that name). Pixels are 0 and
    1, −1 and 1, or 0 and 255; a grey picture is split at the middle.

    For example:

        energax denoise runs/digits noisy.npy
        energax denoise runs/ncsn noisy.npy --sigma 0.3
        energax denoise runs/spins bits.npy --flip 0.1 --method cut
        energax denoise ising picture.png --flip 0.1 --coupling 0.7

    Parameters
    ----------
    file
        Rows in the data's own units: .npy, .npz, .csv or .parquet; images flat or (n, h, w, c).
        For an Ising model also a picture, .png or .jpg.
    sigma
        Standard deviation of the noise, in the units the model sees; for noise-conditional
        models, and only for them.
    flip
        How likely each pixel was flipped, between 0 and 1; for Ising models, and only for them.
    method
        Of an Ising model: gibbs, icm or cut. [default: gibbs]
    coupling
        Of an Ising model set by hand: J, how much neighbours want to be alike. [default: 1]
    seed
        Of gibbs: decides its draws. [default: 0]
    out
        The .npy file to write; for images a .png of the same name shows before and after.
        [default: denoised.npy beside FILE] Of an Ising model: a .png for a picture, and
        -shown.png beside it shows before and after.
    """
    from energax.cli.flips import Flips
    from energax.cli.use import denoise

    asked = Flips(flip, method, coupling, seed)
    return denoise(run, file, sigma=sigma, out=out, asked=asked)


@command(USE)
def inpaint(run: Run, file: str, /, *, mask: str, seed: Seed = 0, out: Path | None = None) -> int:
    """Fill in what is missing, given the rest.

    For example:

        energax inpaint runs/digits images.npy --mask left
        energax inpaint runs/table rows.csv --mask known.npy

    Parameters
    ----------
    file
        Rows in the data's own units, as for `energax denoise`; what is missing is not looked at.
    mask
        What is missing of an image: left, right, top, bottom or center; or a .npy file of
        booleans, true where known: one mask for all rows, or one for each.
    out
        The .npy file to write; for images a .png of the same name shows the known part, the
        completion and the input. [default: inpainted.npy beside FILE]
    """
    from energax.cli.use import inpaint

    return inpaint(run, file, mask=mask, seed=seed, out=out)


@command(USE)
def restore(
    run: Run,
    file: str,
    /,
    *,
    operator: str,
    noise: float = 0.05,
    degrade: Annotated[bool, Parameter(show_default=False)] = False,
    draws: int = 1,
    seed: Seed = 0,
    out: Path | None = None,
) -> int:
    """Restore what a blur, a loss of resolution or a projection lost, as the model finds likely.

    FILE holds observations y = A x + noise of rows x that were never seen whole; x is drawn from
    p(x | y), of energy E(x) + |y − A x|² / 2s². What A is (--operator):

        blur:S         Gaussian blur of S pixels, edges reflected
        downsample:K   means over K × K pixels
        project:M      M random projections (compressed sensing); drawn by --seed
        FILE.npy       a matrix (m, d) of the flat rows

    With --degrade FILE holds whole rows: they are looked at through A and noise first, and how far
    from them the restored rows are is printed.

    For example:

        energax restore runs/digits blurred.npy --operator blur:1.5 --noise 0.02
        energax restore runs/digits images.npy --operator downsample:2 --degrade --draws 8

    Parameters
    ----------
    file
        Observations, of the shape that the operator gives; or whole rows, with --degrade.
    operator
        See above.
    noise
        Standard deviation s of the observations' noise, in the data's own units.
    degrade
        Make the observations of whole rows first, and keep them beside the result.
    draws
        Of each row; of more than one the mean is written, the estimate of least squared error.
    out
        The .npy file to write; for images a .png of the same name shows it. [default:
        restored.npy beside FILE]
    """
    from energax.cli.restore import restore

    return restore(
        run, file, operator=operator, noise=noise, degrade=degrade, draws=draws, seed=seed, out=out
    )


@command(USE)
def compose(
    *runs: Run,
    out: Path,
    weights: str | None = None,
    temperature: float = 1.0,
) -> int:
    """Make one model of several: a product of densities, sharpened or flattened.

    The energy is (w1 E1 + w2 E2 + …)/T: likely is what all the models find likely. The result is a
    run folder like any other, to be sampled, scored, inpainted with and evaluated. The models must
    see events in the same units (one preprocessing), and their energies must have one unit (σ₀).

    For example:

        energax compose runs/smooth runs/sharp --out runs/both
        energax compose runs/digits --temperature 0.7 --out runs/cool
        energax compose runs/a runs/b --weights 1,0.5 --out runs/ab

    Parameters
    ----------
    out
        The new run folder.
    weights
        Numbers above 0 with commas between them, one a model. [default: all 1]
    temperature
        T: below 1 sharpens, above 1 flattens.
    """
    from energax.cli.compose import compose

    return compose(runs, weights=weights, temperature=temperature, out=out)


@command(USE)
def score(
    run: Run,
    file: str,
    /,
    *,
    likelihood: Annotated[bool, Parameter(show_default=False)] = False,
    probes: int | None = None,
    seed: int | None = None,
    out: Path | None = None,
) -> int:
    """Print one energy a row, in nats: lower is likelier, and outliers stand out above.

    Energies are those of the data's own units, −log p(x) up to one additive constant.

    A noise-conditional model, of energies or a field, also has the constant: with --likelihood
    the rows are log p(x), higher being likelier, with the bits per dimension −log₂ p(x)/d and,
    where the trace is estimated, the standard error of log p(x). The density is that of the data
    plus the smallest noise of the ladder, and of a density bits may be negative. So does an energy
    told from noise (nce, bregman-nce, flow-contrastive, adversarial-contrastive), whose log Z was
    estimated when it was trained, by importance sampling from the noise (`energax info` says how many
    draws that was worth): the standard error is that of log Z, shared by all rows.

    For example:

        energax score runs/table new.csv
        energax score runs/table new.csv --out scores.csv
        energax score runs/ncsn new.csv --likelihood --out likelihoods.csv

    Parameters
    ----------
    file
        Rows in the data's own units, as for `energax denoise`.
    likelihood
        Normalised log-likelihoods; of a noise-conditional model by the probability flow, slower.
    probes
        Random directions that estimate the trace of each row, at least 2; 0 takes it exactly.
        [default: 0 up to 32 columns, else 4]
    seed
        Decides the probes. [default: 0]
    out
        A .csv file to write instead, with the header "energy", or one column for each number.
    """
    from energax.cli.use import score

    return score(run, file, out=out, likelihood=likelihood, probes=probes, seed=seed)


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
    kernel: Literal["imq", "rbf"] | None = None,
    bandwidth: str = "median",
    draws: int = 1000,
    seed: Seed = 0,
) -> int:
    """Test whether a sample comes from a law: a statistic and a p-value, no level decided for you.

    FILE holds the sample, rows in a .csv, .parquet, .npy or .npz, or a chain in ArviZ's .nc, which
    is thinned to draws that may pass for independent. The law is that of a run (--run),
    of a log-density written in JAX (--log-density), or of scores ∇ log p at the rows that were
    computed elsewhere, by Stan, PyMC, NumPyro or Torch (--scores); it needs no normaliser. With
    --reference the question is whether two samples come from one law.

    The method (--method) is one of

        ksd         kernel Stein discrepancy, wild bootstrap: the default; time n²
        linear-ksd  the same on disjoint pairs: very many rows, less power
        fssd        at a few locations, which it finds on a fifth of the rows
        lsd         a network learns on nine tenths of the rows where the law is wrong; time n
        mmd         two samples, by permutations (with --reference)

    The p-value is the share of samples of the law itself that would look as bad or worse. Rows
    are taken to be independent: thin a Markov chain before.

    For example:

        energax test samples.npy --run runs/table
        energax test chain.csv --log-density model.py:log_density
        energax test draws.npy --scores scores.npy --bandwidth power
        energax test samples.csv --reference held_out.csv
        energax test posterior.nc --log-density model.py:log_density

    Parameters
    ----------
    file
        The sample, in the data's own units.
    run
        A run folder of an energy over real numbers.
    log_density
        FILE.py:FUNCTION, x ↦ log p(x) + constant on one row, written in JAX. That file is run.
    scores
        A file of the sample's shape.
    reference
        A second sample.
    method
        See above. [default: ksd; mmd with --reference]
    kernel
        imq has tails that notice points far away; rbf. [default: imq; rbf for fssd and mmd]
    bandwidth
        median, power or discrepancy (chosen on a fifth of the rows), or a number.
    draws
        Of the null law.
    """
    from energax.cli.judge import judge

    return judge(
        file,
        run=run,
        log_density=log_density,
        scores=scores,
        reference=reference,
        method=method,
        kernel=kernel,
        bandwidth=bandwidth,
        draws=draws,
        seed=seed,
    )


@command(JUDGE)
def compare(
    file: str,
    /,
    *runs: Path,
    steps: int = 1000,
    penalty: float = 0.5,
    seed: Seed = 0,
) -> int:
    """Rank trained models by the learned Stein discrepancy from held-out rows, with errors.

    For each run a network looks for where the model's score is not the data's: on most of the rows
    it learns, on some it is chosen, on the rest the discrepancy is measured. No normaliser and no
    samples are needed, so energies of any kind compare, each in the units of the data.

    For example:

        energax compare runs/multiscale runs/nce
        energax compare held_out.csv runs/multiscale runs/nce
        energax compare held_out.npy runs/a runs/b runs/c --steps 300

    Parameters
    ----------
    file
        Rows that no run was trained on; left out, the held-out rows of the runs' one data set.
    runs
        Run folders of energies over real numbers.
    steps
        Of each critic's training.
    penalty
        Of λ E‖f‖²: the discrepancy is E‖s − s_p‖²/2λ at most.
    """
    from energax.cli.judge import compare

    return compare(file, list(runs), steps=steps, penalty=penalty, seed=seed)


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
    (or independent bits) fitted to the training rows to the model, and back: log Z comes as a lower
    and an upper end, and Bennett's estimate between them. A noise-conditional model is asked by its
    probability flow. "converged" is said only where the ends are within --width and the log weights
    vary by no more than 1 in both directions. If not: more --temperatures. The chains back start from
    exact draws of the model or, where it has none, from training rows: then the upper end of log Z is
    a guess, and the verdict says so. A network whose energy is not bounded below far from the data has
    no log Z at all, and no chain that stays near finds out; quadrature does, and refuses it.

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


@command(USE)
def info(run: Run, /) -> int:
    """Say what a run is, how it was trained, with what, and how far it came.

    For example:

        energax info runs/digits
    """
    from energax.cli.show import info

    return info(run)


@command(USE)
def report(run: Run, /, *, seed: Seed = 0) -> int:
    """Write report.html into the run folder: one self-contained page, to be opened anywhere.

    It shows the configuration, the loss by noise level, samples and how they formed,
    denoising, inpainting, the nearest training neighbours and the energies of held-out data.

    For example:

        energax report runs/digits
    """
    from energax.cli.use import report

    return report(run, seed=seed)


@command(STUDY)
def reproduce(
    name: str | None = None,
    /,
    *,
    list_: Annotated[bool, Parameter(name="--list", show_default=False)] = False,
    out: Path | None = None,
    scale: Literal["smoke", "cpu", "paper"] = "cpu",
) -> int:
    """Reproduce a table or a figure of a paper.

    For example:

        energax reproduce --list
        energax reproduce mdsm-single-noise --scale smoke

    Parameters
    ----------
    name
        Which study.
    list_
        List the studies, with their sources and costs.
    out
        The folder to write to, which must not be in use. [default: runs/<name>]
    scale
        smoke (under a minute, shows only that it works), cpu (what two cores answer in minutes)
        or paper (the paper's own data and sizes).
    """
    from energax.cli.study import list_studies, run_study

    return list_studies() if list_ or name is None else run_study(name, out=out, scale=scale)


@command(STUDY)
def demo(*, out: Path | None = None) -> int:
    """Train on the bundled digits, then sample, denoise, inpaint, score and report.

    About a minute on two cores. The last line says what to open.

    For example:

        energax demo

    Parameters
    ----------
    out
        The run folder to make. [default: the first free one of runs/demo, runs/demo-2, …]
    """
    from energax.cli.demo import demo

    return demo(out)
