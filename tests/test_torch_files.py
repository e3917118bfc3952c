"""Files of PyTorch, written here by hand: what is read, and hostile, truncated and foreign ones, which are refused."""

import io
import pickle
import re
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from tapwise.saving import read_tensors

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
MARK, TUPLE, REDUCE, NONE = b"(", b"t", b"R", b"N"


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def numbers(*values):
    return MARK + b"".join(map(number, values)) + TUPLE


def tensor(key, items, shape, strides, offset=0, kind="FloatStorage"):
    storage = MARK + text("storage") + name("torch", kind) + text(key) + text("cpu") + number(items) + TUPLE + b"Q"
    what = storage + number(offset) + numbers(*shape) + numbers(*strides) + b"\x89" + name("collections", "OrderedDict")
    return name("torch._utils", "_rebuild_tensor_v2") + MARK + what + b")" + REDUCE + TUPLE + REDUCE


def state_dict(**tensors):
    items = b"".join(text(key.replace("__", ".")) + value for key, value in tensors.items())
    return b"\x80\x02" + name("collections", "OrderedDict") + b")R" + MARK + items + b"u."


def zipped(path, pickled, storages=(), order=None):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickled)
        if order:
            archive.writestr("net/byteorder", order)
        for key, content in dict(storages).items():
            archive.writestr(f"net/data/{key}", content)
    return path


def rowed(path, pickled, storages=(), machine=b"\x80\x02}."):
    keys = b"\x80\x02]" + MARK + b"".join(text(key) for key in dict(storages)) + b"e."
    rows = b"".join(struct.pack("<q", items) + content for items, content in dict(storages).values())
    path.write_bytes(MAGIC + b"\x80\x02M\xe9\x03." + machine + pickled + keys + rows)
    return path


W = np.arange(6, dtype=np.float32)


def test_both_formats_give_tensors_as_they_lie(tmp_path):
    pickled = state_dict(
        conv__weight=tensor("7", 6, (2, 3), (3, 1)),
        turned=tensor("7", 6, (3, 2), (1, 3)),
        last=tensor("7", 6, (), (), 5),
    )
    for path in (
        zipped(tmp_path / "a.pt", pickled, {"7": W.tobytes()}),
        zipped(tmp_path / "b.pt", pickled, {"7": W.astype(">f4").tobytes()}, "big"),
        rowed(tmp_path / "c.pth", pickled, {"7": (6, W.tobytes())}),
    ):
        got = read_tensors(path)
        assert list(got) == ["conv.weight", "turned", "last"]
        np.testing.assert_array_equal(got["conv.weight"], W.reshape(2, 3))
        np.testing.assert_array_equal(got["turned"], W.reshape(2, 3).T)
        assert got["last"] == 5
        assert not got["conv.weight"].flags.writeable


def test_bfloat16_becomes_float32(tmp_path):
    halves = (W.view(np.uint32) >> 16).astype(np.uint16)
    path = zipped(
        tmp_path / "a.pt", state_dict(w=tensor("0", 6, (6,), (1,), kind="BFloat16Storage")), {"0": halves.tobytes()}
    )
    np.testing.assert_array_equal(read_tensors(path)["w"], W)


class Ran:
    count = 0


def touch():
    Ran.count += 1


class Hostile:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("form", [zipped, rowed])
@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Hostile(eval, "__import__('os').system('true')"), r"refused: the pickle wants \w*builtin\w*\.eval"),
        ({"w": Hostile(getattr, {}, "get")}, r"refused: the pickle wants \w*builtin\w*\.getattr"),
        (
            [Hostile(touch)],
            r"refused: the pickle wants .*test_torch_files\.touch, .*torch\.save\(model\.state_dict\(\)",
        ),
        (np.float64(3), r"refused: the pickle wants numpy.*scalar.*state_dict"),
        (Ran(), r"refused: the pickle wants (copyreg._reconstructor|copy_reg._reconstructor|.*Ran)"),
    ],
    ids=["eval", "getattr", "a function", "a NumPy scalar", "an object"],
)
def test_nothing_is_called(tmp_path, protocol, form, value, named):
    path = form(tmp_path / "bad.pt", pickle.dumps(value, protocol))
    with pytest.raises(ValueError, match=rf"bad\.pt: {named}"):
        read_tensors(path)
    assert Ran.count == 0


