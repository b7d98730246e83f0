import sys

import numpy as np
import pytest

from energax.checks import InputError
from energax.data import Dataset, read_table, table_file
from energax.data.dataset import split


@pytest.fixture
def written(tmp_path):
    def write(text, name="t.csv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [
        ("1,2\n3,4\n", [[1, 2], [3, 4]], None),
        ("a,b\n1,2\n3,4", [[1, 2], [3, 4]], ("a", "b")),
        ("\ufeffa,b\r\n1,2\r\n3,4\r\n\r\n", [[1, 2], [3, 4]], ("a", "b")),
        (',"b, c"\n1,"-2e-1"\n3, 4 ', [[1, -0.2], [3, 4]], ("column 1", "b, c")),
        ("x\n1\n2", [[1], [2]], ("x",)),
    ],
)
def test_csv(written, text, rows, columns):
    table = read_table(written(text))
    assert table.rows.dtype == np.float32
    assert (table.rows == np.float32(rows)).all()
    assert table.columns == columns


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"read_table: t\.csv must be a table of at least 2 rows; got no row of numbers\."),
        ("a,b\n", r"t\.csv must be a table of at least 2 rows; got no row of numbers"),
        (
            "a,b\n1,2\n3,red\n5,blue",
            r"^t\.csv: 'b' must be a column of numbers; got 'red' on line 3\.$",
        ),
        ("1,2\n3,red", r"'column 2' must be a column of numbers; got 'red' on line 2"),
        ("1,2,?\n3,4,5", r"'column 3' must be a column of numbers; got '\?' on line 1"),
        ("a\n1_000\n2", r"'a' must be a column of numbers; got '1_000' on line 2"),
        ("a,b\n1,2\n3,\n", r"'b' must be finite and never blank; got '' on line 3"),
        ("a,b\n1,2\nNaN,4\n", r"'a' must be finite and never blank; got 'NaN' on line 3"),
        ("1,2\n-inf,4\n", r"'column 1' must be finite and never blank; got '-inf' on line 2"),
        ("1\n\n3\n", r"t\.csv must be 1 columns wide; got 0 on line 2"),
        ("1,2\n3,4,5\n", r"t\.csv must be 2 columns wide; got 3 on line 2"),
        (
            "a;b\n1;2\n3;4",
            r"^t\.csv: 'a;b' must be .*; got '1;2' on line 2 \(commas, not ';', part the columns\)\.$",
        ),
        ("1;2\n3;4", r"'1;2' must be a column of numbers; got '3;4' on line 2 \(commas, not ';',"),
        ("a;b\n1,5;2\n", r"must be 1 columns wide; got 2 on line 2 \(commas, not ';', part the columns\)\.$"),
        ("a\tb\n1\t2\n", r"got '1\\t2' on line 2 \(commas, not '\\t', part the columns\)\.$"),
        ("a;b,c\n1,red\n", r"got 'red' on line 2\.$"),
        ("a,b,a\n1,2,3\n", r"t\.csv must be a table of different names of columns; got 'a' twice\.$"),
        ("a, a\n1,2\n", r"got 'a' twice\.$"),
        (",column 1\n1,2\n", r"got 'column 1' twice\.$"),
        ("1\n1e300\n", r"t\.csv must be finite everywhere; got 1e\+300 in row 1, which is beyond float32"),
        (b"a\n\xff\xfe\n", r"t\.csv must be comma-separated UTF-8 text; got"),
        ('a\n"1\n2', r"t\.csv must be comma-separated UTF-8 text; got unexpected end of data"),
    ],
)
def test_bad_csv_is_one_sentence(written, text, sentence):
    with pytest.raises(InputError, match=sentence):
        read_table(written(text))


