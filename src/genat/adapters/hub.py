"""Detectors as folders of the Hugging Face hub: weights, what to build for them, and a model card."""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from genat import checkpoints, detection
from genat.adapters import _cards
from genat.adapters._blueprints import FORMAT, Blueprint, Kind, fitted, layout
from genat.ascent import UNIT_BOX, Box
from genat.detection import Calibration, Prediction
from genat.networks import BUILDERS
from genat.networks.layers import sample_shape
from genat.networks.weights import one_line
from genat.runs import Run

CONFIG, WEIGHTS, CALIBRATION, RECIPE, CARD = (
    "config.json",
    "model.safetensors",
    "calibration.json",
    "recipe.yaml",
    "README.md",
)
_FILES = (CONFIG, WEIGHTS, CALIBRATION, RECIPE, CARD)
_LARGEST = {CONFIG: 1 << 20, CALIBRATION: 1 << 26}  # bytes of a file that is read whole

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A detector, read back from a folder or the hub.

    Attributes:
        detector: in eval mode, frozen.
        name: as it was saved.
        shape: of one sample.
        box: what its inputs are within, None for points anywhere.
        classes: names of the classes that a joint network or a committee tells apart.
        calibration: on held-out target data, None where there was none.
        digest: of the weights, see `genat.checkpoints.digest`.
    """

    detector: nn.Module
    name: str
    shape: tuple[int, ...]
    box: Box | None
    classes: tuple[str, ...]
    calibration: Calibration | None
    digest: str

    def predict(self, x: Tensor, *, alpha: float | None = None) -> Prediction:
        """Return score, p-value and verdict of `(N, *shape)` inputs; by level alpha, or the calibration's threshold.

        Raises:
            ValueError: where the inputs have another shape, or there is no calibration.
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"expected inputs (N, {', '.join(map(str, self.shape))}), got {tuple(x.shape)}")
        if self.calibration is None:
            raise ValueError(f"expected a calibrated detector to judge with, got {self.name} without a calibration")
        anchor = next(self.detector.parameters(), x)
        return self.calibration.predict(detection.logits(self.detector, x.to(anchor.device)), alpha=alpha)


def save_pretrained(
    detector: nn.Module | Run,
    folder: str | Path,
    *,
    network: str | None = None,
    options: Mapping[str, Any] | None = None,
    shape: tuple[int, ...] | None = None,
    box: Box | None = UNIT_BOX,
    calibration: Calibration | None = None,
    name: str | None = None,
) -> list[Path]:
    """Write a detector into a folder as the Hugging Face hub has models; without network.

    `config.json` says what to build, `model.safetensors` holds the weights, `calibration.json` the held-out logits
    where there are any, and `README.md` is the model card. Of a run, `recipe.yaml` is its configuration, and the card
    has its data, recipe, the figures of its evaluation where it was evaluated, limits, and the command to repeat it.
    Paths of data on this machine are cut to their last name.

    Args:
        detector: a run, or a module of one of `networks.BUILDERS`.
        folder: made where it is missing; files of these names in it are replaced.
        network: with a module, the name of its builder; a run has its own, as it has what follows.
        options: the builder's.
        shape: of one sample.
        box: what the inputs are within, None for points anywhere.
        calibration: of a module.
        name: of the model; None is the run's, or the network's.

    Returns:
        The files that were written.

    Raises:
        ValueError: for a network that is not one of this package, or does not have these weights; or arguments
            that are missing with a module, or given with a run.

    Example:
        >>> from genat.networks import build
        >>> folder = getfixture("tmp_path") / "model"
        >>> detector = build("mlp", (2,), {"hidden": [8]}, seed=0)
        >>> files = save_pretrained(detector, folder, network="mlp", options={"hidden": [8]}, shape=(2,), box=None)
        >>> sorted(path.name for path in files)
        ['README.md', 'config.json', 'model.safetensors']
        >>> again = from_pretrained(folder)
        >>> again.shape, torch.equal(again.detector(torch.ones(1, 2)), detector(torch.ones(1, 2)))
        ((2,), True)
    """
    if isinstance(detector, Run):
        if network is not None or options is not None or shape is not None or calibration is not None:
            raise ValueError("expected a run alone, got one with network, options, shape or calibration, which it has")
        return _save_run(detector, Path(folder), name)
    if network is None or shape is None:
        raise ValueError("expected network and shape with a module, got it without")
    told = Blueprint(
        format=FORMAT,
        genat=version("genat"),
        name=name or network,
        kind="detector",
        network=network,
        options=dict(options or {}),
        shape=list(sample_shape(shape)),
        box=None if box is None else list(box),
        digest=checkpoints.digest(detector.state_dict()),
    )
    return _save(Path(folder), told, detector, calibration, {CARD: _cards.of_module(told.model_dump(), calibration)})


