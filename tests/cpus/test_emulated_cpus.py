"""Emulated CPUs produce the same bytes as this CPU, from the conversion to the predictions."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dvc.repo import Repo

from resnet8.core.cpu import find_difference
from resnet8.models.keras_model import keras
from samples.demo import SAMPLE_PARAMS, make_project
from tests.parameters import TEST_PARAMS
from tests.pipeline.commands import MIRROR, ROOT, mirror, run, set_params

pytestmark = pytest.mark.cpus
layers = keras.layers
EMULATOR = shutil.which("qemu-x86_64")
PROGRAM = ROOT / "tests/cpus/run_pipeline.py"
NATIVE = "native"
CPUS = {"Haswell": "Intel Core", "EPYC": "AMD EPYC"}  # and what PyTorch calls them
PROBE = "from resnet8.models.onnx_model import products_saturate; print(products_saturate())"
STAGES = (
    *("convert_onnx", "convert_torch", "calibrate", "fit", "quantize_onnx", "quantize_torch"),
    *("evaluate", "evaluate_onnx", "evaluate_torch"),
)
ONNX_TYPES = ["int8", "uint8", "uint8_int8"]
IMAGES = {"train": 5, "test": 16}  # each training image takes `fit` 10 seconds of emulation
PARTS = ["artifacts/models", "artifacts/predictions", "artifacts/quantization", "data", "metrics"]
VARIANT = "onnx_uint8_int8"  # its products saturate on CPUs without VNNI
SATURATING = {f"artifacts/predictions/{VARIANT}.npy", f"metrics/{VARIANT}.json"}
each_cpu = pytest.mark.parametrize("cpu", CPUS)
MODEL = "mlperf_tiny" if MIRROR else "sample"  # of one architecture


def save_normalized(path: Path) -> None:
    """Saves a model with batch normalization of an input and behind three kinds of layers."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = layers.BatchNormalization()(layers.Rescaling(1 / 255)(inputs))
    x = layers.Conv2D(6, 3, strides=4, activation="relu")(x)
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.BatchNormalization()(layers.SeparableConv2D(8, 3, padding="same")(x))
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    x = layers.Softmax()(layers.BatchNormalization()(layers.Dense(10)(x)))
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "batch_normalization" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    model.save(path)


def make(project: Path, params: Path, *, stages: Sequence[str] = STAGES, **sections: Any) -> None:
    """Makes a project with few images, and lists the commands of the stages to run in it."""
    make_project(project, params)
    sections |= {"calibrate": {"size": IMAGES["train"]}, "quantize_onnx": {"types": ONNX_TYPES}}
    set_params(project, **sections)
    with Repo(project) as repo:
        commands = [(stage.name.split("@")[0], stage.cmd) for stage in repo.index.stages]
    for command in [command for name, command in commands if name in ("fetch", "prepare")]:
        done = run(project, *command.split(), RESNET8_MIRROR=MIRROR and mirror())
        assert done.returncode == 0, done.stdout
    shutil.rmtree(project / "data/raw/cifar-10-batches-py")
    for part, count in IMAGES.items():
        for path in (project / "data/cifar10").glob(f"{part}_*.npy"):
            np.save(path, np.load(path)[:count])
    listed = [command for name, command in commands if name in stages]
    (project / "commands.json").write_text(json.dumps(listed))


def emulator(cpu: str) -> list[str]:
    return [] if cpu == NATIVE else [str(EMULATOR), "-cpu", cpu]


