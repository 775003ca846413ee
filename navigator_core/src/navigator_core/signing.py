"""This user's own key: what they signed here is trusted here, and nowhere else."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from navigator_core import serde

KEY_BYTES = 32


def sign(digests: Mapping[str, str]) -> str | None:
    """HMAC-SHA256 (RFC 2104) over the SHA-256 of every file; None where no key can be kept."""
    key = _key(make=True)
    return None if key is None else hmac.new(key, serde.canonical(dict(digests)), hashlib.sha256).hexdigest()


def signed_here(digests: Mapping[str, str], signature: str) -> bool:
    """Whether this user signed exactly these files on this machine."""
    key = _key(make=False)
    if key is None:
        return False
    expected = hmac.new(key, serde.canonical(dict(digests)), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))


def _key(*, make: bool) -> bytes | None:
    path = Path(platformdirs.user_config_dir("navigator")) / "signing.key"
    try:
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            temporary.touch(mode=0o600)
            temporary.write_bytes(secrets.token_bytes(KEY_BYTES))
            try:
                os.link(temporary, path)  # the first of several processes wins
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        key = path.read_bytes()
    except OSError:
        return None
    return key if len(key) == KEY_BYTES else None
