"""Where the files of a known data set come from.

In this order: the folder named by ``ENERGAX_DATA``, one subfolder per data set, whose files
are trusted as the user's own; the cache (``ENERGAX_CACHE``, else the system's cache folder);
the site of the data's authors or its usual mirror. What is downloaded, and what is found in
the cache under a downloadable name, must match its checksum.
"""

from __future__ import annotations

import os
from pathlib import Path

from energax.checks import InputError, check

__all__ = ["CHECKSUMS", "MIRRORS", "cache_folder", "data_folder", "fetch", "find", "folders"]

MIRRORS = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "cifar10": "https://www.cs.toronto.edu/~kriz/",
    "svhn": "http://ufldl.stanford.edu/housenumbers/",
}

# SHA-256, taken of files whose MD5 equals the one the authors publish; "md5:" where only that
# one is known to us.
CHECKSUMS = {
    "mnist": {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    "cifar10": {"cifar-10-binary.tar.gz": "md5:c32a1d4ab5d03f1284b67883e8d87530"},
    "svhn": {
        "train_32x32.mat": "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "md5:eb5a983be6a315427106f1b164d9cef3",
    },
}


def data_folder() -> Path | None:
    """Return the folder named by ``ENERGAX_DATA``, or None if the variable is not set.

    Raises
    ------
    InputError
        If the variable names something that is not a folder.
    """
    named = os.environ.get("ENERGAX_DATA")
    if not named:
        return None
    folder = Path(named).expanduser()
    check(folder.is_dir(), "data", "$ENERGAX_DATA", "an existing folder", repr(named))
    return folder


def cache_folder() -> Path:
    """Return the folder, perhaps not there yet, for what is downloaded or costly to make again.

    It is ``$ENERGAX_CACHE``, else the system's folder for caches.
    """
    named = os.environ.get("ENERGAX_CACHE")
    if named:
        return Path(named).expanduser()
    import pooch

    return Path(pooch.os_cache("energax"))


def folders(dataset: str) -> list[Path]:
    """Return the existing folders that may hold files of `dataset`, the user's own first."""
    roots = [root for root in (data_folder(), cache_folder()) if root is not None]
    return [root / dataset for root in roots if (root / dataset).is_dir()]


def find(dataset: str, *names: str) -> Path | None:
    """Return the first of `names` (files or folders) that is there without a download."""
    for folder in folders(dataset):
        for name in names:
            if (folder / name).exists():
                return folder / name
    return None


def fetch(dataset: str, *names: str) -> Path:
    """Return the path of a data set's file, downloading it if need be.

    Parameters
    ----------
    dataset
        Name of the data set, which is also its subfolder.
    names
        Names under which the file is accepted. The first is the one to download, if
        ``CHECKSUMS`` knows it.

    Returns
    -------
    pathlib.Path
        An existing file.

    Raises
    ------
    InputError
        If the file is nowhere, cannot be downloaded, or has the wrong checksum; the sentence
        says where to put it.
    """
    checksum = CHECKSUMS.get(dataset, {}).get(names[0])
    for folder in folders(dataset):
        own = folder.parent == data_folder()
        for name in names:
            # A cached download is left to pooch, which verifies it and replaces a damaged one.
            verified = checksum is not None and name == names[0] and not own
            if (folder / name).is_file() and not verified:
                return folder / name
    by_hand = f"in the folder {dataset} of $ENERGAX_DATA or in {cache_folder() / dataset}"
    if checksum is None:
        check(False, dataset, names[0], by_hand, "no such file there")
    import pooch

    url = MIRRORS[dataset] + names[0]
    try:
        return Path(pooch.retrieve(url, known_hash=checksum, fname=names[0], path=cache_folder() / dataset))
    except ValueError:  # what pooch raises for a file whose checksum is not the known one
        reason = f"a file with another checksum than {checksum}"
    except OSError as error:  # requests' errors are OSErrors too
        response = getattr(error, "response", None)
        status = f", status {response.status_code}" if response is not None else ""
        reason = f"no file from the network ({type(error).__name__}{status})"
    raise InputError(f"{dataset}: {names[0]} must be {by_hand}, or come from {url}; got {reason}.")
