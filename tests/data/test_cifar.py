import builtins
import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from energax.checks import InputError
from energax.data import cifar10
from energax.data.cifar import TEST, TRAIN, read_binary_batch, read_pickled_batch

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8), np.array([3, 9])
PLANES = IMAGES.transpose(0, 3, 1, 2).reshape(2, 3072)
BINARY = np.column_stack([LABELS.astype(np.uint8), PLANES]).tobytes()
BATCH = {
    b"batch_label": b"one",
    b"labels": LABELS.tolist(),
    b"data": PLANES,
    b"filenames": [b"a.png", b"b.png"],
}


def python_2_pickle():
    """Spell a batch as Python 2 did: byte strings, and NumPy's old module names."""

    def short(text):
        return b"U" + bytes([len(text)]) + text

    raw = PLANES.tobytes()
    dtype = b"cnumpy\ndtype\n(" + short(b"u1") + b"K\0K\x01tR(K\x03" + short(b"|") + b"NNNJ\xff\xff\xff\xff"
    dtype += b"J\xff\xff\xff\xffK\0tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0t" + short(b"b") + b"tR"
    array += b"(K\x01(K\x02M\x00\x0ct" + dtype + b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    return b"\x80\x02}(" + short(b"labels") + b"](K\x03K\te" + short(b"data") + array + b"u."


def assert_right(batch):
    assert (batch[0] == IMAGES).all()
    assert batch[1].tolist() == LABELS.tolist()


def test_binary_batch():
    assert_right(read_binary_batch("b", BINARY))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_pickled_batch(protocol):
    assert_right(read_pickled_batch("b", pickle.dumps(BATCH, protocol)))


def test_pickled_batch_of_python_2():
    content = python_2_pickle()
    assert (pickle.loads(content, encoding="bytes")[b"data"] == PLANES).all()  # the spelling is right
    assert_right(read_pickled_batch("b", content))


class Runs:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {}",), r"(posix|nt)\.system"),
        (builtins.eval, ("open({!r}, 'w')",), r"(builtins|__builtin__)\.eval"),
        (os.mkdir, ("{}",), r"(posix|nt)\.mkdir"),
        (np.load, ("{}",), r"numpy\.load"),
        (getattr, (np, "ndarray"), r"builtins\.getattr"),
    ],
)
def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path, function, arguments, name):
    trace = tmp_path / "trace"
    if function is getattr:
        content = b"cbuiltins\ngetattr\n."
    else:
        hostile = Runs(function, *(a.format(str(trace)) for a in arguments))
        content = pickle.dumps(BATCH | {b"more": hostile}, 2)
    with pytest.raises(
        InputError, match=f"^cifar10: b must be an original CIFAR-10 batch; got .* {name}\\.$"
    ):
        read_pickled_batch("b", content)
    assert not trace.exists()


def test_the_check_above_can_fail(tmp_path):
    trace = tmp_path / "trace"
    pickle.loads(pickle.dumps(Runs(os.mkdir, str(trace)), 2))  # the mutant: a plain unpickler
    assert trace.exists()


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "EOFError while reading"),
        (pickle.dumps(BATCH, 2)[:-100], "pickle data was truncated|UnpicklingError|EOFError"),
        (pickle.dumps([1, 2], 2), "AttributeError while reading"),
        (pickle.dumps({b"labels": [1]}, 2), "KeyError while reading"),
        (pickle.dumps(BATCH | {b"data": b"abc"}, 2), "a batch whose data is no array"),
        (pickle.dumps(BATCH | {b"data": PLANES.astype(float)}, 2), r"no array of bytes \(n, 3072\)"),
        (pickle.dumps(BATCH | {b"data": np.array([None])}, 2), r"no array of bytes \(n, 3072\)"),
        (b"cnumpy\nndarray\n}b.", "TypeError while reading"),  # a state for a stand-in itself
        (b"\x80\x02c_codecs\nencode\n(X\x01\0\0\0aX\x05\0\0\0utf-8tR.", "an encoding other than latin1"),
    ],
)
def test_damaged_pickles_are_one_sentence(content, got):
    with pytest.raises(InputError, match=f"^cifar10: b must be an original CIFAR-10 batch; got .*({got})"):
        read_pickled_batch("b", content)