@pytest.mark.parametrize("suffix", ["csv", "npy", "parquet"])
def test_what_float32_rounds_together_is_refused(tmp_path, written, suffix):
    far = 1e6 + 1e-3 * np.random.default_rng(0).standard_normal(300)
    rows = np.stack([np.arange(300.0), far], axis=1)
    assert len(np.unique(far.astype(np.float32))) == 1  # what a model would learn of it
    path, name = tmp_path / f"t.{suffix}", "column 2" if suffix == "npy" else "'b'"
    if suffix == "csv":
        written("a,b\n" + "\n".join(f"{a},{b!r}" for a, b in rows.tolist()))
    elif suffix == "npy":
        np.save(path, rows)
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"a": rows[:, 0], "b": rows[:, 1]}), path)
    sentence = rf"float32 can hold \(subtract .*\); got {name}, which varies by 0\.00\d* around 1000000\.$"
    with pytest.raises(InputError, match=sentence):
        table_file(path)
    assert read_table(path).rows.shape == (300, 2)  # rows to be scored may be near each other


@pytest.mark.parametrize(
    ("column", "held"),
    [
        (np.full(50, 0.1), True),  # constant, and not a float32
        (np.where(np.arange(50) % 2, 0.1 + 0.2, 0.3), True),  # constant to the rounding of float64
        (1.7e9 + np.arange(50) * 86400.0, True),  # days
        (1.7e9 + np.arange(50), False),  # seconds
        (1_700_000_000 + np.arange(50), False),  # whole ones
        ((1_700_000_000_000_000_000 + np.arange(50) * 1_000_000_000), False),  # counted in nanoseconds
        (16_777_100 + np.arange(50), True),  # whole numbers that float32 has
        (np.uint32(4_000_000_000) + np.arange(50, dtype=np.uint32), False),
        (1e-30 * np.arange(50), True),
        ((1e6 + np.arange(50)).astype(np.float32), True),  # rounded by others: nothing more is lost here
        (np.arange(50, dtype=np.uint8), True),
    ],
)
def test_a_column_may_be_as_fine_as_float32(column, held):
    rows = np.stack([column, column], axis=1)
    if held:
        assert len(split("t", rows).train) == 45
        return
    for make in (lambda: split("t", rows), lambda: Dataset("t", "table", rows, rows)):
        with pytest.raises(InputError, match=r"column 1, which varies by .* around [\d.e+]+\.$"):
            make()
    Dataset("t", "table", rows - rows[0], rows)  # what the sentence advises, more or less


def test_one_row_is_no_data_set(written):
    with pytest.raises(
        InputError, match=r"t\.csv: data must be an array of at least 2 rows; got shape \(1, 2\)"
    ):
        table_file(written("1,2"))


def test_npy(tmp_path):
    rows = np.random.default_rng(0).standard_normal((5, 2, 3))
    np.save(tmp_path / "a.npy", rows)
    assert (read_table(tmp_path / "a.npy").rows == rows.astype(np.float32)).all()
    np.save(tmp_path / "b.npy", np.arange(4))
    assert read_table(tmp_path / "b.npy").rows.tolist() == [[0], [1], [2], [3]]


@pytest.mark.parametrize("key", ["x", "X", "images", "anything"])
def test_npz_keys(tmp_path, key):
    rows = np.arange(6.0).reshape(3, 2)
    np.savez(tmp_path / "a.npz", **{key: rows})
    assert (read_table(tmp_path / "a.npz").rows == rows).all()


def test_npz_labels_stay_with_their_rows(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.arange(20)[:, None], y=np.arange(20), other=np.zeros(3))
    data = table_file(tmp_path / "a.npz", seed=5)
    assert (data.name, data.kind, len(data.test)) == ("a", "table", 2)
    assert (data.train[:, 0] == data.train_labels).all()
    assert (data.test[:, 0] == data.test_labels).all()


def test_npz_of_pictures(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 5, 6), np.uint8))
    assert table_file(tmp_path / "a.npz").image_shape == (5, 6, 1)


