"""What can be said of --engine=ray before any work: flags, the package, whether an address answers. No Ray here."""

import importlib.util
import socket
from typing import Any

from nst_tf.vocabulary import UserError

# An address answers within so many seconds, or does not.
ANSWERS_WITHIN = 10.0
# The Ray of this machine, as Ray itself finds it.
AUTO = "auto"
# Ray's head speaks gRPC, which is HTTP/2: this opens a connection, with no settings. The answer is settings too.
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def check_ray(config: Any) -> None:
    """Raises `UserError` where Ray's flags stand without Ray, or Ray is not installed."""
    if config.engine != "ray":
        for name in ("ray_address", "ship_files"):
            if getattr(config, name):
                raise UserError(f"--{name} is of Ray's workers: give --engine=ray too, or leave it out")
        return
    # A folder of that name is a package too, but of no file.
    found = importlib.util.find_spec("ray")
    if found is None or found.origin is None:
        raise UserError("--engine=ray needs Ray, which is not installed: pip install -e '.[ray]' brings it, or leave "
                        "--engine out")
    if config.ray_address and config.ray_address != AUTO:
        host_and_port(config.ray_address)


def host_and_port(address: str) -> tuple[str, int]:
    """`head:6379` as host and port.

    Raises:
        UserError: it is no such address.
    """
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not (port.isascii() and port.isdigit() and 0 < int(port) < 2 ** 16):
        raise UserError(f"--ray_address={address} is no address: give HOST:PORT as 'ray start --head' prints it, such "
                        "as 192.168.0.7:6379, or auto")
    return host.strip("[]"), int(port)


def check_answers(address: str) -> None:
    """Raises `UserError` where nothing that may be Ray answers at an address; Ray itself would wait for minutes."""
    if not address or address == AUTO:
        return
    try:
        with socket.create_connection(host_and_port(address), timeout=ANSWERS_WITHIN) as connection:
            connection.sendall(_HTTP2_HELLO)
            is_http2 = connection.recv(9, socket.MSG_WAITALL)[3:4] == _HTTP2_HELLO[-6:-5]
        reason = "" if is_http2 else "what listens there is no Ray"
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if reason:
        raise UserError(f"--ray_address={address} does not answer ({reason}): give the address that 'ray start --head' "
                        "prints, and check that Ray runs there")
