"""The public face: immediate to import, complete, typed alike, and every floor kept."""

import ast
import subprocess
import sys

import pytest

import energax as ex
from energax import config
from tests.conftest import ROOT


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_loads_nothing_heavy():
    assert (
        run("import sys, energax; print([m for m in ('jax', 'numpy', 'equinox') if m in sys.modules])")
        == "[]\n"
    )
    assert run("import sys, energax.config, energax.presets; print('jax' in sys.modules)") == "False\n"


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

    pairs = {
        config.MLPOptions: ex.energies.MLP,
        config.PatchMixerOptions: ex.energies.PatchMixer,
        config.ResNetOptions: ex.energies.ResNet,
        config.MLPFieldOptions: ex.energies.MLPField,
        config.PatchMixerFieldOptions: ex.energies.PatchMixerField,
        config.NoiseConditionalOptions: ex.objectives.NoiseConditionalScoreMatching,
        config.ScoreMatchingOptions: ex.objectives.ScoreMatching,
        config.SlicedOptions: ex.objectives.SlicedScoreMatching,
        config.NonNegativeOptions: ex.objectives.NonNegativeScoreMatching,
        config.BoxOptions: ex.objectives.BoxScoreMatching,
        config.RatioOptions: ex.objectives.RatioMatching,
        config.DSMOptions: ex.objectives.DenoisingScoreMatching,
        config.MDSMOptions: ex.objectives.MultiscaleDenoisingScoreMatching,
    }
    assert set(pairs) == {*config.ENERGIES.values(), *config.OBJECTIVES.values()}
    for options, made in pairs.items():
        arguments = inspect.signature(made).parameters
        for name, value in vars(options()).items():
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