def run_on(cpu: str, folder: Path) -> None:
    """Runs all projects on one CPU, with the code that is copied to them."""
    shutil.copytree(folder / "prepared", folder / cpu)
    projects = sorted((folder / cpu).iterdir())
    command = [*emulator(cpu), sys.executable, str(PROGRAM), *map(str, projects)]
    done = run(ROOT, *command, OMP_NUM_THREADS="1", PYTHONPATH=str(projects[0]))
    assert done.returncode == 0, f"{cpu}: {done.stdout}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `<cpu>/<model>/`, each model's project after its stages ran on that CPU."""
    if not EMULATOR:
        (pytest.fail if "CI" in os.environ else pytest.skip)("qemu-x86_64 is not installed")
    if difference := find_difference():
        pytest.skip(difference)
    folder = tmp_path_factory.mktemp("cpus")
    prepared, params, model = folder / "prepared", SAMPLE_PARAMS, folder / "model.keras"
    save_normalized(model)
    make(prepared / "normalized", params, stages=["convert_onnx"], fetch={"model": str(model)})
    make(prepared / MODEL, TEST_PARAMS if MIRROR else params)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda cpu: run_on(cpu, folder), [NATIVE, *CPUS]))
    return folder


def digests(project: Path, part: str) -> set[tuple[str, str]]:
    """Names and SHA-256 of the files in a folder of a project, but for those of `SATURATING`."""
    files = {str(x.relative_to(project)): x for x in (project / part).rglob("*") if x.is_file()}
    return {(x, sha256(files[x].read_bytes()).hexdigest()) for x in files.keys() - SATURATING}


def assert_native(runs: Path, cpu: str, model: str, part: str) -> None:
    native, emulated = (digests(runs / x / model, part) for x in (NATIVE, cpu))
    differing = sorted({name for name, _ in native ^ emulated})
    assert native, f"{part} of {model} is empty"
    assert not differing, f"{MODEL}: other bytes on {cpu} than on this CPU: {', '.join(differing)}"


@each_cpu
def test_emulated_process_sees_the_emulated_cpu(runs: Path, cpu: str) -> None:
    capabilities = json.loads((runs / cpu / MODEL / "cpu.json").read_text())
    known = {"cpu_name": CPUS[cpu], "avx2": True, "fma3": True, "avx512_f": False, "clwb": False}
    assert capabilities == capabilities | known


@each_cpu
def test_batch_normalization_is_folded_to_the_native_bytes(runs: Path, cpu: str) -> None:
    assert_native(runs, cpu, "normalized", "artifacts/models")


@each_cpu
@pytest.mark.parametrize("part", PARTS)
def test_files_have_the_native_bytes(runs: Path, cpu: str, part: str) -> None:
    assert_native(runs, cpu, MODEL, part)


@each_cpu
def test_runs_of_a_sweep_have_the_native_identity(runs: Path, cpu: str) -> None:
    native, emulated = ((runs / x / MODEL / "identity.json").read_text() for x in (NATIVE, cpu))
    assert native == emulated


@each_cpu
def test_saturating_products_give_the_native_bytes(runs: Path, cpu: str) -> None:
    native, emulated = (
        {name: (runs / x / MODEL / name).read_bytes() for name in SATURATING} for x in (NATIVE, cpu)
    )
    metrics = [json.loads(x[f"metrics/{VARIANT}.json"]) for x in (native, emulated)]
    if len({x["saturating_products"] for x in metrics}) > 1:
        pytest.skip(f"8-bit products saturate either on {cpu} or on this CPU")
    differing = [name for name in native if native[name] != emulated[name]]
    assert not differing, f"{MODEL}: other bytes on {cpu} than on this CPU: {', '.join(differing)}"


# Haswell has AVX2 and no VNNI; Nehalem has no AVX, and multiplies in 32 bits.
@pytest.mark.parametrize("cpu", ["Haswell", "Nehalem", NATIVE])
def test_products_saturate_with_avx2_and_without_vnni(cpu: str) -> None:
    if not EMULATOR:
        pytest.skip("qemu-x86_64 is not installed")
    features = set(Path("/proc/cpuinfo").read_text().split())
    native = "avx2" in features and not {"avx512_vnni", "avx_vnni"} & features
    done = run(ROOT, *emulator(cpu), sys.executable, "-c", PROBE)
    assert done.returncode == 0, done.stdout
    expected = {"Haswell": True, "Nehalem": False, NATIVE: native}[cpu]
    assert done.stdout.splitlines()[-1] == str(expected)
