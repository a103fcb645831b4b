"""What is said on a new connection before the ledger is used: who is there, and in which life."""

from dataclasses import replace

from redis.asyncio.connection import AbstractConnection

from budgets.stores.redis_lane import command
from budgets.stores.redis_life import RECORD, Epoch, Server, check_server, read_info
from budgets.stores.redis_scripts import Keys, Packer, scripts


async def meet(connection: AbstractConnection, keys: Keys) -> Server:
    """Load the scripts and learn about the server; raise LedgerError for one that is unfit."""
    info = read_info(await command(connection, b"INFO"))
    for script in scripts().values():
        await command(connection, b"SCRIPT", b"LOAD", script.text)
    record = await command(connection, b"HMGET", keys.meta, *RECORD)
    seconds, micros = await command(connection, b"TIME")
    server = Server.of(info, record, int(seconds) * 1000 + int(micros) // 1000)
    check_server(server)
    return server


async def found(
    connection: AbstractConnection, keys: Keys, server: Server, epoch: Epoch, collector: str
) -> Server:
    """Begin a life on this server, or learn that somebody else just did."""
    before = b"" if server.epoch is None else server.epoch.text.encode()
    arguments = (before, b"", epoch.text.encode(), server.run_id.encode(), collector.encode())
    packed = Packer(keys).call("found", arguments)
    await connection.send_packed_command(packed, check_health=False)
    _, now, bound_to, collecting = await connection.read_response()
    return replace(
        server,
        epoch=Epoch.parse(now.decode()),
        bound_to=bound_to.decode(),
        collector=collecting.decode(),
    )
