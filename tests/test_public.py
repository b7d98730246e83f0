"""The public face: immediate to import, complete, typed alike, and every floor kept."""

import ast
import subprocess
import sys

import pytest

import energax as ex
from energax import options
from tests.conftest import ROOT


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_loads_nothing_heavy():
    assert (
        run("import sys, energax; print([m for m in ('jax', 'numpy', 'equinox') if m in sys.modules])")
        == "[]\n"
    )
    assert run("import sys, energax.config, energax.presets; print('jax' in sys.modules)") == "False\n"


def test_pools_come_with_the_samplers():
    said = run(
        "import sys, energax as ex; ex.samplers.pools.Replay; print('energax.objectives' in sys.modules)"
    )
    assert said == "False\n"


def test_every_public_name_is_there_and_the_stub_says_the_same():
    for name in ex.__all__:
        assert getattr(ex, name) is not None
    stub = ast.parse((ROOT / "src/energax/__init__.pyi").read_text())
    named = {
        alias.asname for node in ast.walk(stub) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert named == set(ex.__all__)


def test_a_misspelt_name_raises_an_attribute_error():
    with pytest.raises(AttributeError, match="fitt"):
        getattr(ex, "fitt")  # noqa: B009


def test_options_are_the_constructors_arguments():
    import inspect

    from energax.cli.stacks import deep_boltzmann, multigrid

    pairs = {
        options.MLPOptions: ex.energies.MLP,
        options.PatchMixerOptions: ex.energies.PatchMixer,
        options.ResNetOptions: ex.energies.ResNet,
        options.MLPFieldOptions: ex.energies.MLPField,
        options.PatchMixerFieldOptions: ex.energies.PatchMixerField,
        options.NoiseConditionalOptions: ex.objectives.NoiseConditionalScoreMatching,
        options.ScoreMatchingOptions: ex.objectives.ScoreMatching,
        options.SlicedOptions: ex.objectives.SlicedScoreMatching,
        options.NonNegativeOptions: ex.objectives.NonNegativeScoreMatching,
        options.BoxOptions: ex.objectives.BoxScoreMatching,
        options.RatioOptions: ex.objectives.RatioMatching,
        options.DSMOptions: ex.objectives.DenoisingScoreMatching,
        options.MDSMOptions: ex.objectives.MultiscaleDenoisingScoreMatching,
        options.BernoulliRBMOptions: ex.energies.BernoulliRBM,
        options.GaussianRBMOptions: ex.energies.GaussianBernoulliRBM,
        options.IsingOptions: ex.energies.Ising,
        options.IsingGraphOptions: ex.energies.IsingGraph.from_data,
        options.ContrastiveDivergenceOptions: ex.objectives.ContrastiveDivergence,
        options.PersistentOptions: ex.objectives.PersistentContrastiveDivergence,
        options.ReplayOptions: ex.objectives.ReplayBufferLikelihood,
        options.ShortRunOptions: ex.objectives.ShortRunLikelihood,
        options.ImprovedOptions: ex.objectives.ImprovedContrastiveDivergence,
        options.MeanFieldOptions: ex.objectives.MeanFieldContrastiveDivergence,
        options.UnbiasedOptions: ex.objectives.UnbiasedContrastiveDivergence,
        options.ExactOptions: ex.objectives.ExactMaximumLikelihood,
        options.ContrastOptions: ex.objectives.NoiseContrastiveEstimation,
        options.BregmanOptions: ex.objectives.BregmanNoiseContrastiveEstimation,
        options.ConditionalContrastOptions: ex.objectives.ConditionalNoiseContrastiveEstimation,
        options.ShiftedContrastOptions: ex.objectives.ShiftedNoiseContrastiveEstimation,
        options.FlowContrastOptions: ex.objectives.FlowContrastiveEstimation,
        options.AdversarialContrastOptions: ex.objectives.AdversarialContrastiveEstimation,
        options.ProbabilityFlowOptions: ex.objectives.MinimumProbabilityFlow,
        options.CompositeOptions: ex.objectives.CompositeLikelihood,
        options.VelocityOptions: ex.objectives.MinimumVelocityLearning,
        options.LearnedSteinOptions: ex.objectives.LearnedSteinDiscrepancy,
        options.KernelSteinOptions: ex.objectives.KernelSteinDiscrepancy,
        options.ICAOptions: ex.energies.LinearICA.from_data,
        options.MultigridOptions: multigrid,
        options.DeepBoltzmannOptions: deep_boltzmann,
        options.MultigridDivergenceOptions: ex.objectives.MultigridContrastiveDivergence,
        options.VariationalOptions: ex.objectives.DeepBoltzmannLikelihood,
    }
    # Two numbers stand for the sampler, and two for the buffer of improved contrastive divergence; the
    # stack that a deep machine starts as is trained once all else has been checked; what a network stands
    # on is made around it.
    built = {"chain", "step_size", "size", "restart", "pretrain", "base"}
    networks = (options.MLPOptions, options.PatchMixerOptions, options.ResNetOptions)
    indirect = (options.DynamicsOptions, options.DeepBoltzmannOptions, *networks)
    assert set(pairs) == {*options.ENERGIES.values(), *options.OBJECTIVES.values()}
    for chosen, made in pairs.items():
        arguments = dict(inspect.signature(made).parameters)
        if issubclass(chosen, options.FlowContrastOptions):  # with those of the flow it is given
            arguments |= inspect.signature(ex.energies.Flow.coupling).parameters
        for name, value in vars(chosen()).items():
            if issubclass(chosen, indirect) and name in built - set(arguments):
                continue
            assert name in arguments
            chosen_from_data = made is ex.objectives.NoiseConditionalScoreMatching and value is None
            if arguments[name].default is not inspect.Parameter.empty and not chosen_from_data:
                assert arguments[name].default == value, (made.__name__, name)


def test_the_floors_hold():
    lint = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "0 broken" in lint.stdout, lint.stdout + lint.stderr
