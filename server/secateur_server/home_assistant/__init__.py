"""``secateur home-assistant``: devices as devices of Home Assistant, by its MQTT discovery.

A client of the broker like any other: `entities` says what there is, `mirror` what is said of
it, `bridge` carries it. Nothing of Home Assistant is known anywhere else.
"""
