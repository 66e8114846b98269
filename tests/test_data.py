"""Tests of helpers.data: reading, checking, downloading, and the sample where nothing can be had. All offline."""

import functools
import gzip
import hashlib
import io
import os
import pickle
import socket
import struct
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision import datasets

from helpers import data, session

TRAIN, TEST = 12, 5  # images in the tiny data sets
ARCHIVES = {name: f"{name}/raw/train-images-idx3-ubyte.gz" for name in ("MNIST", "FashionMNIST")}
ARCHIVES["CIFAR10"] = "cifar-10-python.tar.gz"
DOWNLOADS = {dataset_class: dataset_class.download for dataset_class in (datasets.MNIST, datasets.CIFAR10)}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Start each test as a new process would, without a network, and with a sample that costs nothing."""
    monkeypatch.setattr(session, "caveats", [])
    data._real.cache_clear()
    calls = []
    images, labels = torch.zeros(TRAIN, 1, 28, 28, dtype=torch.uint8), torch.arange(TRAIN) % 10
    tensors = (images, labels, images[:TEST], labels[:TEST])
    make = lambda name: calls.append(name) or data.ImageData(name, data.CLASSES[name], "sample", *tensors)  # noqa: E731
    monkeypatch.setattr(data, "_sample", functools.cache(make))
    set_download(monkeypatch, no_network)
    return calls


def set_download(monkeypatch, function):
    for dataset_class in (datasets.MNIST, datasets.CIFAR10):  # FashionMNIST inherits
        monkeypatch.setattr(dataset_class, "download", function)


def no_network(dataset):
    raise RuntimeError("Error downloading:\nno network here.")


def tiny_files(name: str) -> dict[str, bytes]:
    """Return path below the root -> content of the `expected` images and labels in torchvision's layout."""
    content = {}
    for train in (True, False):
        images, labels = (array.numpy() for array in expected(name, train))
        if name == "CIFAR10":
            parts = np.array_split(np.arange(TRAIN), 5) if train else [np.arange(TEST)]
            for number, part in enumerate(parts, start=1):
                batch = {"data": images[part].reshape(len(part), -1), "labels": labels[part].tolist()}
                file = f"data_batch_{number}" if train else "test_batch"
                content[f"cifar-10-batches-py/{file}"] = pickle.dumps(batch)
        else:
            split = "train" if train else "t10k"
            header = b"\0\0\x08\x03" + np.array([len(images), 28, 28], ">i4").tobytes()
            content[f"{name}/raw/{split}-images-idx3-ubyte"] = header + images.tobytes()
            header = b"\0\0\x08\x01" + np.array([len(images)], ">i4").tobytes()
            content[f"{name}/raw/{split}-labels-idx1-ubyte"] = header + labels.astype(np.uint8).tobytes()
    if name == "CIFAR10":
        content["cifar-10-batches-py/batches.meta"] = pickle.dumps({"label_names": list(data.CLASSES[name])})
    return content


