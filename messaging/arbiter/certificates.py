"""Who may speak to an arbiter: certificates of its own making, one for itself and one for each cluster.

    FOLDER/authority.pem, authority.key    signs the others; never leaves this machine
    FOLDER/arbiter.pem                     the arbiter's own certificate and key
    FOLDER/clusters/NAME.pem               certificate, key and authority of one cluster: the file that its nodes get
    FOLDER/records/NAME.json               see `messaging.arbiter.records`

Both ends prove themselves (TLS 1.3). The arbiter accepts exactly the certificates that lie in `clusters/`: what is removed there is
refused from then on. Nodes accept whoever this authority has made an *arbiter*, whatever its address.
"""

from __future__ import annotations

import datetime
import os
import re
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from messaging.errors import SetupError

LIFETIME = datetime.timedelta(days=365 * 30)
"""Certificates end with `vigil-arbiter remove`, not by surprise."""

CLUSTER_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_END = "-----END CERTIFICATE-----\n"


def make_authority(folder: Path, *, force: bool = False) -> None:
    """The authority and the arbiter's own certificate. SetupError when there is one already."""
    if (folder / "authority.pem").exists() and not force:
        raise SetupError(f"{folder} is an arbiter's folder already; --force makes all its certificates invalid")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "clusters").mkdir(mode=0o700, exist_ok=True)
    for path in (folder / "clusters").glob("*.pem"):
        path.unlink()
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("vigil arbiter authority")
    builder = _builder(name, name, key.public_key()).add_extension(x509.BasicConstraints(True, 0), critical=True)
    builder = builder.add_extension(_usage(sign=True), critical=True)
    authority = builder.sign(key, hashes.SHA256())
    _write(folder / "authority.key", _key_text(key))
    _write(folder / "authority.pem", _text(authority))
    _write(folder / "arbiter.pem", _issue(folder, "vigil arbiter", ExtendedKeyUsageOID.SERVER_AUTH))


def add_cluster(folder: Path, cluster: str, *, force: bool = False) -> Path:
    """The file for the nodes of a cluster. SetupError when it has one already, or there is no authority."""
    check_name(cluster)
    path = folder / "clusters" / f"{cluster}.pem"
    if path.exists() and not force:
        raise SetupError(f"cluster {cluster} is known already: {path}; --force makes a new one and refuses the old")
    made = _issue(folder, cluster, ExtendedKeyUsageOID.CLIENT_AUTH)
    _write(path, made + (folder / "authority.pem").read_text(encoding="ascii"))
    return path


def remove_cluster(folder: Path, cluster: str) -> None:
    """From now on the cluster is refused. SetupError when it is not known."""
    check_name(cluster)
    try:
        (folder / "clusters" / f"{cluster}.pem").unlink()
    except FileNotFoundError:
        raise SetupError(f"this arbiter knows no cluster {cluster}") from None


def check_name(cluster: str) -> None:
    if not CLUSTER_NAME.fullmatch(cluster) or cluster.startswith("."):
        raise SetupError(
            f"a cluster that uses an arbiter has a name of letters, digits, '.', '_' or '-', got {cluster!r}"
        )


def clusters(folder: Path) -> dict[bytes, str]:
    """Which certificate (DER) speaks for which cluster."""
    found = {}
    for path in sorted((folder / "clusters").glob("*.pem")):
        text = path.read_text(encoding="ascii")
        found[ssl.PEM_cert_to_DER_cert(text[: text.index(_END) + len(_END)])] = path.stem
    return found


def cluster_of(path: Path) -> str:
    """For which cluster a file is that `add_cluster` made. SetupError when it is none."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (OSError, ValueError) as error:
        raise SetupError(f"{path} is not a file that vigil-arbiter add made: {error}") from None
    return str(name.value)


def server_context(folder: Path) -> ssl.SSLContext:
    """For the arbiter. SetupError when it was not made yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(folder / "arbiter.pem")
        context.load_verify_locations(folder / "authority.pem")
    except FileNotFoundError:
        raise SetupError(f"there is no arbiter in {folder}; make one: vigil-arbiter init --dir {folder}") from None
    except (OSError, ssl.SSLError) as error:
        raise SetupError(f"the certificates in {folder} cannot be used: {error}") from None
    return context


# --- making -------------------------------------------------------------------------------------------------------------


def _issue(folder: Path, name: str, purpose: x509.ObjectIdentifier) -> str:
    try:
        authority = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())
        signing = serialization.load_pem_private_key((folder / "authority.key").read_bytes(), None)
    except FileNotFoundError:
        raise SetupError(
            f"there is no arbiter in {folder}; make one first: vigil-arbiter init --dir {folder}"
        ) from None
    except (OSError, ValueError) as error:
        raise SetupError(f"the authority in {folder} cannot be used: {error}") from None
    if not isinstance(signing, ec.EllipticCurvePrivateKey):
        raise SetupError(f"{folder / 'authority.key'} is not a key that vigil-arbiter made")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(name), authority.subject, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
    builder = builder.add_extension(_usage(sign=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return _text(builder.sign(signing, hashes.SHA256())) + _key_text(key)


def _builder(subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)  # clocks may differ a little
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(began).not_valid_after(began + LIFETIME)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
    temporary.replace(path)
