"""TCP proxies on loopback that can go silent, as a network that drops every packet does."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

Answer = TypeVar("Answer")


@dataclass(eq=False)
class Link:
    """One connection through a proxy."""

    #: Set while bytes pass.
    passes: asyncio.Event
    #: Port from which the client speaks to the proxy.
    client_port: int


@dataclass(eq=False)
class Proxy:
    """Forwards connections to a port of this machine, until it is told to swallow them."""

    network: "Network"
    port: int
    target_port: int
    links: set[Link] = field(default_factory=set)
    passes: bool = True

    def cut(self, keeps: Callable[[int], bool] = lambda _: False) -> None:
        """Go silent, in both directions, for all connections but those that `keeps` names.

        It is asked with the port of the client. What is sent meanwhile arrives after `heal`, as
        TCP would send it again. New connections are accepted and get no answer.
        """

        async def cut() -> None:
            self.passes = False
            for link in self.links:
                if not keeps(link.client_port):
                    link.passes.clear()

        self.network.call(cut())

    def heal(self) -> None:
        """Let everything pass again."""

        async def heal() -> None:
            self.passes = True
            for link in self.links:
                link.passes.set()

        self.network.call(heal())

    async def listen(self) -> asyncio.Server:
        """Begin to accept connections."""
        return await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(asyncio.Event(), writer.get_extra_info("peername")[1])
        if self.passes:
            link.passes.set()
        self.links.add(link)
        try:
            await link.passes.wait()
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            pumps = (
                asyncio.create_task(self._pump(link, reader, up_writer)),
                asyncio.create_task(self._pump(link, up_reader, writer)),
            )
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                up_writer.close()
        except OSError:
            pass  # the server does not accept: the client sees its connection end
        finally:
            self.links.discard(link)
            writer.close()

    async def _pump(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(65536):
                await link.passes.wait()
                writer.write(data)
                await writer.drain()
            await link.passes.wait()  # that it has ended does not get through either
        except OSError:
            return


class Network:
    """Runs proxies in a thread of its own. Use it as a context manager."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="network", daemon=True)
        self.servers: list[asyncio.Server] = []

    def call(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        """Run something in the thread of the proxies and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=10)

    def proxy(self, port: int, target_port: int) -> Proxy:
        """Begin to forward from one port to another."""
        proxy = Proxy(self, port, target_port)
        self.servers.append(self.call(proxy.listen()))
        return proxy

    def __enter__(self) -> "Network":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=10)
        self.loop.close()

    async def _close(self) -> None:
        for server in self.servers:
            server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