def test_bad_arrays_are_one_sentence(tmp_path, written):
    np.savez(tmp_path / "a.npz", u=np.zeros(2), v=np.zeros(2))
    with pytest.raises(
        InputError, match=r"a\.npz must be an archive with an array named x, X or .*; got u, v\."
    ):
        read_table(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 1)), y=np.zeros(2))
    with pytest.raises(InputError, match=r"the labels of a\.npz must be 3 in number; got 2"):
        read_table(tmp_path / "a.npz")
    for content in (b"", b"PK\x03\x04", b"\x93NUMPY\x01\0\x10\0{nonsense"):
        with pytest.raises(InputError, match=r"b\.npz must be a file of plain NumPy arrays; got \w+ while"):
            read_table(written(content, "b.npz"))
    np.save(tmp_path / "c.npy", np.array([[1.0], [np.nan]]))
    with pytest.raises(InputError, match=r"read_table: c\.npy must be finite everywhere; got nan in row 1"):
        read_table(tmp_path / "c.npy")
    np.save(tmp_path / "c.npy", np.array(["a", "b"]))
    with pytest.raises(InputError, match=r"c\.npy must be an array of real numbers; got entries of type <U1"):
        read_table(tmp_path / "c.npy")
    np.save(tmp_path / "c.npy", np.zeros((0, 3)))
    with pytest.raises(InputError, match=r"c\.npy must be an array of at least 1 row; got shape \(0, 3\)"):
        read_table(tmp_path / "c.npy")


class Trap:
    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


def test_pickled_objects_are_refused_and_do_not_run(tmp_path):
    for name, save in (("a.npy", np.save), ("a.npz", lambda file, x: np.savez(file, x=x))):
        save(tmp_path / name, np.array([Trap(), Trap()], dtype=object))
        with pytest.raises(
            InputError, match=f"{name} must be a file of plain NumPy arrays; got pickled Python"
        ):
            read_table(tmp_path / name)
        assert not Trap.sprung
    np.load(tmp_path / "a.npy", allow_pickle=True)  # the mutant does run it
    assert Trap.sprung


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")

    def write(**columns):
        pq.write_table(pa.table(columns), tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    table = read_table(write(a=[1, 2], b=[0.5, -0.5], c=[True, False]))
    assert table.columns == ("a", "b", "c")
    assert table.rows.tolist() == [[1, 0.5, 1], [2, -0.5, 0]]
    pq.write_table(pa.Table.from_arrays([pa.array([1, 2])] * 2, names=["a", "a"]), tmp_path / "twice.parquet")
    with pytest.raises(InputError, match=r"twice\.parquet must be a readable parquet file"):
        read_table(tmp_path / "twice.parquet")
    for columns, sentence in [
        ({"a": [1, 2], "b": ["red", "blue"]}, r"'b' must be a column of numbers; got 'red' of type string"),
        ({"a": [1.0, None]}, r"'a' must be finite and never blank; got a blank in row 1"),
        ({"a": [1.0, np.nan]}, r"'a' must be finite and never blank; got nan in row 1"),
        ({"a": pa.array([], pa.float64())}, r"must be a table of at least 2 rows; got 0 rows and 1 columns"),
    ]:
        with pytest.raises(InputError, match=sentence):
            read_table(write(**columns))
    (tmp_path / "t.parquet").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"t\.parquet must be a readable parquet file; got"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("suffix", ["csv", "npy", "parquet"])
def test_what_is_not_finite_may_be_left_to_the_caller(tmp_path, suffix):
    path, rows = tmp_path / f"t.{suffix}", np.array([[1.0, 2.0], [np.nan, 3.0], [4.0, np.inf]], np.float32)
    if suffix == "csv":
        np.savetxt(path, rows, delimiter=",")
    elif suffix == "npy":
        np.save(path, rows)
    else:
        pa = pytest.importorskip("pyarrow")
        pq = pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"a": rows[:, 0], "b": rows[:, 1]}), path)
    np.testing.assert_array_equal(read_table(path, finite=False).rows, rows)
    with pytest.raises(InputError, match="finite"):
        read_table(path)


def test_a_blank_is_no_number_even_then(written):
    with pytest.raises(InputError, match="finite and never blank"):
        read_table(written("a,b\n1,2\n3,\n", "t.csv"), finite=False)


def test_parquet_without_pyarrow_names_the_extra(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"the extra energax\[parquet\] installs; got no pyarrow"):
        read_table(written("", "t.parquet"))


def test_paths(tmp_path, written):
    with pytest.raises(InputError, match=r"read_table: path must be an existing file; got '.*none\.csv'"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"path must be a file ending in \.csv, .*; got 't\.txt'"):
        read_table(written("1", "t.txt"))
