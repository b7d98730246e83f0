from energax import (
    checks as checks,
)
from energax import (
    config as config,
)
from energax import (
    data as data,
)
from energax import (
    derivatives as derivatives,
)
from energax import (
    energies as energies,
)
from energax import (
    evaluation as evaluation,
)
from energax import (
    objectives as objectives,
)
from energax import (
    papers as papers,
)
from energax import (
    report as report,
)
from energax import (
    samplers as samplers,
)
from energax import (
    tasks as tasks,
)
from energax import (
    testing as testing,
)
from energax import (
    training as training,
)
from energax._version import __version__ as __version__
from energax.checks import InputError as InputError
from energax.config import FitConfig as FitConfig
from energax.config import RunConfig as RunConfig
from energax.derivatives import Score as Score
from energax.derivatives import score as score
from energax.objectives import Batch as Batch
from energax.training import DivergenceError as DivergenceError
from energax.training import Fit as Fit
from energax.training import fit as fit
from energax.training.modelfile import load as load
from energax.training.modelfile import save as save
