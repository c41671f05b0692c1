"""oteltap as a program: takes OTLP in protobuf over HTTP, and says what it has understood.

The argument is the port to listen at. The first line is the address; then comes a line for each log record, in protobuf and
base64. It ends with its input.
"""

import asyncio
import base64
import sys

from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings


async def main(port):
    async with OtelTapHttpProtobufReceiver(OtelTapHttpProtobufReceiverSettings(http_port=port)) as receiver:
        # It remembers nothing for a reader who comes later.
        records = receiver.stream_logs()
        reading = asyncio.create_task(say(records))
        await asyncio.sleep(0)
        print(f"http://127.0.0.1:{port}", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        reading.cancel()


async def say(records):
    async for record in records:
        print(base64.b64encode(record.SerializeToString()).decode(), flush=True)


asyncio.run(main(int(sys.argv[1])))
