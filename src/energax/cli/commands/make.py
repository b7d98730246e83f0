"""`energax train`, `distil`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from energax.cli.commands import MAKE, Run, Seed, command

WHAT = Group.create_ordered("What to train")
HOW = Group.create_ordered("How (each overrides the preset, the file and --set)")
CONFIGURE = Group.create_ordered("Configuration")
RUNNING = Group.create_ordered("Running")


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
                     notmnist, cifar10, svhn, celeba, alphadigits (bits): from
                     $ENERGAX_DATA, the cache, or, where its authors offer
                     that, downloaded with a checksum; stacked-digits,
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
    Langevin; objective.chain, .steps and .step_size say which (auto, gibbs, langevin,
    mala, hmc, nuts), how long, how large)

        contrastive-divergence  chains start at the data: quick, blind far off
        persistent-cd       chains go on from step to step: Boltzmann machines
        replay-buffer       a large buffer of chains, some started anew: networks
        short-run           chains start at noise: a generator of samples
        improved-cd         also through the last step of the chains
        multigrid-cd        up the scales of an image: energy multigrid, and only it
        variational-pcd     persistent, mean field above x: energy deep-boltzmann
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
        energax train votes.csv --energy ising-graph --objective persistent-cd
        energax train mnist --energy deep-boltzmann --objective variational-pcd
        energax train digits --energy multigrid --objective multigrid-cd
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
        (reals), ising (spins on a grid), ising-graph (spins, a coupling for each pair of columns) and
        deep-boltzmann (bits; energy.hidden=256,128 its layers, energy.pretrain the updates of each in
        the stack it starts as) are Boltzmann machines; bits become spins and spins bits by themselves;
        multigrid is a network for each scale of an image (energy.levels); ica
        (independent sources, mixed linearly) knows its log Z. energy.base=radial puts mlp, mixer or
        resnet, trained by multiscale, on a base that denoises a ball of data at every noise level
        before anything is learned. [default: the preset's]
    steps
        Updates in all. [default: the preset's]
    batch_size
        Rows per update. [default: 128]
    learning_rate
        Adam's step. [default: the preset's]
    preprocess
        "auto", or some of standardise, scale (standardise, but zero stays zero), range (each column to
        [0, 1]), unit, pad:WIDTH, dequantise:LEVELS, logit, binarise:THRESHOLD, bernoulli (bits drawn
        anew), spins, flip, image, flatten, with commas between them. [default: auto]
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


@command(MAKE)
def distil(
    run: Run,
    /,
    *,
    out: Path,
    method: Literal["fisher", "kernel"] = "fisher",
    steps: int = 3000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    latent: int | None = None,
    width: int = 200,
    seed: Seed = 0,
    device: Literal["auto", "cpu", "gpu", "tpu"] = "auto",
) -> int:
    """Train a generator whose draws are those of a trained run's energy: samples at once, without chains.

    A network G is moved until x = G(z), z normal, has the law p(x) ∝ exp(−E(x)) of the run, at
    temperature 1. Only the score −∇E is asked for (so that a run of a field will do); no sample of the
    law and no normaliser. Of the data a thousand rows say where the generator starts and how wide. How
    far its draws are from the law is told (--method)

        fisher    by a critic, a network that learns beside it where the law
                  of the draws is not the energy's, with the kernel's help
        kernel    by the kernel Stein discrepancy of pairs of draws: quicker,
                  for a few columns

    The energy must be one over all real numbers: not of bits, nor of a density that ends at an edge. A
    noise-conditional model is taken at its smallest noise. The law is the energy's own, with the noise that
    it was trained on, if any; `energax denoise RUN` takes that off the draws.

    The new run folder draws with `energax sample`, in the data's own units, and has no energy to score
    with. At the end fresh draws are put to the kernel Stein test (`energax test`). The test, as the
    training, hardly sees how much mass lies in which of several far modes, so that a generator which has
    lost one is not told, and of many columns it sees little: look at samples.png.

    For example:

        energax distil runs/table --out runs/generator
        energax distil runs/table --out runs/quick --method kernel --steps 1000
        energax sample runs/generator -n 10000

    Parameters
    ----------
    out
        The new run folder. It appears when all is done: Ctrl-C leaves nothing.
    method
        See above.
    steps
        Updates of the generator; for each of them the critic has five.
    batch_size
        Draws per update.
    learning_rate
        Adam's step.
    latent
        Numbers that z has. With fewer than a row has, draws lie on a surface and have no density.
        [default: as many as a row has, at least 5]
    width
        Units in each of the generator's two layers.
    device
        Where to compute; auto is the best there is.
    """
    from energax.cli.distil import distil

    return distil(
        run,
        out=out,
        method=method,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        latent=latent,
        width=width,
        seed=seed,
        device=device,
    )
