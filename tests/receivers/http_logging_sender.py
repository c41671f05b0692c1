"""Logs three records through the Python package http-logging, to 127.0.0.1 and the port that is the argument."""

import dataclasses
import logging
import sys

# Its classes have defaults that Python takes since 3.11 only if they can be hashed.
plain = dataclasses.dataclass
dataclasses.dataclass = lambda cls=None, **options: (
    plain(unsafe_hash=True, **options) if cls is None else plain(unsafe_hash=True)(cls)
)

from http_logging import ConfigLog, HttpHost, HttpSecurity  # noqa: E402
from http_logging.handler import AsyncHttpHandler  # noqa: E402

handler = AsyncHttpHandler(
    http_host=HttpHost(name="127.0.0.1", port=int(sys.argv[1]), path="ingest"),
    config=ConfigLog(security=HttpSecurity(ssl_enable=False), database_path=None),
)
logger = logging.getLogger("orders")
logger.addHandler(handler)
logger.setLevel(logging.DEBUG)

logger.info("Some useful information...")
logger.warning("You've been %s!", "warned", extra={"foo": "bar"})
try:
    1 / 0
except ZeroDivisionError as error:
    logger.error("Ooops!", exc_info=error)
handler.flush()
logging.shutdown()
