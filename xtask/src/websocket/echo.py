"""A WebSocket server that gives every message back; it says its port on the first line of its output."""

import asyncio
import logging

from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main():
    logging.disable(logging.CRITICAL)
    # As large as the largest case; without extensions and pings of its own, which the cases do not expect.
    async with serve(echo, "127.0.0.1", 0, max_size=32 << 20, compression=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
