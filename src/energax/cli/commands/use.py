"""`energax sample`, `denoise`, `inpaint`, `restore`, `compose`, `score`, `info`, `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from energax.cli.commands import USE, Run, Seed, command


@command(USE)
def sample(
    run: Run,
    /,
    *,
    n: Annotated[int, Parameter(name=("-n", "--number"))] = 64,
    seed: Seed = 0,
    sampler: Literal[
        "annealed", "mala", "hmc", "nuts", "tempering", "reverse-diffusion", "probability-flow", "flow"
    ] = "annealed",
    hold: int | None = None,
    anneal: int | None = None,
    cool: int | None = None,
    noise_max: float | None = None,
    epsilon: float | None = None,
    corrector_steps: int | None = None,
    snr: float | None = None,
    warmup: int | None = None,
    temperatures: str | None = None,
    inference_data: Path | None = None,
    out: Path | None = None,
) -> int:
    r"""Draw samples by the dynamics that suit the objective, and show how they came about.

    An energy of many noise levels is annealed in temperature, a noise-conditional model in
    noise; what was trained without noise is sampled at T = 1 for all the steps together. A multigrid
    model starts from the mean colours of training rows and climbs its scales as it did in training; of a
    deep Boltzmann machine all layers are drawn, and the visible one is kept.

    Langevin steps err by their size. An energy can be sampled without that error (--sampler):

        mala                the same steps, each accepted or refused: for
                            whatever was trained without noise
        hmc, nuts           paths of many gradients, a tenth as many: for narrow
                            or correlated laws; nuts waits for its longest path

    Where nothing is annealed they are warmed up first (--warmup steps), which finds step and masses.

    Modes that no such chain passes between are weighed by replicas at several temperatures, for an
    energy that nothing anneals and for a Boltzmann machine:

        tempering           HMC (of a machine block Gibbs) at each temperature,
                            neighbours changing places; dearer by their number.
                            Says how often each pair did: the least is where
                            more are wanted

    A noise-conditional model has three samplers (--sampler):

        annealed            Langevin steps at each level (NCSN): needs hundreds
                            of steps; the default
        reverse-diffusion   follows the noise down, with Langevin corrections:
                            when steps are dear, a hundred will do
        probability-flow    an ODE that chooses its own steps: when samples are
                            to have the law that score --likelihood speaks of,
                            or to be a smooth function of their start

    A run told from a flow that learns (flow-contrastive, adversarial-contrastive) keeps the flow, too:

        flow                exact draws of it, at once; they are the energy's
                            as far as the two agree

    A generator (`energax distil`) draws at once; of what is below it takes -n, --seed and --out, and
    writes no annealing.png and no energy.csv.

    Writes, in place of all that an earlier call wrote:

        samples.npz     array "samples", in the data's own units
        samples.png     a grid of images, or the samples over held-out data
        samples.csv     for tables, with the names of the columns
        annealing.png   chains over time: noisy above, denoised in one step below
        energy.csv      mean energy and temperature on the way (drawn in
                        energy.png), where there is one energy for all of it

    The last state of each chain is a sample. Where the temperature is 1 throughout, --inference-data
    also keeps each chain every k steps of the last half, for ArviZ and `energax test FILE.nc`, and prints
    the worst split R̂ and the least effective sample size of all columns. Memory is bounded: at most 1,000
    draws of a chain and 16.7 million numbers in all (64 MiB) are kept, k being as small as that allows;
    while the chains run, twice as many. They are the chain's own states, before any denoising jump.

    For example:

        energax sample runs/digits -n 64
        energax sample runs/digits -n 1000 --seed 1 --anneal 4000 --out better/
        energax sample runs/digits --epsilon 0.5 --out wider/
        energax sample runs/ncsn --sampler reverse-diffusion \
            --anneal 100 --hold 1 --cool 1
        energax sample runs/ncsn --sampler probability-flow
        energax sample runs/table -n 1000 --sampler nuts
        energax sample runs/fce --sampler flow
        energax sample runs/table --sampler tempering --temperatures 1,1.5,2.2,3.3,5
        energax sample runs/table --sampler nuts --inference-data chains.nc

    Parameters
    ----------
    n
        How many; sample i does not depend on it (but for a warm-up, whose step all chains decide).
    sampler
        annealed (Langevin dynamics, or block Gibbs); for an energy mala, hmc, nuts or tempering; for a
        noise-conditional model reverse-diffusion or probability-flow; flow for a run that learned one.
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
    warmup
        Steps in which mala, hmc, nuts and the HMC of tempering find their step and masses, where nothing is
        annealed. [default: 500]
    temperatures
        Of tempering: rising numbers with commas between them, the first 1. More columns want more of
        them, nearer to each other. [default: eight from 1 to 10, by equal factors]
    inference_data
        A .nc file to write (needs the extra energax[arviz]); see above.
    out
        The folder to write to. [default: the run folder]
    """
    from energax.cli.sample import sample

    schedule = {
        "sampler.hold": hold,
        "sampler.anneal": anneal,
        "sampler.cool": cool,
        "sampler.noise_max": noise_max,
        "sampler.epsilon": epsilon,
    }
    changes = {name: value for name, value in schedule.items() if value is not None}
    options = {"corrector_steps": corrector_steps, "snr": snr, "warmup": warmup, "temperatures": temperatures}
    options = {name: value for name, value in options.items() if value is not None}
    return sample(
        run,
        n=n,
        seed=seed,
        changes=changes,
        out=out,
        sampler=sampler,
        options=options,
        inference_data=inference_data,
    )


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
        Columns that have names here and in the run are taken by them, in any order.
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
    from energax.cli.inpaint import inpaint

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
        energax restore runs/digits x.npy --operator downsample:2 --degrade

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

    Energies are those of the data's own units, −log p(x) up to one additive constant; of a multigrid
    model that of the finest scale, of a deep Boltzmann machine the variational bound's, E(x, μ) − H(μ).

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