def test_a_whole_module_is_refused_with_advice(tmp_path):
    path = zipped(tmp_path / "net.pt", b"\x80\x02" + name("torch.nn.modules.linear", "Linear") + b")\x81.")
    with pytest.raises(
        ValueError, match=r"wants torch\.nn\.modules\.linear\.Linear, .*torch\.save\(model\.state_dict\(\), path"
    ):
        read_tensors(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("net/constants.pkl", b"")
    with pytest.raises(ValueError, match=r"a TorchScript program: save torch\.jit\.load\(path\)\.state_dict\(\)"):
        read_tensors(path)


GOOD = tensor("0", 6, (6,), (1,))


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"", "not a readable pickle"),
        (b"\x80\x02", "not a readable pickle"),
        (b"\x80\x02.", "not a readable pickle"),
        (b"\x80\x02q\x00.", "not a readable pickle"),
        (b"\x80\x02h\x05.", "not a readable pickle"),
        (b"\xff.", "opcode"),
        (b"\x80\x02X\xff\xff\xff\x7fabc", "expected 2147483647 bytes in a unicodestring4, but only 3 remain"),
        (b"\x80\x02}\x93.", "not a readable pickle"),
        (b"\x80\x02(I1\n}b.", "refused: the pickle gives attributes to 1"),
        (b"\x80\x02}ab.", "not a readable pickle|appends"),
        (b"\x80\x02\x82\x01.", "refused: the pickle has the opcode EXT1"),
        (b"\x80\x02I1\n)R.", "refused: the pickle calls 1"),
        (b"\x80\x02" + name("torch", "FloatStorage") + b")R.", "refused: the pickle calls torch FloatStorage"),
        (b"\x80\x02}}K\x01s.", "keys of text or numbers"),
        (b"\x80\x02" + name("collections", "OrderedDict") + b"(K\x01K\x02K\x03tR.", "OrderedDict with"),
        (state_dict(w=tensor("0", 6, (7,), (1,))), "must lie in its storage of 6 numbers"),
        (state_dict(w=tensor("0", 6, (3, 3), (2, 1))), "must lie in its storage of 6 numbers"),
        (state_dict(w=tensor("0", 6, (2, 2, 2), (0, 0, 0))), "must lie in its storage of 6 numbers"),
        (state_dict(w=tensor("0", 6, (2,), (1,), -1)), "offset must be whole numbers >= 0"),
        (state_dict(w=tensor("0", 6, (2,), (-1,))), "strides must be whole numbers >= 0"),
        (state_dict(w=tensor("0", 6, (2,), (1, 1))), "a stride for each"),
        (state_dict(w=tensor("0", 7, (7,), (1,))), "must have 28 bytes, got 24|at most 28 bytes"),
        (state_dict(w=tensor("0", 1 << 30, (1 << 30,), (1,))), "must have at most the file's"),
        (state_dict(w=tensor("1", 6, (6,), (1,))), r"damaged: it has no net/data/1"),
        (state_dict(w=tensor("../0", 6, (6,), (1,))), r"damaged: it has no net/data/\.\./0"),
        (state_dict(w=tensor("0", 6, (6,), (1,), kind="QInt8Storage")), "wants torch.QInt8Storage"),
    ],
)
def test_rejects(tmp_path, pickled, message):
    path = zipped(tmp_path / "bad.pt", pickled, {"0": W.tobytes()})
    with pytest.raises(ValueError, match=rf"bad\.pt: .*({message})"):
        read_tensors(path)


