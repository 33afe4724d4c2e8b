from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from genat import doctor


def test_every_finding_says_something() -> None:
    findings = {finding.name: finding for finding in doctor.examine()}
    assert {"python", "hardware", "gpu", "torch", "pyautoattack", "datasets", "fashion-mnist"} <= findings.keys()
    assert all(finding.detail for finding in findings.values())
    assert findings["torch"].there
    assert "threads" in findings["hardware"].detail
    assert "GiB memory" in findings["hardware"].detail


def test_what_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nothing(name: str) -> str:
        if name in ("pyautoattack", "datasets", "tensorboard"):
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor, "version", nothing)
    monkeypatch.setattr(doctor, "_FASHION", tmp_path / "none")
    findings = {finding.name: finding for finding in doctor.examine()}
    for name, extra in (("pyautoattack", "attacks"), ("datasets", "data"), ("tensorboard", "log")):
        assert not findings[name].there
        assert findings[name].detail.endswith(f"pip install 'genat[{extra}]'")
    assert findings["torch"].detail == "1.0"
    assert "dataset-fashion-mnist" in findings["fashion-mnist"].detail


@pytest.mark.parametrize("error", [ValueError, OSError])
def test_memory_may_be_unknown(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def unknown(_: str) -> int:
        raise error("no such name")

    monkeypatch.setattr("os.sysconf", unknown)
    assert "memory unknown" in next(f.detail for f in doctor.examine() if f.name == "hardware")


def test_a_graphics_card_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Card 9000")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: not including_emulation)
    findings = {finding.name: finding for finding in doctor.examine()}
    assert (findings["gpu"].there, findings["gpu"].detail) == (True, "Card 9000")
    assert findings["hardware"].detail.startswith("Card 9000, ")
    assert findings["half precision"].detail == "bfloat16 is native here: precision=auto is bf16-mixed"
