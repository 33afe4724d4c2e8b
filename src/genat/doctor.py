"""What this machine has and what is installed."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from genat.provenance import hardware

# package, what it is for, and the extra that brings it
_OPTIONAL = (
    ("pyautoattack", "worst-case figures by an independent attack", "attacks"),
    ("datasets", "Hugging Face data sets and Parquet files", "data"),
    ("fastapi", "a run behind HTTP", "studio"),
    ("tensorboard", "training curves in TensorBoard", "log"),
    ("wandb", "training curves in Weights & Biases", "wandb"),
    ("mlflow-skinny", "training curves in MLflow", "mlflow"),
    ("trackio", "training curves in trackio", "trackio"),
    ("cvxpy", "the games of theory as convex programmes", "peers"),
    ("torchebm", "the energy model of the simulations", "peers"),
    ("pytorch-ood", "its detectors as peers, and detectors in its interface", "ood"),
    ("torch-fidelity", "FID, KID and IS", "fidelity"),
    ("scikit-image", "the preset lfw-faces", "data"),
    ("onnxruntime", "genat export: ONNX files of a run", "onnx"),
    ("huggingface_hub", "a run to and from the Hugging Face hub", "hub"),
    ("efficientnet-lite-pytorch", "ImageNet features without torchvision", "efficientnet"),
)
_CORE = ("torch", "lightning-fabric", "safetensors", "pydantic", "pillow", "scikit-learn", "matplotlib")
_FASHION = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is there or missing."""

    name: str
    there: bool
    detail: str


def examine() -> list[Finding]:
    """Look at the machine and its packages; nothing is changed.

    Example:
        >>> [finding.name for finding in examine()][:3]
        ['python', 'hardware', 'gpu']
    """
    import torch

    from genat import assemble
    from genat.config import Config

    gpu = torch.cuda.is_available()
    findings = [
        Finding("python", True, platform.python_version()),
        Finding("hardware", True, f"{hardware()}, {torch.get_num_threads()} threads, {_memory()}"),
        Finding("gpu", gpu, torch.cuda.get_device_name() if gpu else "none: training runs on the processor"),
    ]
    half = assemble.half(Config(precision="auto"))
    chosen = "bfloat16 is native here: precision=auto is bf16-mixed" if half else "precision=auto is 32-true"
    findings.append(Finding("half precision", half, chosen))
    findings += [Finding(name, True, version(name)) for name in _CORE]
    for name, purpose, extra in _OPTIONAL:
        found = _version(name)
        missing = f"for {purpose}: pip install 'genat[{extra}]'"
        findings.append(Finding(name, found is not None, found or missing))
    there = _FASHION.is_dir()
    detail = str(_FASHION) if there else "for preset fashion-mnist: apt-get install dataset-fashion-mnist"
    findings.append(Finding("fashion-mnist", there, detail))
    return findings


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _memory() -> str:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not on this system
        return "memory unknown"
    return f"{pages * size / 2**30:.0f} GiB memory"
