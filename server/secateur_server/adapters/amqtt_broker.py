"""amqtt, mended, on a loopback port: ``python -m ...amqtt_broker PORT``.

amqtt 0.12.1 hands every new client the retained messages of everybody else's
subscriptions, past its access control and in time proportional to their product. Here a
subscription gets its own, once.
"""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

from amqtt.broker import Action, Broker


class _Snapshot(dict[str, Any]):
    """A dictionary that may change while somebody awaits between two of its items."""

    def items(self) -> Any:  # noqa: ANN401 - a list where a view was, for iteration only
        return list(super().items())

    def __iter__(self) -> Iterator[str]:
        return iter(list(super().__iter__()))


class MendedBroker(Broker):  # type: ignore[misc] # amqtt has no types
    """amqtt whose retained messages go to their subscriber only."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        # amqtt walks over its subscriptions while others subscribe.
        self._subscriptions: dict[str, Any] = _Snapshot()

    async def _publish_retained_messages_for_subscription(
        self,
        subscription: tuple[str, int],
        session: Any,  # noqa: ANN401 - amqtt has no types
    ) -> None:
        topic_filter, qos = subscription
        subscribers = self._subscriptions.get(topic_filter) or []
        if not any(subscriber is session for subscriber, _ in subscribers):
            return
        handler = self._get_handler(session)
        if handler is None:
            return
        for topic, retained in list(self._retained_messages.items()):
            if not (topic == topic_filter or self._matches(topic, topic_filter)):
                continue
            if await self._topic_filtering(session, topic=topic, action=Action.RECEIVE):
                await handler.mqtt_publish(
                    retained.topic, retained.data, min(qos, retained.qos or 0), retain=True
                )


async def _serve(port: int) -> None:
    broker = MendedBroker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
            },
        }
    )
    await broker.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
