import functools
import gzip
import hashlib
import http.server
import threading

import numpy as np
import pytest

from energax.checks import InputError
from energax.data import cifar10, mnist
from energax.data.sources import CHECKSUMS, MIRRORS, data_folder, fetch, find

NAMES = [f"{part}-{what}-ubyte.gz" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch, idx_bytes):
    """A mirror of a three-picture MNIST on this machine; `site.stop()` takes it off the net."""
    folder = tmp_path / "site"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28))
    for name in NAMES:
        (folder / name).write_bytes(gzip.compress(idx_bytes(images if "images" in name else [1, 2, 3])))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def stop():
        if thread.is_alive():
            server.shutdown()
            thread.join()
            server.server_close()

    server.stop, server.images, server.folder = stop, images, folder
    monkeypatch.setitem(MIRRORS, "mnist", f"http://127.0.0.1:{server.server_port}/")
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in NAMES}
    monkeypatch.setitem(CHECKSUMS, "mnist", sums)
    yield server
    stop()


def test_download_once_then_offline(site, places):
    assert (np.round(mnist().train[..., 0] * 255) == site.images).all()
    assert sorted(file.name for file in (places[1] / "mnist").iterdir()) == sorted(NAMES)
    site.stop()
    assert mnist().test_labels.tolist() == [1, 2, 3]


def test_a_wrong_checksum_is_refused_and_leaves_nothing(site, places, monkeypatch):
    monkeypatch.setitem(CHECKSUMS["mnist"], NAMES[0], "0" * 64)
    expected = (
        rf"^mnist: {NAMES[0]} must be in the folder mnist of \$ENERGAX_DATA or in .*mnist, or come from "
        r"http://.*; got a file with another checksum than 0+\.$"
    )
    with pytest.raises(InputError, match=expected):
        mnist()
    assert not list((places[1] / "mnist").iterdir())


def test_a_damaged_cache_is_replaced(site, places):
    (places[1] / "mnist").mkdir()
    (places[1] / "mnist" / NAMES[0]).write_bytes(b"damaged")
    assert (np.round(mnist().train[..., 0] * 255) == site.images).all()


def test_md5_sums_are_understood(site, places, monkeypatch):
    digest = hashlib.md5((site.folder / NAMES[0]).read_bytes()).hexdigest()
    monkeypatch.setitem(CHECKSUMS["mnist"], NAMES[0], f"md5:{digest}")
    assert fetch("mnist", NAMES[0]).is_file()


def test_no_connection_is_one_sentence(site, places):
    site.stop()
    with pytest.raises(InputError, match=r"got no file from the network \(ConnectionError\)\.$") as caught:
        mnist()
    assert "in the folder mnist of $ENERGAX_DATA" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_such_file_on_the_site(site, places):
    (site.folder / NAMES[0]).unlink()
    with pytest.raises(InputError, match=r"got no file from the network \(HTTPError, status 404\)\.$"):
        mnist()


def test_the_users_folder_comes_first_and_is_trusted(site, places, idx_bytes):
    (places[0] / "mnist").mkdir()
    for name in NAMES:
        rows = np.zeros((1, 28, 28)) if "images" in name else [9]
        (places[0] / "mnist" / name).write_bytes(gzip.compress(idx_bytes(rows)))
    assert mnist().train_labels.tolist() == [9]
    assert not (places[1] / "mnist").exists()


def test_an_unpacked_file_in_the_cache_needs_no_network(site, places, idx_bytes):
    site.stop()
    (places[1] / "mnist").mkdir()
    for name in NAMES:
        rows = np.zeros((1, 28, 28)) if "images" in name else [9]
        (places[1] / "mnist" / name.removesuffix(".gz")).write_bytes(idx_bytes(rows))
    assert mnist().train_labels.tolist() == [9]


def test_cifar10_is_downloaded_as_an_archive(site, places, monkeypatch):
    monkeypatch.setitem(MIRRORS, "cifar10", MIRRORS["mnist"])
    (site.folder / "cifar-10-binary.tar.gz").write_bytes(b"not the authors' archive")
    with pytest.raises(InputError, match="got a file with another checksum than md5:c32a1d4ab5d03f1284b"):
        cifar10()


def test_where_files_are_looked_for(places, monkeypatch, tmp_path):
    assert data_folder() == places[0]
    assert find("some", "file") is None
    with pytest.raises(InputError, match=r"^some: file must be in the folder some of \$ENERGAX_DATA or in "):
        fetch("some", "file")
    (places[1] / "some").mkdir()
    (places[1] / "some" / "file").touch()
    assert fetch("some", "file") == find("some", "file") == places[1] / "some" / "file"
    monkeypatch.setenv("ENERGAX_DATA", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"data: \$ENERGAX_DATA must be an existing folder; got '.*none'"):
        data_folder()
    monkeypatch.delenv("ENERGAX_DATA")
    assert data_folder() is None


def test_the_sums_are_those_of_the_published_files(real_data):
    published = {  # the MD5 sums that the authors print
        "mnist": {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        "fashion-mnist": {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    }
    for dataset, sums in published.items():
        for name, md5 in sums.items():
            content = (real_data / dataset / name).read_bytes()
            assert hashlib.md5(content).hexdigest() == md5
            assert hashlib.sha256(content).hexdigest() == CHECKSUMS[dataset][name]
