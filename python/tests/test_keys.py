"""Keys give no secrets out, and open what was sealed to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import glacier_tee as glacier


def test_files_are_sealed_and_opened(tmp_path: Path) -> None:
    key, stranger = glacier.Key.generate(), glacier.Key.generate("stranger")
    plain, sealed = tmp_path / "plain", tmp_path / "sealed.age"
    plain.write_bytes(b"private " * 1000)
    digest = glacier.seal(plain, sealed, [key.recipient])
    assert len(digest) == 64
    assert b"private" not in sealed.read_bytes()
    assert glacier.open_sealed(sealed, tmp_path / "again", key) == 8000
    assert (tmp_path / "again").read_bytes() == plain.read_bytes()
    with pytest.raises(glacier.SealError):
        glacier.open_sealed(sealed, tmp_path / "never", stranger)
    with pytest.raises(glacier.SealError, match="exists already"):
        glacier.seal(plain, sealed, [key.recipient])
    with pytest.raises(glacier.SealError, match="age1"):
        glacier.seal(plain, tmp_path / "other", ["nobody"])
    assert not (tmp_path / "never").exists()


def test_key_stores_keep_secrets_to_themselves(tmp_path: Path) -> None:
    store = glacier.Keystore(tmp_path / "home")
    key = store.create("hospital")
    assert store.names() == ["hospital"]
    assert store.load("hospital").address == key.address == store.load_or_create("hospital").address
    kept = json.loads((tmp_path / "home/keys/hospital.json").read_text())
    for shown in (repr(key), repr(store), str(key)):
        assert kept["secp256k1"] not in shown
        assert kept["age"] not in shown
    members = {name for name in dir(key) if not name.startswith("__")}
    assert members == {"generate", "name", "address", "recipient"}
    with pytest.raises(glacier.KeyStoreError, match="another name"):
        store.create("hospital")
    with pytest.raises(glacier.KeyStoreError, match=r"Keystore\.create"):
        store.load("absent")
    with pytest.raises(glacier.KeyStoreError):
        store.create("Not A Name")


def test_an_open_key_store_is_refused(tmp_path: Path) -> None:
    glacier.Keystore(tmp_path / "home")
    (tmp_path / "home/keys").chmod(0o755)
    with pytest.raises(glacier.KeyStoreError, match="chmod"):
        glacier.Keystore(tmp_path / "home")