def expected(name: str, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (TRAIN if train else TEST, *((3, 32, 32) if name == "CIFAR10" else (1, 28, 28)))
    pixels = np.random.default_rng(int(train)).integers(0, 256, shape, dtype=np.uint8)
    return torch.from_numpy(pixels), torch.arange(shape[0]) * 3 % 10


@pytest.fixture(params=["MNIST", "FashionMNIST", "CIFAR10"])
def tiny(request, monkeypatch):
    """Return the name and the files of a tiny data set; their sums stand where those of the real one stood."""
    name, files = request.param, tiny_files(request.param)
    sums = {Path(file).name: hashlib.md5(content).hexdigest() for file, content in files.items()}
    monkeypatch.setitem(data.MD5, name, hashlib.md5(b"".join(files[file] for file in data.FILES[name])).hexdigest())
    if name == "CIFAR10":
        monkeypatch.setattr(datasets.CIFAR10, "train_list", [[file, sums[file]] for file in sums if "data_" in file])
        monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
        meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
        monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return name, files


def write(root: Path, files: dict[str, bytes]):
    for file, content in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(content)


def listing(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def is_one_sentence(message: str) -> bool:
    return "\n" not in message and message.endswith(".") and ". " not in message


# --- reading ----------------------------------------------------------------------------------------------------------


def test_reads_torchvisions_layout(tiny, tmp_path, capsys):
    name, files = tiny
    write(tmp_path, files)
    loaded = data.load(name, tmp_path)
    assert (loaded.name, loaded.source, loaded.classes) == (name, "torchvision", data.CLASSES[name])
    for train, images, labels in (
        (True, loaded.train_images, loaded.train_labels),
        (False, loaded.test_images, loaded.test_labels),
    ):
        expected_images, expected_labels = expected(name, train)
        assert images.dtype == torch.uint8 and images.is_contiguous() and torch.equal(images, expected_images)
        assert labels.dtype == torch.int64 and torch.equal(labels, expected_labels)
    assert data.load(name, str(tmp_path)) is loaded
    assert not session.caveats and not capsys.readouterr().out


def test_unverified_files_of_an_old_torchvision_are_not_read(tmp_path, monkeypatch):
    files = tiny_files("MNIST")
    monkeypatch.setitem(
        data.MD5, "MNIST", hashlib.md5(b"".join(files[file] for file in data.FILES["MNIST"])).hexdigest()
    )
    write(tmp_path, files)
    (tmp_path / "MNIST/processed").mkdir()
    for file in ("training.pt", "test.pt"):
        torch.save((torch.zeros(1, 28, 28), torch.zeros(1)), tmp_path / "MNIST/processed" / file)
    assert len(data.load("MNIST", tmp_path).train_images) == TRAIN


def test_a_mirror_is_asked_for_the_same_files(monkeypatch):
    monkeypatch.setenv("DATA_MIRROR", "http://mirror.example/x/")
    asked = [data._dataset_classes(name)[0] for name in ("MNIST", "FashionMNIST", "CIFAR10")]
    addresses = [*asked[0].mirrors, *asked[1].mirrors, asked[2].url]
    ends = ["MNIST/raw/", "FashionMNIST/raw/", "cifar-10-python.tar.gz"]
    assert addresses == [f"http://mirror.example/x/{end}" for end in ends]


@pytest.mark.parametrize("name", list(data.CLASSES))
def test_reads_the_real_files(name):
    if not all((session.ROOT / "data" / file).exists() for file in data.FILES[name]):
        pytest.skip(f"{name} is not in data/")
    loaded = data.load(name)
    count, shape = (50_000, (3, 32, 32)) if name == "CIFAR10" else (60_000, (1, 28, 28))
    assert loaded.source == "torchvision" and not session.caveats
    assert loaded.train_images.shape == (count, *shape) and loaded.test_images.shape == (10_000, *shape)
    assert loaded.train_labels.shape == (count,) and loaded.test_labels.bincount().numel() == 10
    mean = {"MNIST": 33.3, "FashionMNIST": 72.9, "CIFAR10": 120.7}[name]
    assert loaded.train_images[:10_000].float().mean().item() == pytest.approx(mean, abs=1)


def test_class_names_are_torchvisions(tiny, tmp_path):
    name, files = tiny
    write(tmp_path, files)
    theirs = getattr(datasets, name)(tmp_path).classes
    assert [label.split(" - ")[0] for label in theirs] == list(data.CLASSES[name])


def test_unknown_name():
    with pytest.raises(ValueError, match=r'"MNIST", "FashionMNIST" and "CIFAR10", not \'KMNIST\'') as caught:
        data.load("KMNIST")
    assert is_one_sentence(str(caught.value))


# --- the split --------------------------------------------------------------------------------------------------------

SPLIT = """
import torch
from helpers import data
images = torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1).expand(50, 1, 2, 2)
labels = torch.arange(50) % 10
data.load = lambda name: data.ImageData(name, (), "torchvision", images, labels, images[:5] + 100, labels[:5])
parts = data.split("MNIST", validation=20)
numbers = [(part[:, 0] * 255).round().int().tolist() for part in parts[::2]]
"""


def test_split_is_disjoint_and_the_same_everywhere(monkeypatch):
    monkeypatch.setattr(data, "load", data.load)  # to have it back
    found = {}
    for _ in range(2):
        data.split.cache_clear()
        torch.manual_seed(len(found))  # it hangs on no global random state
        exec(SPLIT, found)
        train, validation = found["numbers"]
        assert (len(train), len(validation)) == (30, 20) and sorted(train + validation) == list(range(50))
        assert validation != sorted(validation)
        assert all((x.shape[1], x.dtype, x.max() <= 1) == (4, torch.float32, True) for x in found["parts"][::2])
        assert [y.tolist() for y in found["parts"][1::2]] == [[n % 10 for n in part] for part in found["numbers"]]
        assert data.split("MNIST", validation=20) is found["parts"]
        found[len(found)] = found["numbers"]
    command = [sys.executable, "-c", SPLIT + "print(numbers)"]
    printed = subprocess.run(command, cwd=session.ROOT, check=True, capture_output=True, text=True, timeout=120).stdout
    assert printed.strip() == str(found["numbers"])
    data.split.cache_clear()


def test_moments_are_those_of_each_colour(monkeypatch):
    images = torch.randint(256, (7, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(data, "load", lambda name: SimpleNamespace(train_images=images))
    data.moments.cache_clear()
    mean, std = data.moments("CIFAR10")
    colours = (images / 255).movedim(1, 0).flatten(1)
    torch.testing.assert_close(mean.view(3, 20), colours.mean(1, keepdim=True).expand(3, 20))
    torch.testing.assert_close(std.view(3, 20), colours.std(1, correction=0, keepdim=True).expand(3, 20))
    data.moments.cache_clear()


# --- damage -----------------------------------------------------------------------------------------------------------


def truncate(path: Path):
    path.write_bytes(path.read_bytes()[:-7])


def flip_bit(path: Path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def make_folder(path: Path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "fault"),
    [(truncate, "MD5"), (flip_bit, "MD5"), (Path.unlink, "{} cannot be read"), (make_folder, "{} cannot be read")],
)
def test_damage_is_an_error_that_says_what_to_do(tiny, tmp_path, damage, fault, fresh):
    name, files = tiny
    for number, file in enumerate(map(Path, files)):
        root = tmp_path / str(number)
        write(root, files)
        damage(root / file)
        with pytest.raises(data.DamagedDataError, match=fault.format(file.name)) as caught:
            data.load(name, root)
        assert (root / file).parent.as_posix() in str(caught.value) and is_one_sentence(str(caught.value))
    assert not fresh and not session.caveats  # no sample for what is merely damaged


def test_damaged_pickle_is_never_opened(tmp_path, monkeypatch):
    def opened(*args, **kwargs):
        raise AssertionError("unpickled before it was verified")

    monkeypatch.setattr(pickle, "load", opened)
    write(tmp_path, tiny_files("CIFAR10"))  # not the published files
    with pytest.raises(data.DamagedDataError):
        data.load("CIFAR10", tmp_path)


# --- download ---------------------------------------------------------------------------------------------------------


def folder_of(dataset) -> Path:
    """Return the folder that torchvision's dataset fills."""
    return Path(dataset.root)


def test_download_is_verified_and_moved_into_place(tiny, tmp_path, monkeypatch, capsys):
    name, files = tiny
    timeouts = []

    def download(dataset):
        print("chatter" * 100)
        timeouts.append(socket.getdefaulttimeout())
        write(folder_of(dataset), {**files, ARCHIVES[name]: b"archive"})

    set_download(monkeypatch, download)
    assert data.load(name, tmp_path / "new").source == "torchvision"
    assert listing(tmp_path) == {f"new/{file}" for file in files}  # neither archives nor temporary files
    assert timeouts == [data.TIMEOUT] and socket.getdefaulttimeout() is None
    assert "chatter" not in capsys.readouterr().out
    assert not session.caveats


def test_archives_that_are_there_are_used_and_kept(tiny, tmp_path, monkeypatch):
    name, files = tiny
    archives = {ARCHIVES[name]: b"archive"}
    write(tmp_path, archives)

    def unpack(dataset):
        assert all((folder_of(dataset) / archive).read_bytes() == b"archive" for archive in archives)
        write(folder_of(dataset), files)

    set_download(monkeypatch, unpack)
    assert data.load(name, tmp_path).source == "torchvision"
    assert listing(tmp_path) == {*files, *archives}


def test_another_process_may_be_faster(tiny, tmp_path, monkeypatch):
    name, files = tiny

    def download(dataset):
        write(folder_of(dataset), files)
        write(tmp_path, files)

    set_download(monkeypatch, download)
    assert data.load(name, tmp_path).source == "torchvision"
    assert listing(tmp_path) == set(files)


@pytest.mark.parametrize("error", [RuntimeError("corrupted"), TimeoutError("timed out"), EOFError(), None])
def test_failed_download_leaves_nothing_behind(tiny, tmp_path, monkeypatch, error):
    name, files = tiny

    def download(dataset):
        write(folder_of(dataset), {file: content[: len(content) // 2] for file, content in files.items()})
        if error:
            raise error

    set_download(monkeypatch, download)
    socket.setdefaulttimeout(99)
    try:
        with pytest.raises(data.DownloadError):
            data.load(name, tmp_path, allow_sample=False)
        assert socket.getdefaulttimeout() == 99
    finally:
        socket.setdefaulttimeout(None)
    assert list(tmp_path.iterdir()) == []


class Server(ThreadingHTTPServer):
    """Serves `files` at two addresses, one of which answers `faults` times in the wrong way `fault`."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], fault: str, faults: int):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.fault, self.faults, self.asked, self.over = files, fault, faults, [], threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """Keep quiet about clients that go away."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Keep quiet."""

    def do_HEAD(self):  # torchvision asks so for redirections
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        _, address, file = self.path.split("/", 2)
        content, server = self.server.files[file], self.server
        server.asked.append(address)
        if address == "faulty" and server.asked.count(address) <= server.faults:
            self.answer_wrongly(server.fault, content)
        else:
            self.send(content, len(content))

    def send(self, content, length, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def answer_wrongly(self, fault, content):
        if fault == "a page":
            self.send(b"<html>Log in to this network first.</html>", 42)
        elif fault == "404":
            self.send(b"", 0, status=404)
        elif fault == "silence":
            self.server.over.wait(20)
        else:  # half of it
            self.send(content[: len(content) // 2], len(content))
            if fault == "a stall":
                self.server.over.wait(20)
            elif fault == "a reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()


FAULTS = "a page", "404", "silence", "a stall", "a reset", "a cut-off"


@pytest.fixture
def serve(monkeypatch):
    """Return a function that starts a server which has the archive(s) of a tiny data set, and sets the addresses."""
    servers = []
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    for dataset_class, download in DOWNLOADS.items():
        monkeypatch.setattr(dataset_class, "download", download)
    monkeypatch.setattr(data, "TIMEOUT", 0.4)

    def serve(name, files, fault, faults):
        if name == "CIFAR10":
            with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w:gz") as archive:
                for file, content in files.items():
                    info = tarfile.TarInfo(file)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
            archives = {datasets.CIFAR10.filename: buffer.getvalue()}
        else:
            archives = {f"{Path(file).name}.gz": gzip.compress(content) for file, content in files.items()}
        servers.append(server := Server(archives, fault, faults))
        sums = [(file, hashlib.md5(content).hexdigest()) for file, content in archives.items()]
        if name == "CIFAR10":
            monkeypatch.setattr(datasets.CIFAR10, "url", f"{server.address}/faulty/{datasets.CIFAR10.filename}")
            monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", sums[0][1])
        else:
            monkeypatch.setattr(datasets.MNIST, "resources", sums)
            monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{server.address}/{at}/" for at in ("faulty", "other")])
        return server

    yield serve
    for server in servers:
        server.over.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("tiny", ["MNIST"], indirect=True)
def test_second_address_is_asked_where_the_first_fails(tiny, fault, serve, tmp_path, fresh):
    server = serve(*tiny, fault, faults=100)
    assert data.load(tiny[0], tmp_path).source == "torchvision"
    assert {"faulty", "other"} == set(server.asked)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("tiny", ["CIFAR10"], indirect=True)
def test_an_only_address_is_asked_again(tiny, fault, serve, tmp_path, fresh):
    server = serve(*tiny, fault, faults=2)
    assert data.load(tiny[0], tmp_path).source == "torchvision"
    assert len(server.asked) == 4  # in a try torchvision asks twice, at first only where the file has moved to


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("tiny", ["CIFAR10"], indirect=True)
def test_after_three_tries_a_sentence_says_what_to_do(tiny, fault, serve, tmp_path, fresh):
    server = serve(*tiny, fault, faults=100)
    with pytest.raises(data.DownloadError, match=r"put the files there as data/README.md says") as error:
        data.load(tiny[0], tmp_path, allow_sample=False)
    assert len(server.asked) in (3, 6) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_download_leaves_nothing_behind(tiny, tmp_path, monkeypatch):
    name, files = tiny

    def download(dataset):
        write(folder_of(dataset), files)
        raise KeyboardInterrupt

    set_download(monkeypatch, download)
    with pytest.raises(KeyboardInterrupt):
        data.load(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- sample ---------------------------------------------------------------------------------------------------------


def test_a_sample_is_announced_once_and_loudly(tmp_path, capsys, fresh):
    loaded = data.load("CIFAR10", tmp_path)
    loud = [line for line in capsys.readouterr().out.splitlines() if line.startswith("!!!")]
    assert len(loud) == 1 and "A SAMPLE" in loud[0] and "CIFAR10" in loud[0] and "no network here" in loud[0]
    assert loaded.source == "sample" and loaded.classes == data.CLASSES["CIFAR10"]
    assert session.caveats == ["sample CIFAR10"]
    assert data.load("CIFAR10", tmp_path) is loaded
    assert "!!!" not in capsys.readouterr().out
    assert fresh == ["CIFAR10"]
    assert list(tmp_path.iterdir()) == []


def test_a_known_sample_is_made_at_once_and_silently(tmp_path, monkeypatch, capsys, fresh):
    """As in the workers of a study, whose caveats are those of the process that called it."""
    set_download(monkeypatch, lambda dataset: pytest.fail("tried to download"))
    session.caveats.append("sample MNIST")
    assert data.load("MNIST", tmp_path).source == "sample" and fresh == ["MNIST"]
    assert session.caveats == ["sample MNIST"] and not capsys.readouterr().out
    set_download(monkeypatch, no_network)
    data.load("FashionMNIST", tmp_path)  # of which nothing is known yet
    assert session.caveats == ["sample MNIST", "sample FashionMNIST"]
    assert "FashionMNIST" in capsys.readouterr().out


def test_a_sample_not_allowed(tmp_path, fresh):
    with pytest.raises(data.DownloadError, match="put the files there") as caught:
        data.load("MNIST", tmp_path, allow_sample=False)
    assert is_one_sentence(str(caught.value))
    assert not fresh and not session.caveats
    assert data.load("MNIST", tmp_path).source == "sample"
    with pytest.raises(data.DownloadError):  # nor is one that was made before
        data.load("MNIST", tmp_path, allow_sample=False)


def test_root_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert data.load("MNIST", tmp_path / "file").source == "sample"
    assert "cannot be downloaded" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_read_only_root(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert data.load("MNIST", tmp_path).source == "sample"
    assert "Permission denied" in capsys.readouterr().out


# --- the sheets -------------------------------------------------------------------------------------------------------


def test_sample_has_the_sizes_of_the_real_data_and_keeps_images_apart(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(session, "caveats", ["sample MNIST", "sample FashionMNIST", "sample CIFAR10"])
    data.split.cache_clear()
    for name, shape in (
        ("MNIST", (60_000, 1, 28, 28)),
        ("FashionMNIST", (60_000, 1, 28, 28)),
        ("CIFAR10", (50_000, 3, 32, 32)),
    ):
        sample = data.load(name)
        assert sample.train_images.shape == shape and sample.test_images.shape == (10_000, *shape[1:])
        assert sample.train_labels.bincount().tolist() == [len(sample.train_labels) // 10] * 10
        assert sample.train_images.dtype == torch.uint8 and sample.train_labels.dtype == torch.int64
    x, _, val_x, val_y = data.split("MNIST")
    assert len(x) == 50_000 and len(val_x) == 10_000
    some = val_x[(val_y == 3).nonzero()[0]]
    assert not (x == some).all(1).any()
    data.split.cache_clear()
