r"""Every number and every row that the report shows; nothing is drawn here.

All measuring is in model units z = f(x), where noise is Gaussian and the energy lives; rows to
look at are brought back to data units by f⁻¹. Rows judged are held out; only the linear
denoiser and the neighbours look at training rows.

    samples      one annealed run gives samples, strip and energy trace       MDSM §3.2, figures 3 and F.1B
    denoising    x̃ − σ₀²∇E(x̃) at a dozen σ, none of them told to the model    MDSM eq. 9
    inpainting   the known part clamped and noised with the temperature       MDSM §4
    neighbours   samples and held-out rows against training rows              MDSM appendix C
    energies     E(x + σ₀z), since E is trained on noisy rows only            MDSM §4
"""

from energax.report.measure.denoising import Denoising, denoising, ratio_of_roots
from energax.report.measure.energies import Energies, energies
from energax.report.measure.inpainting import Inpainting, inpainting
from energax.report.measure.landscape import Landscape, landscape
from energax.report.measure.measurements import Measurements, measure
from energax.report.measure.neighbours import Neighbours, neighbours
from energax.report.measure.protocol import Protocol, protocol
from energax.report.measure.reach import Reach
from energax.report.measure.samples import Samples, Trace, sampling
from energax.report.measure.training import Training, training
from energax.report.measure.units import Units

__all__ = [
    "Denoising",
    "Energies",
    "Inpainting",
    "Landscape",
    "Measurements",
    "Neighbours",
    "Protocol",
    "Reach",
    "Samples",
    "Trace",
    "Training",
    "Units",
    "denoising",
    "energies",
    "inpainting",
    "landscape",
    "measure",
    "neighbours",
    "protocol",
    "ratio_of_roots",
    "sampling",
    "training",
]
