# SPDX-License-Identifier: GPL-2.0
"""A server that sends everything back, and a client that compares: asyncio streams.

    streams.py server PORT
    streams.py client PORT CONNECTIONS BYTES     last line: connections and bytes that came back right

HOST in the environment: where, if not on this machine. CERT, and KEY for the server: TLS with that certificate.
"""

import asyncio
import os
import random
import ssl
import sys

HOST = os.environ.get("HOST", "127.0.0.1")
CERT = os.environ.get("CERT")


def tls(purpose):
    if not CERT:
        return None
    context = ssl.create_default_context(purpose, cafile=CERT)
    if purpose == ssl.Purpose.CLIENT_AUTH:
        context.load_cert_chain(CERT, os.environ["KEY"])
    return context


async def serve(port):
    async def echo(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, HOST, port, ssl=tls(ssl.Purpose.CLIENT_AUTH))
    print("ready", flush=True)
    await server.serve_forever()


async def exchange(port, number, total):
    reader, writer = await asyncio.open_connection(HOST, port, ssl=tls(ssl.Purpose.SERVER_AUTH))
    chance = random.Random(number)
    for _ in range(20):                         # short messages, one at a time
        message = chance.randbytes(chance.randrange(1, 200))
        writer.write(message)
        if await reader.readexactly(len(message)) != message:
            raise ValueError("a short message came back changed")
    data = chance.randbytes(total)

    async def send():
        at = 0
        while at < total:
            piece = data[at:at + chance.randrange(1, 100000)]
            writer.write(piece)
            await writer.drain()
            at += len(piece)
        if writer.can_write_eof():
            writer.write_eof()

    sending = asyncio.create_task(send())
    back = await (reader.read(-1) if writer.can_write_eof() else reader.readexactly(total))
    await sending
    writer.close()
    if back != data:
        raise ValueError(f"{len(back)} bytes of {total} came back, or changed ones")
    return len(back)


async def main():
    port = int(sys.argv[2])
    if sys.argv[1] == "server":
        await serve(port)
    connections, total = int(sys.argv[3]), int(sys.argv[4])
    done = await asyncio.gather(*(exchange(port, number, total) for number in range(connections)))
    print(len(done), sum(done))


asyncio.run(main())
