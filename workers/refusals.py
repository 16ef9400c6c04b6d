"""Why Kafka or Redis turns us away: what is wrong, the setting that it is about, and what to do, in one line."""

from __future__ import annotations

import re
import ssl
from typing import Any, Final, Literal

from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    KafkaError,
    KafkaProtocolError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError, TimeoutError
from redis.exceptions import ConnectionError as RedisConnectionError

from schemas.masking import masked_url
from schemas.settings import KafkaSettings
from workers.errors import Repairable

SASL_ERRORS: Final = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError, IllegalSaslStateError)
_IN_SCRIPT: Final = "ACL failure in script"
# What redis-py says of an address that does not exist, or where nobody listens.
_NOBODY_LISTENS: Final = re.compile(r"Error -?\d+ connecting to ")
# Numbers of OpenSSL, which Python has no names for.
_OTHER_HOST: Final = (62, 64)
_OUT_OF_TIME: Final = (9, 10)


class Denied(Repairable):
    """Kafka or Redis does not let this user do what a worker must."""


def denial(error: Exception) -> str | None:
    """Return what a person must be told of an error in the middle of the work, None where trying again may help."""
    if isinstance(error, AuthorizationError):
        return _kafka_denial(error)
    tls = tls_error(error)
    if isinstance(error, KafkaError) and isinstance(tls, ssl.SSLCertVerificationError):
        # The address that a broker gives of itself is another one than that by which it was found.
        return f"Kafka {_tls_reason(tls, 'KAFKA')}"
    return _redis_denial(error)


def raise_if_denied(error: Exception) -> None:
    """Do nothing where trying again may help.

    Raises:
        Denied: only a person can change it.
    """
    if (told := denial(error)) is not None:
        raise Denied(told) from error


def kafka_reason(error: Exception, kafka: KafkaSettings) -> str:
    """Return why the first contact with Kafka failed."""
    # Somebody may have written a password into it.
    address = masked_url(kafka.bootstrap_servers) if "@" in kafka.bootstrap_servers else kafka.bootstrap_servers
    who = f"Kafka at {address}"
    if isinstance(error, UnsupportedSaslMechanismError | IllegalSaslStateError):
        return f"{who} does not take LATENTSTREAM_KAFKA__SASL_MECHANISM={kafka.sasl_mechanism}: set another"
    if isinstance(error, SaslAuthenticationFailedError):
        return f"{who} refuses LATENTSTREAM_KAFKA__SASL_USERNAME or LATENTSTREAM_KAFKA__SASL_PASSWORD: correct them"
    tls = tls_error(error)
    if tls is not None and not isinstance(tls, ssl.SSLEOFError):
        return f"{who} {_tls_reason(tls, 'KAFKA')}"
    hung_up = isinstance(error, KafkaProtocolError) or isinstance(error.__context__, OSError)
    if hung_up or error.args[:1] == ("socket disconnected",):
        return (
            f"{who} hangs up: is LATENTSTREAM_KAFKA__SECURITY_PROTOCOL={kafka.security_protocol} right for this port?"
        )
    return f"Kafka does not answer at {address}: {error}"


def redis_reason(error: RedisError, *, tls: bool) -> str:
    """Return why the first contact with Redis, over TLS or not, failed."""
    if (denied := _redis_denial(error)) is not None:
        return denied
    handshake = tls_error(error)
    if handshake is not None and not isinstance(handshake, ssl.SSLEOFError):
        return f"Redis {_tls_reason(handshake, 'REDIS')}"
    told = f"Redis does not answer as LATENTSTREAM_REDIS__URL says: {error}"
    unreachable = handshake is None and _NOBODY_LISTENS.match(str(error))
    if unreachable or type(error) not in (RedisConnectionError, TimeoutError):
        return told
    if tls:
        return (
            f"{told.removesuffix('.')}. Is the port for TLS (rediss://), and does it ask for a certificate "
            "(LATENTSTREAM_REDIS__SSL_CERTFILE)?"
        )
    return f"{told.removesuffix('.')}. Is the port for TLS only? Then begin the URL with rediss://"


def _redis_denial(error: Exception) -> str | None:
    # Inside a script it is an error like any other, but for its text.
    if isinstance(error, NoPermissionError) or (isinstance(error, ResponseError) and _IN_SCRIPT in str(error)):
        return (
            f"Redis denies something to the user in LATENTSTREAM_REDIS__URL: {str(error).removesuffix('.')}. Grant it "
            "what the README's user `worker` may do (for commands that only read, `reader`)"
        )
    if isinstance(error, AuthenticationError):
        return f"Redis refuses the user or the password in LATENTSTREAM_REDIS__URL: {error}"
    return None


def tls_error(error: BaseException) -> ssl.SSLError | None:
    """Return the TLS error behind ``error``, None where there is none."""
    causes: list[Any] = [error, error.__cause__, error.__context__, *error.args[:1]]
    return next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)


def _tls_reason(error: ssl.SSLError, section: Literal["KAFKA", "REDIS"]) -> str:
    """Return what a server is found to have or do, and what to do about it."""
    setting = f"LATENTSTREAM_{section}__"
    address = f"{setting}BOOTSTRAP_SERVERS and in the brokers' advertised.listeners"
    if section == "REDIS":
        address = f"{setting}URL"
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message.removesuffix(".")
        if error.verify_code in _OTHER_HOST:
            return f"has a certificate for another host ({said}): give in {address} a name that it is for"
        if error.verify_code in _OUT_OF_TIME:
            return f"has a certificate that does not hold now ({said}): renew it"
        return (
            f"has a certificate that is not to be trusted ({said}): set {setting}SSL_CAFILE to the certificate of the "
            "authority that signed it"
        )
    said = (error.reason or str(error)).lower().replace("_", " ")
    if "alert" in said:
        return (
            f"ends the TLS handshake ({said}): if it asks for a certificate, set {setting}SSL_CERTFILE and "
            f"{setting}SSL_KEYFILE to one that it trusts"
        )
    without = f"{setting}SECURITY_PROTOCOL" if section == "KAFKA" else "redis:// instead of rediss://"
    return f"does not speak TLS at this port ({said}): give another port, or set {without}"


def _kafka_denial(error: AuthorizationError) -> str:
    what = type(error).__name__.removesuffix("AuthorizationFailedError").lower()
    names = error.args[0] if error.args else ""
    shown = ", ".join(sorted(map(str, names))) if isinstance(names, set | frozenset | list | tuple) else str(names)
    return (
        f"Kafka denies LATENTSTREAM_KAFKA__SASL_USERNAME the {what} {shown or '(which one it does not say)'}: grant it "
        "the operations that the README lists for Kafka"
    )
