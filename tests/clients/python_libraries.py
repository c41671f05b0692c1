"""A client that logs with a library: structlog or loguru to a SocketHandler, http-logging.

    python_libraries.py KIND
"""
import dataclasses
import logging
import logging.handlers
import sys

import steps


def structlog_client():
    import structlog

    handler = logging.handlers.SocketHandler("localhost", steps.where("TCP"))
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer(default=str)))
    steps.logger().addHandler(handler)
    structlog.configure(
        processors=[
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    logger = structlog.get_logger("shop.orders")
    steps.log_all(lambda text: logger.warning(text, **steps.extras()), lambda: steps.wait_for_patience(handler))


def loguru_client():
    from loguru import logger

    handler = logging.handlers.SocketHandler("localhost", steps.where("TCP"))
    logger.remove()
    logger.add(handler, format="{message}", catch=False)
    bound = logger.bind(**steps.extras())
    steps.log_all(lambda text: bound.warning(text), lambda: steps.wait_for_patience(handler))


def http_logging_client():
    # Its classes have defaults that Python takes since 3.11 only if they can be hashed.
    plain = dataclasses.dataclass
    dataclasses.dataclass = lambda cls=None, **options: (
        plain(unsafe_hash=True, **options) if cls is None else plain(unsafe_hash=True)(cls)
    )
    from http_logging import ConfigLog, HttpHost, HttpSecurity
    from http_logging.handler import AsyncHttpHandler

    steps.watch_http()
    handler = AsyncHttpHandler(
        http_host=HttpHost(name=steps.HOST, port=steps.where("HTTP"), path="ingest"),
        config=ConfigLog(security=HttpSecurity(ssl_enable=False), database_path=None),
    )
    # Its formatter fails with these, and the record is lost.
    steps.log_with(handler, handler.flush, without=["octets", "infinite", "day", "moment", "amount", "id", "order"])


{"structlog": structlog_client, "loguru": loguru_client, "http-logging": http_logging_client}[sys.argv[1]]()
