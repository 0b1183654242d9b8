"""Certificates of a CA of our own, made with the openssl command."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """A CA in a directory of its own; ``ca_file`` is what a client trusts."""

    directory: Path

    @property
    def ca_file(self) -> str:
        return str(self.directory / "ca.pem")

    def server_files(self, *names: str) -> tuple[str, str]:
        """Certificate and key for ``names``, each as openssl writes it: ``DNS:localhost``, ``IP:::1``."""
        stem = self.directory / names[0].replace(":", "-")
        request, extensions = stem.with_suffix(".csr"), stem.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={','.join(names)}\n")
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=server"),
            *("-keyout", f"{stem}.key", "-out", str(request)),
        )
        openssl(
            *("x509", "-req", "-in", str(request), "-CA", self.ca_file, "-CAkey", str(self.directory / "ca.key")),
            *("-CAcreateserial", "-days", "2", "-extfile", str(extensions), "-out", f"{stem}.pem"),
        )
        return f"{stem}.pem", f"{stem}.key"

    def server_context(self, *names: str) -> ssl.SSLContext:
        """A server with a certificate for ``names``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.server_files(*names))
        return context


def make_authority(directory: Path) -> Authority:
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *("-subj", "/CN=test CA", "-addext", "keyUsage=critical,keyCertSign"),
        *("-keyout", str(directory / "ca.key"), "-out", str(directory / "ca.pem")),
    )
    return Authority(directory)


def openssl(*arguments: str) -> None:
    subprocess.run(("openssl", *arguments), check=True, capture_output=True)