def _save_run(run: Run, folder: Path, name: str | None) -> list[Path]:
    kind: Kind = "detector"
    if run.classes:
        kind = "committee" if run.config.committee else "joint"
    told = Blueprint(
        format=FORMAT,
        genat=version("genat"),
        name=name or run.config.name,
        kind=kind,
        network=run.config.network,
        options=run.config.network_options,
        shape=list(run.shape),
        box=list(UNIT_BOX),
        classes=list(run.classes),
        digest=checkpoints.digest(run.detector.state_dict()),
    )
    texts = {RECIPE: _cards.recipe(run.config), CARD: _cards.of_run(run, told.model_dump())}
    return _save(folder, told, run.detector, run.calibration, texts)


def _save(
    folder: Path, told: Blueprint, detector: nn.Module, calibration: Calibration | None, texts: Mapping[str, str]
) -> list[Path]:
    """Write the files, after a look at whether they could be read back."""
    if told.network not in BUILDERS:
        raise ValueError(
            f"expected one of this package's networks ({', '.join(BUILDERS)}), got {told.network}: "
            "nobody could load it without running your code"
        )
    state = {key: value.detach().cpu().contiguous() for key, value in detector.state_dict().items()}
    fitted(told, layout(state))
    contents = {CONFIG: (json.dumps(told.model_dump(), indent=1) + "\n").encode(), WEIGHTS: save(state)}
    if calibration is not None:
        held_out = {"tpr": calibration.tpr, "digest": told.digest, "logits": calibration.logits.tolist()}
        contents[CALIBRATION] = (json.dumps(held_out) + "\n").encode()
    contents |= {file: text.encode() for file, text in texts.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for file in _FILES:
        if file in contents:
            checkpoints.write_bytes(folder / file, contents[file])
        else:
            (folder / file).unlink(missing_ok=True)  # of another model
    return [folder / file for file in contents]


def from_pretrained(
    source: str | Path, *, revision: str | None = None, device: torch.device | str = "cpu"
) -> Pretrained:
    """Read a detector that `save_pretrained` or `push_to_hub` wrote.

    The folder may be a stranger's: nothing is unpickled and none of its code is run, only networks of this package are
    built, and no more memory is taken for weights than the file has.

    Args:
        source: a folder, or "owner/name" on the Hugging Face hub, which needs the extra `hub` and the network once.
        revision: of a repository: a branch, a tag or a commit.
        device: where the detector goes.

    Returns:
        The detector, and what to know of it.

    Raises:
        FileNotFoundError: where there is neither.
        ImportError: where a repository is asked for and huggingface_hub is not installed.
        ValueError: where the files cannot be read, are altered, of a later format or of an unknown network; one line.
    """
    folder = _folder(source, revision)
    told = _read_blueprint(folder / CONFIG)
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            parts = {name: file.get_slice(name) for name in names}
            stored = {name: (tuple(part.get_shape()), str(part.get_dtype())) for name, part in parts.items()}
            network = fitted(told, stored)
            state = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise ValueError(f"{path}: expected the weights, got none") from None
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: expected safetensors, got a file that cannot be read: {one_line(error)}") from None
    if checkpoints.digest(state) != told.digest:
        raise ValueError(f"{path}: expected weights of digest {told.digest[:12]}, got others: the file is altered")
    # laid out in memory as when it was saved, for the sums of a convolution are rounded in that order
    blank = {
        name: torch.empty_strided(own.shape, own.stride(), dtype=own.dtype)
        for name, own in network.state_dict().items()
    }
    network.load_state_dict({name: value.copy_(state[name]) for name, value in blank.items()}, assign=True)
    return Pretrained(
        detector=network.to(device).eval().requires_grad_(False),
        name=told.name,
        shape=tuple(told.shape),
        box=None if told.box is None else (told.box[0], told.box[1]),
        classes=tuple(told.classes),
        calibration=_read_calibration(folder / CALIBRATION, told),
        digest=told.digest,
    )


def push_to_hub(
    source: Run | str | Path, repository: str, *, private: bool = True, message: str = "Upload a genat detector"
) -> str:
    """Upload a run, or a folder that `save_pretrained` wrote, to the Hugging Face hub, as the person logged in there.

    Args:
        source: the run or the folder.
        repository: "owner/name"; made where it is missing.
        private: of a repository that is made; nothing is published by accident.
        message: of the commit.

    Returns:
        The repository's address.

    Raises:
        ImportError: where huggingface_hub is not installed.
        ValueError: where the folder cannot be read back, or the hub refuses.
    """
    hub = _hub()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if isinstance(source, Run) else Path(source)
        if isinstance(source, Run):
            save_pretrained(source, folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: expected a folder that save_pretrained wrote, got none")
        from_pretrained(folder)
        try:
            address = hub.create_repo(repository, private=private, exist_ok=True)
            hub.upload_folder(
                repo_id=repository, folder_path=folder, allow_patterns=list(_FILES), commit_message=message
            )
        except (OSError, ValueError) as error:
            raise ValueError(f"{repository}: expected the hub to take it, got {one_line(error)}") from error
    return str(address)


def _hub() -> Any:  # noqa: ANN401 - an optional module
    if find_spec("huggingface_hub") is None:
        raise ImportError("expected huggingface_hub, got none: pip install 'genat[hub]'")
    import huggingface_hub

    return huggingface_hub


def _folder(source: str | Path, revision: str | None) -> Path:
    if Path(source).is_dir():
        if revision is not None:
            raise ValueError(f"expected no revision with a folder, got {revision}")
        return Path(source)
    if isinstance(source, Path) or not _REPOSITORY.fullmatch(source):
        raise FileNotFoundError(f"{source}: expected a folder, or owner/name on the Hugging Face hub, got none")
    try:
        return Path(_hub().snapshot_download(source, revision=revision, allow_patterns=list(_FILES)))
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: expected a folder or a repository of the hub, got {one_line(error)}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST[path.name]:
            raise ValueError(f"{path}: expected at most {_LARGEST[path.name]:,} bytes, got {path.stat().st_size:,}")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ValueError(f"{path}: expected a file of a detector, got none") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON, got a file that cannot be read: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def _read_blueprint(path: Path) -> Blueprint:
    content = _read_json(path)
    if content.get("format") != FORMAT:
        later = isinstance(content.get("format"), int) and content["format"] > FORMAT
        hint = f": a later genat ({content.get('genat')!s:.20}) wrote it" if later else ""
        raise ValueError(f"{path}: expected format {FORMAT}, got {content.get('format')!s:.20}{hint}")
    try:
        told = Blueprint.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: expected another {where}, got {first['input']!r:.60}: {first['msg']}") from None
    if told.network not in BUILDERS:
        raise ValueError(f"{path}: expected a network {', '.join(BUILDERS)}, got {told.network!r:.60}")
    if told.kind != "detector" and len(set(told.classes)) < max(len(told.classes), 1):
        raise ValueError(f"{path}: expected different classes with kind {told.kind}, got {told.classes!r:.60}")
    return told


def _read_calibration(path: Path, told: Blueprint) -> Calibration | None:
    if not path.exists():
        return None
    content = _read_json(path)
    try:
        if content["digest"] != told.digest:
            raise ValueError("that of other weights")
        return Calibration(torch.tensor(content["logits"], dtype=torch.float64), tpr=float(content["tpr"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: expected a calibration, got {one_line(error)}") from None
