"""A client as articles on logging over HTTP have it: a handler that queues the formatted text, and one sender that posts it as `log=..`.

    python_article.py aiohttp|requests

Its Content-length is that of the text before it is encoded: a mistake that is often seen.
"""
import asyncio
import logging
import queue
import sys
import threading

import steps


class Queueing(logging.Handler):
    def __init__(self, texts):
        super().__init__()
        self.texts = texts

    def emit(self, record):
        self.texts.put(self.format(record))


def url():
    return "http://%s:%d/log" % (steps.HOST, steps.where("HTTP"))


async def by_aiohttp(texts):
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=6)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while (text := await asyncio.to_thread(texts.get)) is not None:
            headers = {"Content-type": "application/x-www-form-urlencoded", "Content-length": str(len("log=" + text))}
            try:
                async with session.post(url(), data={"log": text}, headers=headers) as response:
                    if response.ok:
                        steps.told(text)
            except (aiohttp.ClientError, asyncio.TimeoutError) as error:
                print(error, file=sys.stderr)


def by_requests(texts):
    import requests

    with requests.Session() as session:
        while (text := texts.get()) is not None:
            try:
                if session.post(url(), data={"log": text}, timeout=6).ok:
                    steps.told(text)
            except requests.RequestException as error:
                print(error, file=sys.stderr)


texts = queue.Queue()
target = by_requests if sys.argv[1] == "requests" else lambda texts: asyncio.run(by_aiohttp(texts))
sender = threading.Thread(target=target, args=(texts,))
sender.start()
handler = Queueing(texts)
# The id comes first, so that it is there where the rest is cut off.
handler.setFormatter(logging.Formatter("%(message)s %(levelname)s %(name)s %(process)d"))


def flush():
    texts.put(None)
    sender.join()


steps.log_with(handler, flush)
