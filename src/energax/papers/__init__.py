"""The papers' studies, one file per reproduced table or figure, by name.

This table imports nothing heavy; a study's own module is imported when it runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SCALES", "STUDIES", "Study"]


SCALES = ("smoke", "cpu", "paper")


@dataclass(frozen=True)
class Study:
    """A table or figure of a paper that one command reproduces.

    Parameters
    ----------
    name
        What `energax reproduce` calls it.
    title
        What it asks.
    source
        Paper and place.
    cost
        What it does at scale "cpu", how long that took on two cores, and what "paper" is.
    module
        The module of this package whose `run(scale, progress)` answers with an `Outcome`.
    kept
        The file in its folder where a study keeps what it has finished, to go on from: then it is
        `run(scale, progress, file)`. None for a study that does not.
    """

    name: str
    title: str
    source: str
    cost: str
    module: str
    kept: str | None = None

    def run(self, out: Path, scale: str = "cpu", progress: Callable[[str], None] = print) -> Path:
        """Run the study into the folder `out` and return the picture to look at first.

        Beside figure.png stand table.md, with the verdict, and result.json.

        Parameters
        ----------
        out
            An existing folder: empty, or one with the file that the study keeps.
        scale
            "smoke", under a minute, shows only that it works; "cpu" is what two cores answer in
            minutes; "paper" has the paper's own settings.
        progress
            Called with a line of text as parts are done.
        """
        module = importlib.import_module(f"energax.papers.{self.module}")
        outcome = module.run(scale, progress, *([out / self.kept] if self.kept else []))
        return importlib.import_module("energax.papers.outcome").write(outcome, out)


STUDIES: dict[str, Study] = {
    study.name: study
    for study in [
        Study(
            name="mdsm-single-noise",
            title="Samples of energies trained at one noise level (0.3, 0.6, 1.0) against all levels",
            source="Li, Chen & Sommer (2019), appendix B, figure B.1",
            cost="cpu: four trainings of the 8 × 8 digits, some minutes; paper: four of MNIST",
            module="mdsm_single_noise",
        ),
        Study(
            name="mdsm-likelihood",
            title="Bits per dimension of MDSM's energies between two ends of log Z, beside what is possible",
            source="Li, Chen & Sommer (2019), §4, table 1 and appendix F",
            cost="cpu: digits, and MNIST by a perceptron, some minutes each; paper: the preset of MNIST",
            module="mdsm_likelihood",
        ),
        Study(
            name="mdsm-annealing",
            title="Energy against temperature on the way down, held, and on the way up",
            source="Li, Chen & Sommer (2019), appendix F, figure F.1B",
            cost="cpu: one training of the 8 × 8 digits, three annealings, some minutes; paper: with MNIST",
            module="mdsm_annealing",
        ),
        Study(
            name="mdsm-table-1",
            title="Inception score, FID and bits per dimension of CIFAR-10, beside the paper's rows",
            source="Li, Chen & Sommer (2019), table 1",
            cost="cpu: says what it needs, in seconds; paper: the paper's network and 50,000 samples",
            module="mdsm_table_1",
        ),
        Study(
            name="mdsm-samples",
            title="Samples beside training images, with distances, scores and tests beside what bounds them",
            source="Li, Chen & Sommer (2019), figures 2 and E.2–E.4",
            cost="cpu: one training of the 8 × 8 digits, two minutes; paper: MNIST, Fashion-MNIST, CIFAR-10",
            module="mdsm_samples",
        ),
        Study(
            name="mdsm-memorisation",
            title="Samples beside their nearest training rows, where an energy must learn by heart and not",
            source="Li, Chen & Sommer (2019), appendix C, figure C.1",
            cost="cpu: four trainings of the 8 × 8 digits, three minutes; paper: four of Fashion-MNIST",
            module="mdsm_memorisation",
        ),
        Study(
            name="mdsm-mode-coverage",
            title="Modes of a thousand found by Langevin, HMC and parallel tempering, at equal gradients",
            source="Li, Chen & Sommer (2019), §4; Kumar et al. (2019)",
            cost="cpu: one training of stacked digits, 6,000 samples, ten minutes; paper: stacked MNIST",
            module="mdsm_mode_coverage",
        ),
        Study(
            name="mdsm-importance-weights",
            title="Where the importance ratio that MDSM sets to one matters, in 2 to 64 dimensions",
            source="Li, Chen & Sommer (2019), appendix A, equation (*)",
            cost="cpu: 48 small trainings, some minutes; paper: to 1,024 dimensions, 50,000 rows",
            module="mdsm_importance_weights",
        ),
        Study(
            name="mdsm-ablations",
            title="Head, ladder, largest noise, step, start, anneal, jump: the sentences, measured",
            source="Li, Chen & Sommer (2019), §4 and appendix D",
            cost="cpu: thirty trainings of the 8 × 8 digits, some minutes; paper: thirty of MNIST",
            module="mdsm_ablations",
        ),
        Study(
            name="mdsm-against-ncsn",
            title="Energy or free field, exact weights or not, told the noise or not: why NCSN was better",
            source="Li, Chen & Sommer (2019), §5; lecture, NCSN",
            cost="cpu: 21 trainings of the 8 × 8 digits, some minutes; paper: 21 of MNIST",
            module="mdsm_against_ncsn",
        ),
        Study(
            name="ncsn-toy-weights",
            title="Langevin dynamics misses the weights of two far modes, annealed over noise it finds them",
            source="Song & Ermon (2019); lecture, NCSN",
            cost="cpu: six small trainings, 4,000 chains, under two minutes; paper: two, 1,280 chains",
            module="ncsn_toy_weights",
        ),
        Study(
            name="dsm-control-variate",
            title="Denoising score matching's control variate: at which noise it helps, at which it hurts",
            source="Song & Kingma (2021), eq. 11–14; Wang et al. (2020)",
            cost="cpu: variances at eight levels, 48 short trainings, two minutes; paper: longer trainings",
            module="dsm_control_variate",
        ),
        Study(
            name="score-low-density",
            title="Scores learned without and with noise, where the data are dense and where they are not",
            source="Lecture, pitfalls; Song & Ermon (2019)",
            cost="cpu: twelve small trainings, two minutes; paper: twenty longer ones",
            module="score_low_density",
        ),
        Study(
            name="score-matching-cost",
            title="Time and memory of exact, sliced and denoising score matching as the dimension grows",
            source="Song & Kingma (2021), §4 and §4.2; Song, Garg, Shi & Ermon (2019)",
            cost="cpu: d = 8 … 1,024, two to three minutes; paper: d = 8 … 4,096",
            module="score_matching_cost",
        ),
        Study(
            name="ising-denoising",
            title="A photograph with 5, 10 and 20 % of its pixels flipped, restored under an Ising posterior",
            source="Lecture, Ising model",
            cost="cpu: 213 × 320 pixels, 17 settings, three repetitions, some minutes; paper: 427 × 640",
            module="ising_denoising",
        ),
        Study(
            name="bars-and-stripes",
            title="Exact likelihood after CD-1, CD-10, persistent and unbiased CD; bias and noise of each",
            source="Qiu, Zhang & Wang (2020); Hinton (2002); Tieleman (2008)",
            cost="cpu: 24 trainings of 1,500 updates with 32 chains, four minutes; paper: 10,000 with 992",
            module="bars_and_stripes",
        ),
        Study(
            name="rbm-digits",
            title="Boltzmann machines of digits and MNIST: exact likelihood by method, and scikit-learn's",
            source="Lecture, RBM; Hinton (2002); Tieleman (2008)",
            cost="cpu: 36 trainings of the 8 × 8 digits, 13 of MNIST, ten minutes; paper: longer ones",
            module="rbm_digits",
        ),
        Study(
            name="gb-rbm",
            title="A Gaussian–Bernoulli machine of MNIST's logits against densities without hidden bits",
            source="Grathwohl et al. (2020), §7.1 and figure 14",
            cost="cpu: 37 trainings on 10,000 rows, five minutes; paper: 145 on 60,000",
            module="gb_rbm",
        ),
        Study(
            name="cnce-models",
            title="Errors of conditional NCE, NCE and maximum likelihood on three models as data grow",
            source="Ceylan & Gutmann (2018), §4",
            cost="cpu: 16 ground truths of three models, N to 4,000, three minutes; paper: 100, N to 20,000",
            module="cnce_models",
        ),
        Study(
            name="nce-noise",
            title="Errors of θ and log Z as the noise moves from far to the data, and with its ratio",
            source="Song & Kingma (2021), §5; Gutmann & Hyvärinen (2012); Chehab et al. (2022)",
            cost="cpu: 33 noises, 100 or 200 samples of 1,000 rows, three minutes; paper: to 1,000",
            module="nce_noise",
        ),
        Study(
            name="nce-self-normalised",
            title="Self-normalised NCE: log Z of the fit, with a constant in the energy and without",
            source="Gutmann & Hyvärinen (2012); Mnih & Teh (2012)",
            cost="cpu: three models, seven noises, 100 samples of 1,000 and 4,000 rows, 4 min; paper: 400",
            module="nce_self_normalised",
        ),
        Study(
            name="ica-baselines",
            title="Linear ICA in 10 to 50 dimensions: maximum likelihood, score matching, NCE, CNCE",
            source="Grathwohl et al. (2020), §8.1 and figure 8",
            cost="cpu: seven ways, two rates, five matrices, D = 10 … 30, four minutes; paper: D to 50",
            module="ica_baselines",
        ),
        Study(
            name="dbm-mnist",
            title="A deep Boltzmann machine of MNIST: exact when small, what pretraining is worth, samples",
            source="Salakhutdinov & Hinton (2009)",
            cost="cpu: 16 small trainings, four of 784-200-100, eight minutes; paper: 784-500-1000",
            module="dbm_mnist",
        ),
        Study(
            name="ml-speed",
            title="A step of MDSM against maximum likelihood's with 10, 30, 60 Langevin steps, and its worth",
            source="Li, Chen & Sommer (2019), §4",
            cost="cpu: timings on three networks, 32 trainings of digits, 15 minutes; paper: longer",
            module="ml_speed",
        ),
        Study(
            name="mpf-ising",
            title="Fifty bits' couplings by probability flow and pseudo-likelihood, against the truth",
            source="Sohl-Dickstein, Battaglino & DeWeese (2011), the Ising demonstration",
            cost="cpu: three machines, 1,000 to 10,000 samples, three minutes; paper: ten, to 30,000",
            module="mpf_ising",
        ),
        Study(
            name="rbm-comparison",
            title="Small Boltzmann machines of 100 samples by PL, MPF, CD-1, CD-10: exact bits, with decay",
            source="Sohl-Dickstein, Battaglino & DeWeese (2011), the RBM demonstration",
            cost="cpu: 100 trainings of 10 × 10 units, two minutes; paper: 500, longer",
            module="rbm_comparison",
        ),
        Study(
            name="fce-2d",
            title="Eight Gaussians by flow contrastive estimation, other noises, and the flow alone",
            source="Gao et al. (2020); Bose, Ling & Cao (2018)",
            cost="cpu: fifteen trainings of 2,000 updates, three minutes; paper: 25 of 50,000",
            module="fce_2d",
        ),
        Study(
            name="nce-table",
            title="Real tables: an energy's held-out likelihood by NCE beside scikit-learn's densities",
            source="Gutmann & Hyvärinen (2012), on tables of ADBench",
            cost="cpu: two tables, three splits, 24 trainings, three minutes; paper: five tables, ten splits",
            module="nce_table",
        ),
        Study(
            name="lsd-model-selection",
            title="Which critic is kept: mean, mean − sd or the objective, where the truth is known",
            source="Grathwohl et al. (2020), appendix A and figure 10",
            cost="cpu: 128 critics of ten dimensions, two minutes; paper: 600 wider ones, longer",
            module="lsd_model_selection",
        ),
        Study(
            name="lsd-critic",
            title="Learned critics against the best one between Gaussians in a hundred dimensions",
            source="Grathwohl et al. (2020), figure 3",
            cost="cpu: 24 critics on 1,000 to 20,000 rows, some minutes; paper: 80 wider ones",
            module="lsd_critic",
        ),
        Study(
            name="lsd-rbm-evaluation",
            title="How far a perturbed machine is: learned and kernel Stein discrepancies against theory",
            source="Grathwohl et al. (2020), §7.2 and figure 6",
            cost="cpu: twelve machines at five levels, 150 steps a critic, minutes; paper: 120, 1,000",
            module="lsd_rbm_evaluation",
        ),
        Study(
            name="lsd-gof",
            title="Tests of fit on perturbed machines: the learned one against kernels; its level; cost",
            source="Grathwohl et al. (2020), §7.1 and figure 5",
            cost="cpu: 300 machines, 200 steps a critic, 20 min; paper: 3,000, 1,000 steps, resumable",
            module="lsd_gof",
            kept="replicates.jsonl",
        ),
        Study(
            name="mcmc-judged",
            title="A real posterior sampled well and badly: tests of fit tell them apart, R̂ does not",
            source="Gorham & Mackey (2015); Vehtari et al. (2021); Grathwohl et al. (2020), §5.2",
            cost="cpu: four samplers, five runs of 16 chains each, some minutes; paper: six, a hundred runs",
            module="mcmc_judged",
        ),
        Study(
            name="stein-sampler",
            title="Generators trained for a density, by a kernel or a critic; what the critic's trace costs",
            source="Hu et al. (2018); Grathwohl et al. (2020), §9",
            cost="cpu: six generators of 3,000 steps, some minutes; paper: fifteen of 20,000",
            module="stein_sampler",
        ),
        Study(
            name="lsd-toy",
            title="Densities in the plane by the learned Stein discrepancy, judged by quadrature",
            source="Grathwohl et al. (2020), figure 4 and B.4",
            cost="cpu: forty small trainings of four densities, some minutes; paper: six, wider and longer",
            module="lsd_toy",
        ),
        Study(
            name="lsd-middle-man",
            title="One network trained by short chains and by LSD: what its density is, what its samples are",
            source="Grathwohl et al. (2020), figure 1",
            cost="cpu: twelve small trainings of eight Gaussians, four minutes; paper: wider and longer",
            module="lsd_middle_man",
        ),
        Study(
            name="lsd-ica",
            title="Linear ICA by LSD beside likelihood, score matching, NCE and CNCE; what a turn is worth",
            source="Grathwohl et al. (2020), §8.1 and figure 8",
            cost="cpu: 16 settings, three matrices, D = 10 and 20, ten minutes; paper: D to 50, longer",
            module="lsd_ica",
        ),
        Study(
            name="lsd-images",
            title="Deep energies and machines of images by LSD: the fit at the data, and where chains end",
            source="Grathwohl et al. (2020), §8.2, B.6, C.3 and figures 9, 11–14",
            cost="cpu: MNIST and Fashion-MNIST in 14 × 14, six trainings, seven minutes; paper: 28 × 28",
            module="lsd_images",
        ),
        Study(
            name="adbench",
            title="Outlier scores of energies on real tables, beside scikit-learn's detectors",
            source="Han et al. (2022); Li, Chen & Sommer (2019), appendix F",
            cost="cpu: eight tables, 16 energies of 1,000 steps, minutes; paper: 18 tables, five seeds",
            module="adbench",
        ),
        Study(
            name="mdsm-outliers",
            title="Which data does an energy find likelier than its own? Every score, beside mere contrast",
            source="Li, Chen & Sommer (2019), appendix F, figure F.1A",
            cost="cpu: Fashion-MNIST and MNIST, a training each, minutes; paper: CIFAR-10 and SVHN, a GPU",
            module="mdsm_outliers",
        ),
        Study(
            name="mdsm-inpainting",
            title="Test images completed: errors beside linear guesses and neighbours, and the draws' spread",
            source="Li, Chen & Sommer (2019), §4, figure 3",
            cost="cpu: 100 digits of 8 × 8, three masks, four draws, minutes; paper: CelebA, a GPU",
            module="mdsm_inpainting",
        ),
        Study(
            name="lsd-flows",
            title="Does the discrepancy rank a flow's checkpoints as its exact likelihood does?",
            source="Grathwohl et al. (2020), §7.2, B.3, figure 7",
            cost="cpu: two flows on MNIST at 14 × 14, ten checkpoints, minutes; paper: 28 × 28, wider",
            module="lsd_flows",
        ),
        Study(
            name="lsd-at-scale",
            title="Which critic finds most on images: three constraints, two architectures",
            source="Grathwohl et al. (2020), §9",
            cost="cpu: 5,000 MNIST digits of 14 × 14, twelve critics, 5 min; paper: 28 × 28, 30",
            module="lsd_at_scale",
        ),
    ]
}
