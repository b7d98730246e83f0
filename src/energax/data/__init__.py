"""Data: what comes with Energax, what is published, what is yours; and invertible preprocessing.

`load` opens all of it by name or path and answers with a `Dataset`; `preprocessing` builds the
`Pipeline` from its units to a model's and back.
"""

from energax.data.alphadigits import alphadigits
from energax.data.celeba import celeba
from energax.data.cifar import cifar10
from energax.data.dataset import Dataset
from energax.data.digits import digits
from energax.data.idx import fashion_mnist, mnist, notmnist, read_idx
from energax.data.images import image_folder, read_images
from energax.data.load import load
from energax.data.preprocessing import preprocessing
from energax.data.stacked import stacked
from energax.data.svhn import svhn
from energax.data.tables import read_table, table_file
from energax.data.toy import toy
from energax.data.transforms import (
    Affine,
    Binarise,
    Dequantise,
    HorizontalFlip,
    Logit,
    Pad,
    Pipeline,
    Reshape,
    Transform,
)

__all__ = [
    "Affine",
    "Binarise",
    "Dataset",
    "Dequantise",
    "HorizontalFlip",
    "Logit",
    "Pad",
    "Pipeline",
    "Reshape",
    "Transform",
    "alphadigits",
    "celeba",
    "cifar10",
    "digits",
    "fashion_mnist",
    "image_folder",
    "load",
    "mnist",
    "notmnist",
    "preprocessing",
    "read_idx",
    "read_images",
    "read_table",
    "stacked",
    "svhn",
    "table_file",
    "toy",
]