def test_rows_that_end_early_or_lie_are_refused(tmp_path):
    whole = rowed(tmp_path / "a.pth", state_dict(w=GOOD), {"0": (6, W.tobytes())}).read_bytes()
    for end in (*range(16, len(whole), 7), len(whole) - 1):
        (tmp_path / "b.pth").write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"b\.pth: "):
            read_tensors(tmp_path / "b.pth")
    for storages, message in (
        ({"0": (1 << 40, W.tobytes())}, "truncated: storage '0' of 1099511627776 numbers goes beyond the file's end"),
        ({"0": (-1, W.tobytes())}, "truncated"),
        ({"1": (6, W.tobytes())}, "storage '1' belongs to no tensor"),
        ({}, "storage '0' is missing"),
    ):
        path = rowed(tmp_path / "c.pth", state_dict(w=GOOD), storages)
        with pytest.raises(ValueError, match=message):
            read_tensors(path)


def test_a_truncated_or_foreign_file_is_named(tmp_path):
    whole = zipped(tmp_path / "a.pt", state_dict(w=GOOD), {"0": W.tobytes()}).read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "damaged or truncated zip"),
        (b"", "must be a file of PyTorch, Keras"),
        (b"PK", "damaged or truncated zip"),
        (b"GIF89a and so on", "got one that begins with b'GIF89a"),
        (MAGIC[:10], "not a file of PyTorch"),
        (MAGIC[:4] + bytes(30), "not a readable pickle|not a file of PyTorch"),
    ):
        (tmp_path / "b.pt").write_bytes(content)
        with pytest.raises(ValueError, match=rf"b\.pt: .*({message})"):
            read_tensors(tmp_path / "b.pt")


def bomb(path, size):
    """A pickle that unpacks to far more than its file has bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", bytes(size))
    return path


def test_memory_is_bounded_by_the_file(tmp_path):
    """Zeros deflated a thousandfold, a list that holds itself doubled fifty times, and numbers without end."""
    doubled = b"\x80\x02]q\x000" + b"".join(b"(h%ch%clq%c0" % (i, i, i + 1) for i in range(50)) + b"h\x32."
    deep = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    wide = b"\x80\x02r\xff\xff\xff\x7f."  # a memo of two thousand million entries
    unpacking = bomb(tmp_path / "a.pt", 100_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="a header that says 100000000"):
            read_tensors(unpacking)
        assert read_tensors(zipped(tmp_path / "b.pt", doubled)) == {}
        with pytest.raises(ValueError, match="at most 64 deep"):
            read_tensors(zipped(tmp_path / "c.pt", deep))
        with pytest.raises(ValueError, match="not a readable pickle"):
            read_tensors(zipped(tmp_path / "d.pt", wide))
        key = b"\x80\x02}" + doubled[2:-1] + b"K\x01s."  # it is named in an error
        with pytest.raises(ValueError, match=re.escape("[[[[[[...")):
            read_tensors(zipped(tmp_path / "e.pt", key))
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def test_members_that_overlap_count_twice(tmp_path):
    """Two names for one run of bytes: what may be read is as much as the file has."""
    big = np.zeros(10_000, np.float32).tobytes()
    tensors = {f"w{i}": tensor(str(i), 10_000, (10_000,), (1,)) for i in range(3)}
    whole = zipped(tmp_path / "a.pt", state_dict(**tensors), {str(i): big if i == 0 else b"" for i in range(3)})
    content = io.BytesIO(whole.read_bytes())
    with zipfile.ZipFile(content) as archive:
        first = archive.getinfo("net/data/0")
        infos = {info.filename: info for info in archive.infolist()}
    directory = bytearray(content.getvalue())
    for other in ("net/data/1", "net/data/2"):
        at = directory.rindex(other.encode()) - 46
        struct.pack_into("<III", directory, at + 16, first.CRC, len(big), len(big))
        assert infos[other].file_size == 0
    (tmp_path / "b.pt").write_bytes(directory)
    with pytest.raises(ValueError, match=r"must have at most the file's \d+ bytes, got headers that say 120000"):
        read_tensors(tmp_path / "b.pt")