def test_wrong_records_and_labels_are_refused():
    with pytest.raises(InputError, match="cifar10: b must be whole records of 3073 bytes; got 6145 bytes"):
        read_binary_batch("b", BINARY[:-1])
    with pytest.raises(InputError, match="the labels of b must be one of 0 to 9"):
        read_binary_batch("b", b"\x0a" + BINARY[1:])
    with pytest.raises(InputError, match="the labels of b must be one of 0 to 9 per image"):
        read_pickled_batch("b", pickle.dumps(BATCH | {b"labels": [1]}, 2))


def archive():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in (*TRAIN, *TEST):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(BINARY)
            tar.addfile(member, io.BytesIO(BINARY))
    return content.getvalue()


@pytest.mark.parametrize("form", ["bin", "bin here", "py", "tar", "npz"])
def test_every_form_gives_the_same_images(places, form):
    folder = places[0] / "cifar10"
    folder.mkdir()
    if form == "tar":
        (folder / "cifar-10-binary.tar.gz").write_bytes(archive())
    elif form == "npz":
        x, y = np.concatenate([IMAGES] * 5), np.concatenate([LABELS] * 5)
        np.savez(folder / "cifar10.npz", x_train=x, y_train=y[:, None], x_test=IMAGES, y_test=LABELS)
    else:
        within = folder if form == "bin here" else folder / f"cifar-10-batches-{form}"
        within.mkdir(exist_ok=True)
        suffix, content = ("", pickle.dumps(BATCH, 2)) if form == "py" else (".bin", BINARY)
        for name in (*TRAIN, *TEST):
            (within / f"{name}{suffix}").write_bytes(content)
    data = cifar10()
    assert data.name == "cifar10"
    assert data.image_shape == (32, 32, 3)
    assert (np.round(data.train * 255) == np.concatenate([IMAGES] * 5)).all()
    assert (np.round(data.test * 255) == IMAGES).all()
    assert data.train.max() <= 1
    assert data.train_labels.tolist() == LABELS.tolist() * 5


def test_incomplete_and_damaged_sets_are_one_sentence(places):
    folder = places[0] / "cifar10"
    folder.mkdir()
    np.savez(folder / "a.npz", x=IMAGES)
    with pytest.raises(
        InputError, match=r"cifar10: a\.npz must be an archive of x_train, x_test, .*; got x\."
    ):
        cifar10()
    np.savez(folder / "a.npz", x_train=PLANES, y_train=LABELS, x_test=PLANES, y_test=LABELS)
    with pytest.raises(InputError, match=r"a\.npz must be images of bytes \(n, 32, 32, 3\)"):
        cifar10()
    (folder / "a.npz").write_bytes(b"PK nonsense")
    with pytest.raises(InputError, match=r"a\.npz must be an archive of arrays; got"):
        cifar10()
    (folder / "cifar-10-binary.tar.gz").write_bytes(archive()[:-2000])
    with pytest.raises(InputError, match=r"tar\.gz must be the authors' archive of binary batches; got"):
        cifar10()
    (folder / "data_batch_1.bin").write_bytes(BINARY)
    with pytest.raises(InputError, match=r"data_batch_2\.bin must be a readable file; got FileNotFoundError"):
        cifar10()


def test_the_published_subset(real_data):
    if not (real_data / "cifar10" / "cifar10-5000.npz").is_file():
        pytest.skip("another form of CIFAR-10 is here")
    data = cifar10()
    assert data.name == "cifar10-5000"
    assert (data.train.shape, data.test.shape) == ((4000, 32, 32, 3), (1000, 32, 32, 3))
